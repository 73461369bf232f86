//! The training loop: one for all families.

mod budget;
mod clock;
mod record;
mod trainer;
mod validation;

pub use budget::Budget;
pub use clock::{cpu_seconds, peak_rss_mib, rss_mib};
pub use record::{LogRecord, OpenRow, Progress, Stretch};
pub use trainer::{TrainConfig, Trainer};
pub use validation::{Validated, ValidationRecord};
