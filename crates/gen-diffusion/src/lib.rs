#![doc = include_str!("../README.md")]

pub mod backbone;
pub mod bound;
mod diffusion;
pub mod embedding;
pub mod network;
pub mod noise;
pub mod objective;
pub mod ode;
pub mod prediction;
mod presets;
pub mod samplers;
pub mod scales;
pub mod schedule;
pub mod unet;
pub mod weighting;

pub use diffusion::{Ancestral, Ddim, Diffusion, DiffusionConfig, DiffusionSampling, Euler, Heun, Sampler};
/// Data, the training loop and `tch` itself, on which this crate builds.
pub use gen_core;
use gen_core::registry::ModelEntry;
pub use presets::{DDPM, EDM, QUICK_DIFFUSION, RECTIFIED_FLOW};

/// The models of this crate.
pub static MODELS: &[ModelEntry] =
    &[ModelEntry::of(&QUICK_DIFFUSION), ModelEntry::of(&DDPM), ModelEntry::of(&EDM), ModelEntry::of(&RECTIFIED_FLOW)];
