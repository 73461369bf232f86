//! Optimizers with state that can be saved, weight averaging and learning-rate schedules.

mod adam;
mod annealed;
mod ema;
mod rate;
mod schedule;
mod span;

pub use adam::{Adam, AdamConfig};
pub use annealed::{Annealed, Scheduled, Shape};
pub use ema::Ema;
pub use rate::{Decay, RateSchedule};
pub use schedule::Schedule;
pub use span::{Now, Span};
