//! Layers, a file for each. A layer registers its parameters in a [`Scope`](crate::params::Scope) under PyTorch's
//! names, with PyTorch's initial values unless its documentation says otherwise.

mod attention;
mod conv;
mod embedding;
mod equalised;
mod gated;
mod layer_norm;
mod linear;
pub mod maps;
mod minibatch_std;
mod mlp;
mod modulation;
mod norm;
mod resample;
mod spectral_norm;
mod standardise;
mod transformer;

pub use attention::SelfAttention2d;
pub use conv::{Conv2d, ConvConfig, ConvTranspose2d, conv_relu_stack, conv_transpose2d, conv2d};
pub use embedding::{FourierFeatures, sinusoidal_embedding};
pub use equalised::{EqualisedConv2d, EqualisedLinear};
pub use gated::{Gate, GatedLinear};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use minibatch_std::minibatch_std;
pub use mlp::{Activation, Mlp, ResidualMlp};
pub use modulation::{ConditionalBatchNorm, Film, ModulatedConv2d};
pub use norm::{BatchNorm, BatchStatistics, GroupNorm};
pub use resample::{bilinear_upsample2, blur_downsample2, blur_upsample2};
pub use spectral_norm::{SpectralConv2d, SpectralLinear, SpectralNorm};
pub use standardise::Standardise;
pub use transformer::{KeyValueCache, TransformerLayer};
