//! Networks that turn the kept values of a coupling into the parameters of the others.

mod conv;
mod dense;
mod gated;
mod glow;
mod image_context;
mod made;
mod mlp;
mod network;

pub use conv::ConvConditioner;
pub use dense::DenseConditioner;
pub use gated::GatedConditioner;
pub use glow::{GlowConditioner, PriorConditioner};
pub use image_context::WithImage;
pub use made::{Degrees, Made};
pub use mlp::MlpConditioner;
pub use network::Conditioner;
