//! Optimizers with state that can be saved, weight averaging and learning-rate schedules.

mod adam;
mod ema;
mod schedule;

pub use adam::{Adam, AdamConfig};
pub use ema::Ema;
pub use schedule::Schedule;
