use gen_core::data::DataSpec;
use gen_core::optim::{AdamConfig, Schedule};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bijection::LogDet;

/// How the log-determinants of a training step are found; those of a likelihood are always exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Determinant {
    /// From the Jacobian; for few dimensions.
    Exact,
    /// By an unbiased random series whose cost does not depend on the dimension.
    Roulette,
}

/// Hyperparameters of [`ResidualFlow`](super::ResidualFlow).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualFlowConfig {
    /// Residual blocks.
    pub blocks: usize,
    /// Units in each hidden layer of a block's perceptron.
    pub hidden: Vec<i64>,
    /// The Lipschitz constant that the perceptrons are bounded to, in (0, 1). The nearer to 1, the more a block can do and
    /// the longer its inverse takes.
    pub lipschitz: f64,
    /// The log-determinants of training steps: `exact` or `roulette`.
    pub determinant: Determinant,
    /// Terms of the series that are always there, with `determinant = "roulette"`.
    pub exact_terms: usize,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl ResidualFlowConfig {
    /// The defaults for this kind of data: exact determinants up to 4 dimensions.
    pub fn of(data: &DataSpec) -> Self {
        let few = data.shape.dimensions() <= 4;
        ResidualFlowConfig {
            blocks: 10,
            hidden: vec![64, 64],
            lipschitz: 0.97,
            determinant: if few { Determinant::Exact } else { Determinant::Roulette },
            exact_terms: 2,
            optimizer: AdamConfig { learning_rate: 1e-2, clip_norm: 5.0, ..AdamConfig::default() },
        }
    }

    /// The same for a block.
    pub(super) fn log_det(&self) -> LogDet {
        match self.determinant {
            Determinant::Exact => LogDet::Exact,
            Determinant::Roulette => LogDet::Roulette(self.exact_terms),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |key: &str, range: &str, value: f64| {
            Err(Error::invalid(format!("`{key}` must be {range}, found {value}")))
        };
        if self.blocks == 0 {
            return wrong("blocks", "at least 1", 0.0);
        }
        if let Some(units) = self.hidden.iter().find(|units| **units < 1) {
            return wrong("hidden", "at least 1", *units as f64);
        }
        if self.exact_terms == 0 {
            return wrong("exact_terms", "at least 1", 0.0);
        }
        if !(self.lipschitz > 0.0 && self.lipschitz < 1.0) {
            return wrong("lipschitz", "in (0, 1)", self.lipschitz);
        }
        Ok(())
    }
}

/// Training settings.
pub(super) fn training() -> TrainConfig {
    TrainConfig {
        batch_size: 256,
        schedule: Schedule::Cosine,
        validation_rows: 256,
        ..TrainConfig::default()
    }
}
