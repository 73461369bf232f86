use gen_core::data::{DataSpec, Shape};
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use serde::{Deserialize, Serialize};

use super::masked::MaskedConfig;
use crate::images::{AffineSteps, MultiScale, Pixels};

/// Hyperparameters of [`RealNvp`](crate::RealNvp): one set for tabular data, one for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
pub enum RealNvpConfig {
    /// Couplings of the columns of tabular data.
    Tabular(TabularConfig),
    /// Couplings of images at several scales, with actnorm and 1x1 convolutions.
    Images(ImageConfig),
    /// Couplings of images at several scales, by chessboards and channels in turn, with batch normalisation.
    Masked(MaskedConfig),
}

impl RealNvpConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let images = ImageConfig::default();
        match data.shape {
            Shape::Points { .. } => RealNvpConfig::Tabular(TabularConfig {
                condition: Conditioning::needed_by(data),
                ..TabularConfig::default()
            }),
            Shape::Image { .. } => {
                RealNvpConfig::Images(ImageConfig { multi_scale: images.multi_scale.fitted(data), ..images })
            }
        }
    }

    /// Those of Dinh et al. (2017); for tabular data, which the paper does not have, as [`RealNvpConfig::of`].
    pub fn of_paper(data: &DataSpec) -> Self {
        match data.shape {
            Shape::Points { .. } => Self::of(data),
            Shape::Image { .. } => RealNvpConfig::Masked(MaskedConfig::of(data)),
        }
    }

    /// The kind of data that it is for.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            RealNvpConfig::Tabular(_) => "tabular data",
            RealNvpConfig::Images(_) | RealNvpConfig::Masked(_) => "images",
        }
    }
}

/// Hyperparameters for tabular data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TabularConfig {
    /// Coupling layers.
    pub couplings: usize,
    /// Units in each hidden layer of a coupling's perceptron.
    pub hidden: Vec<i64>,
    /// What the flow is given.
    pub condition: Conditioning,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for TabularConfig {
    fn default() -> Self {
        TabularConfig {
            couplings: 8,
            hidden: vec![64, 64],
            condition: Conditioning::NONE,
            optimizer: AdamConfig { learning_rate: 1e-3, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

/// Hyperparameters for images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// The way of bytes to the real line, and scales.
    #[serde(flatten)]
    pub multi_scale: MultiScale,
    /// The couplings of each scale.
    #[serde(flatten)]
    pub steps: AffineSteps,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl Default for ImageConfig {
    /// For images of 28 x 28 and 8 x 8.
    fn default() -> Self {
        ImageConfig {
            multi_scale: MultiScale::new(Pixels::Logit),
            steps: AffineSteps::default(),
            optimizer: AdamConfig { learning_rate: 8e-3, clip_norm: 50.0, ..AdamConfig::default() },
        }
    }
}
