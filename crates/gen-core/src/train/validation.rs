use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::config::TrainConfig;
use super::record::Progress;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::model::GenerativeModel;
use crate::rng::{Purpose, derive, permutation, stream};

/// What a validation found, in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    /// The step that it came after.
    pub step: u64,
    /// The mean loss of the rows.
    pub loss: f64,
}

/// What a validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationRecord {
    /// How far the run has come.
    pub progress: Progress,
    /// What the loss is; see [`ValidationLoss`](crate::model::ValidationLoss).
    pub objective: String,
    /// The rows that were looked at.
    pub rows: usize,
    /// Their mean loss.
    pub loss: f64,
    /// How long it took.
    pub seconds: f64,
    /// Whether no earlier validation of the run was as good.
    pub is_best: bool,
}

/// What a run without validations must not ask for.
///
/// # Errors
/// When a setting counts validations.
pub(super) fn check_unused(config: &TrainConfig, data: &Dataset) -> Result<()> {
    let set = [("patience", config.patience > 0), ("validate_every", config.validate_every > 0)];
    let Some((setting, _)) = set.into_iter().find(|(_, is_set)| *is_set) else { return Ok(()) };
    let why = match config.validation_rows {
        0 => "`validation_rows` is 0: set it to a number of rows".to_owned(),
        _ => format!("`{}` has no validation rows", data.spec.name),
    };
    Err(Error::invalid(format!("`{setting}` counts validations, and there are none, since {why}")))
}

/// Rows that are held out, drawn once with their noise.
pub(super) struct Validation {
    x: Tensor,
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
        Some(Validation { x: batch.x, seed: derive(seed, Purpose::Validate, 1) })
    }

    /// # Errors
    /// When the model has no loss to validate by.
    pub(super) fn check<M: GenerativeModel + ?Sized>(&self, model: &M) -> Result<()> {
        match model.validation_loss(&self.x.narrow(0, 0, 1), self.seed)? {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "`{}` has no loss to validate by: set `validation_rows` to 0",
                model.card().name
            ))),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.x.size()[0] as usize
    }

    /// What the loss is, and its mean.
    pub(super) fn measure<M: GenerativeModel + ?Sized>(&self, model: &M) -> Result<Option<(String, f64)>> {
        let loss = model.validation_loss(&self.x, self.seed)?;
        Ok(loss.map(|loss| (loss.objective, loss.rows.mean(Kind::Double).double_value(&[]))))
    }
}
