#![doc = include_str!("../README.md")]

pub mod bound;
mod ddpm;
pub mod embedding;
pub mod network;
pub mod objective;
pub mod ode;
pub mod prediction;
pub mod samplers;
pub mod schedule;
pub mod unet;
pub mod weighting;

pub use ddpm::{Ancestral, Ddim, Ddpm, DdpmConfig, DdpmSampling, QUICK_DIFFUSION, Sampler};
/// Data, the training loop and `tch` itself, on which this crate builds.
pub use gen_core;
use gen_core::registry::ModelEntry;

/// The models of this crate.
pub static MODELS: &[ModelEntry] = &[ModelEntry::of(&QUICK_DIFFUSION)];
