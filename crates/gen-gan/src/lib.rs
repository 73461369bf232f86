#![doc = include_str!("../README.md")]

pub mod losses;
pub mod networks;
pub mod penalty;

mod dcgan;

pub use dcgan::{Dcgan, DcganConfig, QUICK_GAN};
/// Data, the training loop and `tch` itself, on which this crate builds.
pub use gen_core;
use gen_core::registry::ModelEntry;

/// The models of this crate.
pub static MODELS: &[ModelEntry] = &[ModelEntry::of(&QUICK_GAN)];
