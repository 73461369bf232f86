use gen_core::config::{at_least_one, positive};
use gen_core::data::{DataSpec, Shape};
use gen_core::model::Conditioning;
use gen_core::native::Spline;
use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::images::{AffineSteps, MultiScale, Pixels};
use crate::settings::check_layers;
use crate::univariate::RationalQuadratic;

/// Hyperparameters of [`Nsf`](crate::Nsf): one set for tabular data, one for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum NsfConfig {
    /// Couplings of the columns of tabular data.
    Tabular(SplineConfig),
    /// Couplings of images at several scales.
    Images(SplineImageConfig),
}

impl NsfConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let images = SplineImageConfig::default();
        match data.shape {
            Shape::Points { .. } => NsfConfig::Tabular(SplineConfig::of(data)),
            Shape::Image { .. } => {
                NsfConfig::Images(SplineImageConfig { multi_scale: images.multi_scale.fitted(data), ..images })
            }
        }
    }

    /// The kind of data that it is for.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            NsfConfig::Tabular(_) => "tabular data",
            NsfConfig::Images(_) => "images",
        }
    }
}

/// Hyperparameters of [`Nsf`](crate::Nsf) for tabular data, and of [`NsfAr`](crate::NsfAr).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplineConfig {
    /// Layers.
    pub transforms: usize,
    /// Units in each hidden layer of a layer's network.
    pub hidden: Vec<i64>,
    /// K: bins of each spline.
    pub bins: i64,
    /// B: the splines map [-B, B] onto itself, in units of the data's standard deviations, and are the identity
    /// outside.
    pub bound: f64,
    /// What the flow is given.
    pub condition: Conditioning,
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
            condition: Conditioning::NONE,
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl SplineConfig {
    /// The defaults for this data.
    pub(super) fn of(data: &DataSpec) -> Self {
        SplineConfig { condition: Conditioning::needed_by(data), ..Self::default() }
    }

    /// The spline of each value.
    ///
    /// # Errors
    /// When there is no layer, or a number is out of range.
    pub(super) fn spline(&self) -> Result<RationalQuadratic> {
        check_layers("transforms", self.transforms, &self.hidden)?;
        spline(self.bins, self.bound)
    }
}

/// Hyperparameters of [`Nsf`](crate::Nsf) for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplineImageConfig {
    /// Couplings by splines before all others, a pair for each way to split the image in turn: the colours of a
    /// chessboard, even and odd rows, even and odd columns.
    pub spline_couplings: usize,
    /// K: bins of each spline.
    pub bins: i64,
    /// B: the splines map [-B, B] onto itself, in units of the pixels' standard deviations, and are the identity
    /// outside.
    pub bound: f64,
    /// Channels of these couplings' networks.
    pub spline_width: i64,
    /// Residual blocks in each of these networks.
    pub spline_blocks: usize,
    /// The way of bytes to the real line, and scales.
    #[serde(flatten)]
    pub multi_scale: MultiScale,
    /// The affine couplings of each scale.
    #[serde(flatten)]
    pub steps: AffineSteps,
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
            multi_scale: MultiScale::new(Pixels::Gaussian),
            steps: AffineSteps { couplings: 3, dense_couplings: 2, ..AffineSteps::default() },
            optimizer: AdamConfig { learning_rate: 4e-3, clip_norm: 1.0, ..AdamConfig::default() },
        }
    }
}

impl SplineImageConfig {
    /// The spline of each value.
    ///
    /// # Errors
    /// When there is no coupling, or a number is out of range.
    pub(super) fn spline(&self) -> Result<RationalQuadratic> {
        at_least_one("spline_couplings", self.spline_couplings as i64)?;
        at_least_one("spline_width", self.spline_width)?;
        spline(self.bins, self.bound)
    }
}

fn spline(bins: i64, bound: f64) -> Result<RationalQuadratic> {
    if !(1..=Spline::MOST_BINS).contains(&bins) {
        return Err(Error::invalid(format!("`bins` must be 1 to {}, found {bins}", Spline::MOST_BINS)));
    }
    positive("bound", bound)?;
    Ok(RationalQuadratic::new(bins, bound))
}
