#![doc = include_str!("../README.md")]

mod ae;
pub mod likelihoods;
mod networks;
pub mod objectives;
mod observation;
mod prior;
mod sampling;
mod units;
mod vae;

pub use ae::{Ae, AeConfig};
/// What this crate builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::registry::ModelEntry;
pub use networks::NetworkKind;
pub use observation::Likelihood;
pub use vae::{Vae, VaeConfig};

/// The models of this crate.
pub const MODELS: &[ModelEntry] = &[ModelEntry::of::<Vae>(), ModelEntry::of::<Ae>()];
