//! Noise schedules: from the index of a timestep to (α, σ), in f64.
//!
//! One convention in the whole crate (Kingma et al. 2021): x_t = α x_0 + σ ε with ε ~ N(0, I). A schedule only gives
//! the pairs (α, σ) that a process goes through; samplers and bounds see pairs, never a schedule.

mod level;
mod noise;
mod path;
mod posterior;
mod process;
mod spacing;

pub use level::Level;
pub use noise::NoiseSchedule;
pub use path::Path;
pub use posterior::Posterior;
pub use process::DiscreteVp;
pub use spacing::Spacing;
