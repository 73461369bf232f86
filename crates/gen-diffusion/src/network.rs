//! The networks that predict, behind one signature.

use gen_core::data::Shape;
use gen_core::nn::{Activation, ResidualMlp};
use gen_core::params::Scope;
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::backbone::Backbone;
use crate::embedding::Embedding;
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

/// A network of any kind.
#[derive(Debug)]
pub struct Network {
    embedding: Embedding,
    backbone: Box<dyn Backbone>,
}

impl Network {
    /// A network with fresh weights for elements of `shape`, which are given conditions of `given` values or none.
    ///
    /// # Errors
    /// When the configuration is for elements of another shape, or its sizes are not possible.
    pub fn new(scope: Scope<'_>, config: &NetworkConfig, shape: Shape, given: Option<i64>) -> Result<Self> {
        let embedding = |frequencies, outputs| Embedding::new(&scope / "embedding", frequencies, outputs, given);
        match (config, shape) {
            (NetworkConfig::Unet(config), Shape::Image { channels, height, width }) => {
                config.check(height, width)?;
                let first = config.channels[0];
                Ok(Network {
                    embedding: embedding(first, 4 * first),
                    backbone: Box::new(UNet::new(&scope, config, channels, 4 * first)),
                })
            }
            (NetworkConfig::Mlp(config), Shape::Points { dimension }) => {
                let MlpConfig { width, blocks } = *config;
                if width < 2 || width % 2 != 0 {
                    return Err(Error::invalid(format!("`width` must be even and positive, found {width}")));
                }
                let embedding = embedding(width, width);
                let layers = ResidualMlp::new(scope, dimension, width, blocks, dimension, Activation::Silu);
                Ok(Network { embedding, backbone: Box::new(layers) })
            }
            (NetworkConfig::Unet(_), Shape::Points { .. }) => {
                Err(Error::invalid("a network of kind \"unet\" is for images; points need \"mlp\""))
            }
            (NetworkConfig::Mlp(_), Shape::Image { .. }) => {
                Err(Error::invalid("a network of kind \"mlp\" is for points; images need \"unet\""))
            }
        }
    }

    /// `x: [batch, ...]`, the network's times `[batch]` and the conditions `given: [batch, width]` to the shape of `x`.
    /// Without conditions, it is that of rows which are given nothing. Values are dropped by the generator `dropout`,
    /// in training.
    pub fn forward(&self, x: &Tensor, time: &Tensor, given: Option<&Tensor>, dropout: Option<&Generator>) -> Tensor {
        self.backbone.forward(x, &self.embedding.forward(time, given), dropout)
    }
}
