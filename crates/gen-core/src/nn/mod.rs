//! Layers, a file for each. A layer registers its parameters in a [`Scope`](crate::params::Scope) under PyTorch's
//! names, with PyTorch's initial values unless its documentation says otherwise.

mod attention;
mod conv;
mod embedding;
mod layer_norm;
mod linear;
pub mod maps;
mod mlp;
mod norm;
mod standardise;
mod transformer;

pub use attention::SelfAttention2d;
pub use conv::{Conv2d, ConvConfig, ConvTranspose2d, conv_relu_stack};
pub use embedding::sinusoidal_embedding;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::{Activation, Mlp, ResidualMlp};
pub use norm::{BatchNorm, BatchStatistics, GroupNorm};
pub use standardise::Standardise;
pub use transformer::{KeyValueCache, TransformerLayer};
