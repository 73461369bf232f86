use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optim::Schedule;
use crate::precision::Precision;

/// Training settings that every family shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Rows in a batch.
    pub batch_size: usize,
    /// The learning rate over the budget.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Decay of the moving average of the weights; 0 keeps none.
    pub ema_decay: f64,
    /// Steps between rows of the history.
    pub log_every: u64,
    /// Rows of the validation split that the averaged weights are judged by, as often as `validate_every` says; the
    /// best are kept. 0 keeps none, and is the only choice for a model without a loss for it.
    #[serde(default)]
    pub validation_rows: usize,
    /// Steps between validations; 0 is one after each tenth of the budget.
    #[serde(default)]
    pub validate_every: u64,
    /// Early stopping (Goodfellow et al. 2016, algorithm 7.1): so many validations in a row, none better than the best
    /// before them, end the training; 0 never does. The learning rate follows the budget all the same: a schedule that
    /// falls to 0 has not come there.
    #[serde(default)]
    pub patience: usize,
    /// What layers multiply in while the model trains.
    #[serde(default)]
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
    /// # Errors
    /// When a setting is outside of its range, which the message says.
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
