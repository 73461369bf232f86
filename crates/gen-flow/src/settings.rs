//! Settings that several flows have, and checks of them.

use gen_core::config::at_least_one;
use gen_core::data::{DataSpec, Shape};
use gen_core::optim::Schedule;
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};

/// Training settings for tabular data.
pub(crate) fn tabular_training() -> TrainConfig {
    TrainConfig { batch_size: 256, schedule: Schedule::Cosine, validation_rows: 256, ..TrainConfig::default() }
}

/// Training settings for this kind of data; images have this batch size and so many steps of warm-up.
pub(crate) fn training(data: &DataSpec, batch_size: usize, warmup_steps: u64) -> TrainConfig {
    match data.shape {
        Shape::Points { .. } => tabular_training(),
        Shape::Image { .. } => TrainConfig { batch_size, warmup_steps, ema_decay: 0.995, ..tabular_training() },
    }
}

/// The error where a configuration is for tabular data and the data are images, or the other way round.
pub(crate) fn other_data(kind: &str, data: &DataSpec) -> Error {
    Error::invalid(format!("the configuration is for {kind}, `{}` has {:?}", data.name, data.shape))
}

/// # Errors
/// When there is no layer, or a hidden layer has no unit.
pub(crate) fn check_layers(key: &str, layers: usize, hidden: &[i64]) -> Result<()> {
    at_least_one(key, layers as i64)?;
    hidden.iter().try_for_each(|&units| at_least_one("hidden", units))
}
