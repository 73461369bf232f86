//! Variational autoencoders.

pub mod likelihoods;
mod networks;
pub mod objectives;
mod observation;
mod prior;
mod units;
mod vae;

pub use observation::Likelihood;
pub use vae::{Vae, VaeConfig};
