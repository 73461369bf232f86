//! Parts that flows of images share: noise, the way from pixels to the real line, scales, and affine steps at each
//! scale.

mod affine_steps;
mod dequantisation;
mod pixels;
mod scales;

pub use affine_steps::AffineSteps;
pub use dequantisation::Dequantisation;
pub use pixels::Pixels;
pub use scales::MultiScale;
pub(crate) use scales::{Scale, shape};
