//! The distribution of the latents.

mod conditional;
mod distribution;
mod mixture;
mod normal;
mod uniform;

pub use conditional::ConditionalNormal;
pub use distribution::Base;
pub use mixture::Mixture;
pub use normal::StandardNormal;
pub use uniform::Uniform;
