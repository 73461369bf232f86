use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bound::Bound;
use crate::network::NetworkConfig;
use crate::prediction::Prediction;
use crate::schedule::NoiseSchedule;
use crate::weighting::Weighting;

/// Hyperparameters of [`Ddpm`](crate::Ddpm).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DdpmConfig {
    /// Timesteps T of the process.
    pub timesteps: usize,
    /// The noise over the timesteps.
    pub schedule: NoiseSchedule,
    /// The target that the network predicts.
    pub prediction: Prediction,
    /// The weights of the loss over noise levels.
    pub weighting: Weighting,
    /// The bound on the likelihood that is estimated.
    pub bound: Bound,
    /// Network evaluations a row in an estimate of the bound, 2 or more; from T on, every term of the discrete one is
    /// evaluated.
    pub bound_evaluations: usize,
    /// The network.
    pub network: NetworkConfig,
    /// The optimizer.
    pub optimizer: AdamConfig,
}

impl DdpmConfig {
    pub(super) fn check(&self) -> Result<()> {
        self.weighting.check()?;
        if self.bound_evaluations < 2 {
            return Err(Error::invalid(format!(
                "`bound_evaluations` must be at least 2, found {}",
                self.bound_evaluations
            )));
        }
        Ok(())
    }
}
