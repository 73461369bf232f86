#![doc = include_str!("../README.md")]

pub mod losses;
pub mod networks;

mod dcgan;

pub use dcgan::{Dcgan, DcganConfig};
/// What this crate builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::registry::ModelEntry;

/// The models of this crate.
pub const MODELS: &[ModelEntry] = &[ModelEntry::of::<Dcgan>()];
