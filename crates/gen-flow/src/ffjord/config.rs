use gen_core::data::{DataSpec, Shape};
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bijection::JacobianTrace;
use crate::settings::check_layers;

/// Hyperparameters of [`Ffjord`](crate::Ffjord).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FfjordConfig {
    /// Continuous flows after one another, each with a perceptron of its own.
    pub blocks: usize,
    /// Units in each hidden layer of a perceptron.
    pub hidden: Vec<i64>,
    /// The absolute and the relative tolerance of the solver, in (0, 0.1].
    pub tolerance: f64,
    /// How the trace of the Jacobian is found in training: `exact`, or `hutchinson`, which is cheaper with more than
    /// two hidden layers in several dimensions.
    pub trace: JacobianTrace,
    /// The weight of the kinetic energy of paths in the loss, 0 or more ([`Continuous::with_kinetic_penalty`]):
    /// straighter paths take fewer evaluations.
    ///
    /// [`Continuous::with_kinetic_penalty`]: crate::bijection::Continuous::with_kinetic_penalty
    pub kinetic: f64,
    /// What the flow is given.
    pub condition: Conditioning,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl FfjordConfig {
    /// The defaults for this kind of data.
    pub fn of(data: &DataSpec) -> Self {
        let tabular = FfjordConfig {
            blocks: 1,
            hidden: vec![64, 64],
            tolerance: 1e-5,
            trace: JacobianTrace::Exact,
            kinetic: 0.1,
            condition: Conditioning::needed_by(data),
            optimizer: AdamConfig { learning_rate: 2e-2, clip_norm: 5.0, ..AdamConfig::default() },
        };
        match data.shape {
            Shape::Points { .. } => tabular,
            Shape::Image { .. } => FfjordConfig {
                hidden: vec![256, 256],
                tolerance: 1e-4,
                kinetic: 0.01,
                optimizer: AdamConfig { learning_rate: 5e-3, clip_norm: 50.0, ..AdamConfig::default() },
                ..tabular
            },
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_layers("blocks", self.blocks, &self.hidden)?;
        if !(self.tolerance > 0.0 && self.tolerance <= 0.1) {
            return Err(Error::invalid(format!("`tolerance` must be in (0, 0.1], found {}", self.tolerance)));
        }
        if !(self.kinetic >= 0.0 && self.kinetic.is_finite()) {
            return Err(Error::invalid(format!("`kinetic` must be 0 or more, found {}", self.kinetic)));
        }
        Ok(())
    }
}
