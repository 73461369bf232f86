//! Layers, a file for each. A layer registers its parameters in a [`Scope`](crate::params::Scope) under PyTorch's
//! names, with PyTorch's initial values unless its documentation says otherwise.

mod attention;
#[cfg(test)]
mod checks;
mod conditional;
mod conv;
mod convolve;
mod dropout;
mod embedding;
mod equalised;
mod gated;
mod layer_norm;
mod linear;
pub mod maps;
mod masked_conv;
mod minibatch_std;
mod mlp;
mod modulation;
mod norm;
mod resample;
mod spectral;
mod standardise;
mod transformer;

pub use attention::{AttentionPath, SelfAttention2d, SpectralAttention2d, attend};
pub use conditional::{ConditionalBatchNorm, ConditionalGroupNorm, Film, film};
pub use conv::{Conv2d, ConvConfig, ConvTranspose2d, conv_relu_stack};
pub use convolve::{Geometry, conv_transpose2d, conv_transpose2d_each, conv2d, conv2d_each};
pub use dropout::Dropout;
pub use embedding::{ClassEmbedding, GaussianFourier, sinusoidal_embedding};
pub use equalised::{Equalised, EqualisedConv2d, EqualisedLinear};
pub use gated::{Gate, GatedLinear, gated};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use masked_conv::{GatedMaskedConv2d, GatedRowCache, Mask, MaskedConv2d, RowCache};
pub use minibatch_std::minibatch_std;
pub use mlp::{Activation, Mlp, ResidualMlp};
pub use modulation::{
    Demodulation, ModulatedConv2d, OutputSize, modulated_conv_transpose2d, modulated_conv2d, modulated_weights,
};
pub use norm::{BatchNorm, BatchStatistics, GroupNorm};
pub use resample::{
    BLUR, blur_downsample, blur_pool, blur_upsample, downsample_average, resize_bilinear, upfirdn2d, upsample_bilinear,
};
pub use spectral::{PowerIteration, SpectralConv2d, SpectralConvTranspose2d, SpectralLinear, SpectralNorm};
pub use standardise::Standardise;
pub use transformer::{KeyValueCache, TransformerLayer};
