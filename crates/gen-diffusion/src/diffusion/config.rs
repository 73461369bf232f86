use gen_core::data::DataSpec;
use gen_core::model::Conditioning;
use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bound::{Bound, Decoder};
use crate::network::NetworkConfig;
use crate::noise::NoiseDistribution;
use crate::prediction::Prediction;
use crate::schedule::{Process, ProcessConfig};
use crate::weighting::Weighting;

/// Hyperparameters of [`Diffusion`](crate::Diffusion).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionConfig {
    /// The way from data to noise.
    pub process: ProcessConfig,
    /// The target that the network predicts.
    pub prediction: Prediction,
    /// The weights of the loss over noise levels.
    pub weighting: Weighting,
    /// The distribution of noise levels in training.
    pub noise: NoiseDistribution,
    /// The bound on the likelihood that is estimated.
    pub bound: Bound,
    /// Network evaluations a row in an estimate of the bound, 2 or more; from T on, every term of the discrete one is
    /// evaluated.
    pub bound_evaluations: usize,
    /// The network.
    pub network: NetworkConfig,
    /// The parts of the condition of rows that the network is given.
    pub condition: Conditioning,
    /// The probability with which a row in training is shown without its condition, in [0, 1). Above 0 the network
    /// learns p(x), too, which guidance needs (Ho & Salimans 2022, algorithm 1).
    pub condition_dropout: f64,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl DiffusionConfig {
    pub(super) fn check(&self, process: &dyn Process, data: &DataSpec) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message));
        self.prediction.check(process)?;
        self.weighting.check()?;
        self.noise.check()?;
        self.condition.check(data)?;
        if self.condition.image {
            return wrong("a diffusion model does not learn from pairs: set `condition.image` to false".to_owned());
        }
        if !(0.0..1.0).contains(&self.condition_dropout) {
            return wrong(format!("`condition_dropout` must be in [0, 1), found {}", self.condition_dropout));
        }
        if self.bound_evaluations < 2 {
            return wrong(format!("`bound_evaluations` must be at least 2, found {}", self.bound_evaluations));
        }
        // No data decides whether a process has such a bound.
        self.bound.of(process, Decoder::Gaussian).map(|_| ())
    }
}
