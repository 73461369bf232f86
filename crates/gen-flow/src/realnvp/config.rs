use gen_core::Result;
use gen_core::data::{DataSpec, Shape};
use gen_core::optim::AdamConfig;
use gen_core::train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::images::{AffineSteps, Dequantisation, ImageShape, Pixels, check_alpha, default_scales};
use crate::points;

/// Hyperparameters of [`RealNvp`](super::RealNvp): one set for points, one for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum RealNvpConfig {
    /// Couplings of the coordinates of points.
    Points(PointConfig),
    /// Couplings of images at several scales.
    Images(ImageConfig),
}

impl RealNvpConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        match data.shape {
            Shape::Points { .. } => RealNvpConfig::Points(PointConfig::default()),
            Shape::Image { height, width, .. } => RealNvpConfig::Images(ImageConfig::of(height, width)),
        }
    }

    /// What it is for, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            RealNvpConfig::Points(_) => "points",
            RealNvpConfig::Images(_) => "images",
        }
    }
}

/// Hyperparameters for points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointConfig {
    /// Coupling layers.
    pub couplings: usize,
    /// Units in each hidden layer of a coupling's perceptron.
    pub hidden: Vec<i64>,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for PointConfig {
    fn default() -> Self {
        PointConfig {
            couplings: 8,
            hidden: vec![64, 64],
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl PointConfig {
    pub(super) fn check(&self) -> Result<()> {
        points::check(("couplings", self.couplings), &self.hidden)
    }
}

/// Hyperparameters for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// How often the image is squeezed to half its side. Half of the values are factored out after each scale but the
    /// last.
    pub scales: usize,
    /// Coupling layers at each scale, with convolutional networks.
    pub couplings: usize,
    /// Channels of these networks at the finest scale; each coarser one has twice as many.
    pub width: i64,
    /// Residual blocks in each of these networks.
    pub blocks: usize,
    /// Coupling layers after these at the last scale, with networks that see the whole of it at once.
    pub dense_couplings: usize,
    /// Hidden units of these networks.
    pub dense_width: i64,
    /// How pixels get to the real line.
    #[serde(default = "Pixels::logit")]
    pub pixels: Pixels,
    /// The margin α at the ends of the interval, see [`Logit`](crate::bijection::Logit).
    pub alpha: f64,
    /// How bytes become real numbers.
    #[serde(default = "Dequantisation::uniform")]
    pub dequantisation: Dequantisation,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for ImageConfig {
    /// For images of 28 x 28 and 8 x 8.
    fn default() -> Self {
        ImageConfig {
            scales: 2,
            couplings: 6,
            width: 32,
            blocks: 0,
            dense_couplings: 4,
            dense_width: 256,
            pixels: Pixels::Logit,
            alpha: 1e-6,
            dequantisation: Dequantisation::Uniform,
            optimizer: AdamConfig { learning_rate: 8e-3, clip_norm: 50.0, ..AdamConfig::default() },
        }
    }
}

impl ImageConfig {
    /// The defaults with as many scales as the sides allow, up to three: down to a side of 2 at the smallest.
    fn of(height: i64, width: i64) -> Self {
        ImageConfig { scales: default_scales(height, width), ..Self::default() }
    }

    pub(super) fn steps(&self) -> AffineSteps {
        let &ImageConfig { couplings, width, blocks, dense_couplings, dense_width, .. } = self;
        AffineSteps { couplings, width, blocks, dense_couplings, dense_width }
    }

    pub(super) fn check(&self, shape: ImageShape) -> Result<()> {
        self.steps().check("realnvp", self.scales, shape)?;
        check_alpha(self.alpha)
    }
}

/// Training settings for this kind of data.
pub(super) fn training(data: &DataSpec) -> TrainConfig {
    match data.shape {
        Shape::Points { .. } => points::training(),
        Shape::Image { .. } => {
            TrainConfig { batch_size: 32, warmup_steps: 50, ema_decay: 0.995, ..points::training() }
        }
    }
}
