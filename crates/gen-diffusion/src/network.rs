//! The networks that predict: one for images, one for points, with the same signature.

use gen_core::data::Shape;
use gen_core::nn::{Activation, ResidualMlp};
use gen_core::params::Scope;
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::embedding::TimeEmbedding;
use crate::unet::{UNet, UNetConfig};

/// A network and its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NetworkConfig {
    /// For images.
    Unet(UNetConfig),
    /// For points.
    Mlp(MlpConfig),
}

impl NetworkConfig {
    /// Defaults for elements of this shape.
    pub fn of(shape: Shape) -> Self {
        match shape {
            Shape::Image { height, width, .. } => NetworkConfig::Unet(UNetConfig::of(height, width)),
            Shape::Points { .. } => NetworkConfig::Mlp(MlpConfig::default()),
        }
    }
}

/// A residual MLP with a time embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Units in each layer.
    pub width: i64,
    /// Residual blocks of two layers.
    pub blocks: usize,
}

impl Default for MlpConfig {
    fn default() -> Self {
        MlpConfig { width: 128, blocks: 3 }
    }
}

/// A network of either kind.
#[derive(Debug)]
pub enum Network {
    /// For images.
    Unet(Box<UNet>),
    /// For points.
    Mlp {
        /// The embedding of the time, added after the first layer.
        embedding: TimeEmbedding,
        /// The layers.
        layers: ResidualMlp,
    },
}

impl Network {
    /// A network with fresh weights for elements of `shape`.
    ///
    /// # Errors
    /// When the configuration is of the other kind, or its sizes are not possible.
    pub fn new(scope: Scope<'_>, config: &NetworkConfig, shape: Shape) -> Result<Self> {
        match (config, shape) {
            (NetworkConfig::Unet(config), Shape::Image { channels, height, width }) => {
                config.check(height, width)?;
                Ok(Network::Unet(Box::new(UNet::new(scope, config, channels))))
            }
            (NetworkConfig::Mlp(config), Shape::Points { dimension }) => {
                let MlpConfig { width, blocks } = *config;
                if width < 2 || width % 2 != 0 {
                    return Err(Error::invalid(format!("`width` must be even and positive, found {width}")));
                }
                Ok(Network::Mlp {
                    embedding: TimeEmbedding::new(&scope / "embedding", width, width),
                    layers: ResidualMlp::new(scope, dimension, width, blocks, dimension, Activation::Silu),
                })
            }
            (NetworkConfig::Unet(_), Shape::Points { .. }) => {
                Err(Error::invalid("a network of kind \"unet\" is for images; points need \"mlp\""))
            }
            (NetworkConfig::Mlp(_), Shape::Image { .. }) => {
                Err(Error::invalid("a network of kind \"mlp\" is for points; images need \"unet\""))
            }
        }
    }

    /// `x: [batch, ...]` and `time: [batch]`, in thousandths of the process, to the shape of `x`. Values are
    /// dropped by the generator `dropout`, in training.
    pub fn forward(&self, x: &Tensor, time: &Tensor, dropout: Option<&Generator>) -> Tensor {
        match self {
            Network::Unet(unet) => unet.forward(x, time, dropout),
            Network::Mlp { embedding, layers } => layers.forward(x, Some(&embedding.forward(time))),
        }
    }
}
