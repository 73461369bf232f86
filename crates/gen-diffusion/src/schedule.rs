//! Processes from data to noise: the pairs (α, σ) that they go through, in f64.
//!
//! One convention in the whole crate (Kingma et al. 2021): x_t = α x_0 + σ ε with ε ~ N(0, I). Objectives, samplers and
//! bounds see such pairs, a [`Level`] each, and never ask which [`Process`] they belong to.

mod config;
mod continuous;
mod discrete;
mod edm;
mod level;
mod noise;
mod posterior;
mod process;
mod rectified_flow;
mod spacing;

pub use config::{ContinuousConfig, DiscreteConfig, ProcessConfig};
pub use continuous::{CosineVp, LinearVp};
pub use discrete::DiscreteVp;
pub use edm::{SigmaRange, VarianceExploding};
pub use level::Level;
pub use noise::NoiseSchedule;
pub use posterior::Posterior;
pub use process::Process;
pub use rectified_flow::RectifiedFlow;
pub use spacing::Spacing;
