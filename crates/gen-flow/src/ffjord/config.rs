use gen_core::data::{DataSpec, Shape};
use gen_core::optim::{AdamConfig, Schedule};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bijection::Trace;

/// Hyperparameters of [`Ffjord`](super::Ffjord).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FfjordConfig {
    /// Continuous flows after one another, each with a perceptron of its own.
    pub blocks: usize,
    /// Units in each hidden layer of a perceptron.
    pub hidden: Vec<i64>,
    /// The absolute and the relative tolerance of the solver, in (0, 0.1].
    pub tolerance: f64,
    /// How the trace of the Jacobian is found in training: `exact`, or `hutchinson`, which is cheaper with more than two
    /// hidden layers in several dimensions.
    pub trace: Trace,
    /// The weight of the kinetic energy of paths in the loss, 0 or more ([`Continuous::with_kinetic_penalty`]): straighter
    /// paths take fewer evaluations. Runs that do not say had none.
    ///
    /// [`Continuous::with_kinetic_penalty`]: crate::bijection::Continuous::with_kinetic_penalty
    #[serde(default)]
    pub kinetic: f64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl FfjordConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let points = FfjordConfig {
            blocks: 1,
            hidden: vec![64, 64],
            tolerance: 1e-5,
            trace: Trace::Exact,
            kinetic: 0.1,
            optimizer: AdamConfig { learning_rate: 2e-2, clip_norm: 5.0, ..AdamConfig::default() },
        };
        match data.shape {
            Shape::Points { .. } => points,
            Shape::Image { .. } => FfjordConfig {
                hidden: vec![256, 256],
                tolerance: 1e-4,
                kinetic: 0.01,
                optimizer: AdamConfig { learning_rate: 5e-3, clip_norm: 50.0, ..AdamConfig::default() },
                ..points
            },
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.blocks == 0 {
            return Err(Error::invalid("`blocks` must be at least 1, found 0"));
        }
        if let Some(units) = self.hidden.iter().find(|units| **units < 1) {
            return Err(Error::invalid(format!("`hidden` must be at least 1, found {units}")));
        }
        if !(self.tolerance > 0.0 && self.tolerance <= 0.1) {
            return Err(Error::invalid(format!("`tolerance` must be in (0, 0.1], found {}", self.tolerance)));
        }
        if !(self.kinetic >= 0.0 && self.kinetic.is_finite()) {
            return Err(Error::invalid(format!("`kinetic` must be 0 or more, found {}", self.kinetic)));
        }
        Ok(())
    }
}

/// Training settings for this kind of data.
pub(super) fn training(data: &DataSpec) -> TrainConfig {
    let points = TrainConfig {
        batch_size: 256,
        schedule: Schedule::Cosine,
        validation_rows: 256,
        ..TrainConfig::default()
    };
    match data.shape {
        Shape::Points { .. } => points,
        Shape::Image { .. } => TrainConfig { batch_size: 64, warmup_steps: 50, ema_decay: 0.995, ..points },
    }
}
