//! Optimizers with state that can be saved, schedules of their settings, and averages of weights.

mod accumulator;
mod adam;
#[cfg(test)]
mod against_pytorch;
mod annealed;
mod average;
mod config;
mod ema;
mod optimizer;
mod pace;
pub mod posthoc;
pub mod power;
mod rate;
pub mod rules;
mod schedule;
mod span;

pub use accumulator::Accumulator;
pub use adam::{Adam, AdamConfig};
pub use annealed::{Annealed, Scheduled, Shape};
pub use average::{Average, Length};
pub use config::OptimizerConfig;
pub use ema::Ema;
pub use optimizer::Optimizer;
pub use pace::Pace;
pub use rate::{Decay, RateSchedule};
pub use schedule::Schedule;
pub use span::{Now, Span};
