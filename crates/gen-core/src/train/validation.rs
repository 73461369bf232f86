use serde::{Deserialize, Serialize};
use tch::Kind;

use super::config::TrainConfig;
use super::record::Progress;
use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::model::GenerativeModel;
use crate::rng::{Purpose, derive, permutation, stream};

/// The step and the loss of a validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    /// The number of steps before it.
    pub step: u64,
    /// The mean loss of the rows.
    pub loss: f64,
}

/// The result of a validation.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationRecord {
    /// The progress of the run.
    pub progress: Progress,
    /// The name of the loss; see [`ValidationLoss`](crate::model::ValidationLoss).
    pub objective: String,
    /// The number of rows.
    pub rows: usize,
    /// Their mean loss.
    pub loss: f64,
    /// The duration of the validation, in seconds.
    pub seconds: f64,
    /// Whether the loss is lower than in all earlier validations of the run.
    pub is_best: bool,
}

/// Refuses settings that count validations in a run without validations.
///
/// # Errors
/// When `patience` or `validate_every` is set.
pub(super) fn check_unused(config: &TrainConfig, data: &Dataset) -> Result<()> {
    let set = [("patience", config.patience > 0), ("validate_every", config.validate_every > 0)];
    let Some((setting, _)) = set.into_iter().find(|(_, is_set)| *is_set) else { return Ok(()) };
    let why = match config.validation_rows {
        0 => "`validation_rows` is 0: set it to a number of rows".to_owned(),
        _ => format!("`{}` has no validation rows", data.spec.name),
    };
    Err(Error::invalid(format!("`{setting}` counts validations, but there are none: {why}")))
}

/// The held-out rows, drawn once with their noise.
pub(super) struct Validation {
    batch: Batch,
    seed: u64,
}

impl Validation {
    /// `rows` of the validation split, or all if it has fewer; `None` if that is none.
    pub(super) fn new(data: &Dataset, rows: usize, seed: u64) -> Option<Self> {
        let split = &data.validation;
        let rows = rows.min(split.len());
        if rows == 0 {
            return None;
        }
        let mut order = permutation(split.len(), seed, Purpose::Validate, 0);
        order.truncate(rows);
        let batch = split.select(&order).to_batch(&data.spec, &stream(seed, Purpose::Validate, 0));
        Some(Validation { batch, seed: derive(seed, Purpose::Validate, 1) })
    }

    /// Checks that the model has a validation loss.
    ///
    /// # Errors
    /// When it has none.
    pub(super) fn check<M: GenerativeModel + ?Sized>(&self, model: &M) -> Result<()> {
        match model.validation_loss(&self.batch.narrow(0, 1), self.seed)? {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "`{}` has no validation loss: set `validation_rows` to 0",
                model.card().name
            ))),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.len()
    }

    /// The name of the loss, and its mean over the rows; `None` where the model has none.
    pub(super) fn measure<M: GenerativeModel + ?Sized>(&self, model: &M) -> Result<Option<(String, f64)>> {
        let loss = model.validation_loss(&self.batch, self.seed)?;
        Ok(loss.map(|loss| (loss.objective, loss.rows.mean(Kind::Double).double_value(&[]))))
    }
}
