use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optim::Schedule;
use crate::precision::Precision;

/// The training settings of all families.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Rows in a batch.
    #[serde(deserialize_with = "crate::config::count")]
    pub batch_size: usize,
    /// The schedule of the learning rate over the budget.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Decay of the moving average of the weights; 0 for no average.
    pub ema_decay: f64,
    /// Steps between rows of the history.
    #[serde(deserialize_with = "crate::config::count")]
    pub log_every: u64,
    /// Rows of the validation split on which the averaged weights are validated every `validate_every` steps; the best
    /// are kept. 0 for no validation, as a model without a validation loss requires.
    pub validation_rows: usize,
    /// Steps between validations; 0 for one after each tenth of the budget.
    pub validate_every: u64,
    /// Early stopping (Goodfellow et al. 2016, algorithm 7.1): training ends after this many validations in a row
    /// without an improvement; 0 never stops it. The learning rate still follows the whole budget, so a schedule that
    /// falls to 0 does not get there.
    pub patience: usize,
    /// The compute dtype of layers during training.
    pub precision: Precision,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            batch_size: 128,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            ema_decay: 0.0,
            log_every: 50,
            validation_rows: 0,
            validate_every: 0,
            patience: 0,
            precision: Precision::F32,
        }
    }
}

impl TrainConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// When a setting is out of its range; the message has both.
    pub fn check(&self) -> Result<()> {
        let counts = [("batch_size", self.batch_size as u64), ("log_every", self.log_every)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::invalid(format!("`{name}` must be a whole number from 1 up, found 0")));
        }
        if !(0.0..1.0).contains(&self.ema_decay) {
            return Err(Error::invalid(format!(
                "`ema_decay` must be from 0 to less than 1, 0 for no average; found {}",
                self.ema_decay
            )));
        }
        Ok(())
    }
}
