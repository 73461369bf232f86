
mod accumulator;
mod adam;
#[cfg(test)]
mod against_pytorch;
mod annealed;
mod config;
mod ema;
mod optimizer;
mod pace;
mod rate;
pub mod rules;
mod schedule;
mod span;

pub use accumulator::Accumulator;
pub use adam::{Adam, AdamConfig};
pub use annealed::{Annealed, Scheduled, Shape};
pub use config::OptimizerConfig;
pub use ema::Ema;
pub use optimizer::Optimizer;
pub use pace::Pace;
pub use rate::{Decay, RateSchedule};
pub use schedule::Schedule;
pub use span::{Now, Span};
