//! The training loop, common to all families.

mod budget;
mod clock;
mod config;
mod record;
mod trainer;
mod validation;

pub use budget::Budget;
pub use clock::{cpu_seconds, peak_rss_mib, rss_mib};
pub use config::TrainConfig;
pub use record::{LogRecord, LossSum, OpenRow, Progress, TrainEvent};
pub use trainer::Trainer;
pub use validation::{Validated, ValidationRecord};
