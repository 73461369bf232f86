#![doc = include_str!("../README.md")]

mod ae;
mod networks;
pub mod objectives;
mod observation;
mod prior;
mod vae;

pub use ae::{AE, Ae, AeConfig};
/// Data, the training loop and `tch` itself, on which this crate builds.
pub use gen_core;
use gen_core::registry::ModelEntry;
pub use networks::NetworkKind;
pub use observation::Likelihood;
pub use prior::{FlowPrior, PriorConfig};
pub use vae::{QUICK_VAE, Vae, VaeConfig, VaeSampling};

/// The models of this crate.
pub static MODELS: &[ModelEntry] = &[ModelEntry::of(&QUICK_VAE), ModelEntry::of(&AE)];
