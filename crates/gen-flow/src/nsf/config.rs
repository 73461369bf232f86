use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::optim::AdamConfig;
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::images::{
    self, AffineSteps, Dequantisation, ImageShape, Pixels, at_least_one, check_alpha, default_scales,
};
use crate::points;
use crate::univariate::RationalQuadratic;

/// Hyperparameters of [`Nsf`](super::Nsf): one set for points, one for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum NsfConfig {
    /// Couplings of the coordinates of points.
    Points(SplineConfig),
    /// Couplings of images at several scales.
    Images(SplineImageConfig),
}

impl NsfConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        match data.shape {
            Shape::Points { .. } => NsfConfig::Points(SplineConfig::default()),
            Shape::Image { height, width, .. } => NsfConfig::Images(SplineImageConfig {
                scales: default_scales(height, width),
                ..SplineImageConfig::default()
            }),
        }
    }

    /// What it is for, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            NsfConfig::Points(_) => "points",
            NsfConfig::Images(_) => "images",
        }
    }
}

/// Hyperparameters of [`Nsf`](super::Nsf) for points, and of [`NsfAr`](super::NsfAr).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplineConfig {
    /// Layers.
    pub transforms: usize,
    /// Units in each hidden layer of a layer's network.
    pub hidden: Vec<i64>,
    /// K: bins of each spline.
    pub bins: i64,
    /// B: the splines map [-B, B] onto itself, in units of the data's standard deviations, and are the identity outside.
    pub bound: f64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for SplineConfig {
    fn default() -> Self {
        SplineConfig {
            transforms: 8,
            hidden: vec![64, 64],
            bins: 8,
            bound: 4.0,
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl SplineConfig {
    pub(super) fn spline(&self) -> RationalQuadratic {
        RationalQuadratic::new(self.bins, self.bound)
    }

    pub(super) fn check(&self) -> Result<()> {
        points::check(("transforms", self.transforms), &self.hidden)?;
        points::check_spline(self.bins, self.bound)
    }
}

/// Hyperparameters of [`Nsf`](super::Nsf) for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplineImageConfig {
    /// Couplings by splines before all others, a pair for each way to split the image in turn: the colours of a
    /// chessboard, even and odd rows, even and odd columns.
    pub spline_couplings: usize,
    /// K: bins of each spline.
    pub bins: i64,
    /// B: the splines map [-B, B] onto itself, in units of the pixels' standard deviations, and are the identity outside.
    pub bound: f64,
    /// Channels of these couplings' networks.
    pub spline_width: i64,
    /// Residual blocks in each of these networks.
    pub spline_blocks: usize,
    /// How often the image is squeezed to half its side. Half of the values are factored out after each scale but the
    /// last.
    pub scales: usize,
    /// Affine couplings at each scale, with convolutional networks.
    pub couplings: usize,
    /// Channels of these networks at the finest scale; each coarser one has twice as many.
    pub width: i64,
    /// Residual blocks in each of these networks.
    pub blocks: usize,
    /// Affine couplings after these at the last scale, with networks that see the whole of it at once.
    pub dense_couplings: usize,
    /// Hidden units of these networks.
    pub dense_width: i64,
    /// How pixels get to the real line.
    pub pixels: Pixels,
    /// The margin α at the ends of the interval, see [`Logit`](crate::bijection::Logit).
    pub alpha: f64,
    /// How bytes become real numbers.
    pub dequantisation: Dequantisation,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for SplineImageConfig {
    /// For images of 28 x 28.
    fn default() -> Self {
        SplineImageConfig {
            spline_couplings: 4,
            bins: 5,
            bound: 6.0,
            spline_width: 32,
            spline_blocks: 1,
            scales: 2,
            couplings: 3,
            width: 32,
            blocks: 0,
            dense_couplings: 2,
            dense_width: 256,
            pixels: Pixels::Gaussian,
            alpha: 1e-6,
            dequantisation: Dequantisation::Uniform,
            optimizer: AdamConfig { learning_rate: 4e-3, clip_norm: 1.0, ..AdamConfig::default() },
        }
    }
}

impl SplineImageConfig {
    pub(super) fn spline(&self) -> RationalQuadratic {
        RationalQuadratic::new(self.bins, self.bound)
    }

    pub(super) fn steps(&self) -> AffineSteps {
        let &SplineImageConfig { couplings, width, blocks, dense_couplings, dense_width, .. } = self;
        AffineSteps { couplings, width, blocks, dense_couplings, dense_width }
    }

    pub(super) fn check(&self, shape: ImageShape) -> Result<()> {
        self.steps().check("nsf", self.scales, shape)?;
        check_alpha(self.alpha)?;
        at_least_one("spline_couplings", self.spline_couplings as i64)?;
        at_least_one("spline_width", self.spline_width)?;
        points::check_spline(self.bins, self.bound)
    }
}

/// Training settings for this kind of data.
pub(super) fn training(data: &DataSpec) -> TrainConfig {
    match data.shape {
        Shape::Points { .. } => points::training(),
        Shape::Image { .. } => TrainConfig { batch_size: 32, ..images::training() },
    }
}
