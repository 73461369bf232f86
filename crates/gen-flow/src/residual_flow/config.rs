use gen_core::config::at_least_one;
use gen_core::data::DataSpec;
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bijection::LogDet;
use crate::settings::check_layers;

/// How the log-determinants of a training step are found; those of a likelihood are always exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Determinant {
    /// From a matrix as large as the narrowest layer is wide.
    Exact,
    /// By an unbiased random series, which needs no such matrix.
    Roulette,
}

/// Hyperparameters of [`ResidualFlow`](crate::ResidualFlow).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualFlowConfig {
    /// Residual blocks.
    pub blocks: usize,
    /// Units in each hidden layer of a block's perceptron.
    pub hidden: Vec<i64>,
    /// The Lipschitz constant that the perceptrons are bounded to, in (0, 1). The nearer to 1, the more a block can
    /// do and the longer its inverse takes.
    pub lipschitz: f64,
    /// The log-determinants of training steps: `exact` or `roulette`.
    pub determinant: Determinant,
    /// Terms of the series that are always there, with `determinant = "roulette"`.
    pub exact_terms: usize,
    /// What the flow is given.
    pub condition: Conditioning,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl ResidualFlowConfig {
    /// The defaults for this kind of data: exact determinants up to 4 dimensions.
    pub fn of(data: &DataSpec) -> Self {
        let few = data.shape.dimensions() <= 4;
        let learning_rate = if data.shape.is_image() { 2e-3 } else { 1e-2 };
        ResidualFlowConfig {
            blocks: 10,
            hidden: vec![64, 64],
            lipschitz: 0.97,
            determinant: if few { Determinant::Exact } else { Determinant::Roulette },
            exact_terms: 2,
            condition: Conditioning::needed_by(data),
            optimizer: AdamConfig { learning_rate, clip_norm: 5.0, ..AdamConfig::default() },
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
        check_layers("blocks", self.blocks, &self.hidden)?;
        at_least_one("exact_terms", self.exact_terms as i64)?;
        if !(self.lipschitz > 0.0 && self.lipschitz < 1.0) {
            return Err(Error::invalid(format!("`lipschitz` must be in (0, 1), found {}", self.lipschitz)));
        }
        Ok(())
    }
}
