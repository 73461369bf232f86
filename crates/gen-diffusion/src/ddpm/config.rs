use gen_core::data::DataSpec;
use gen_core::optim::AdamConfig;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::bound::Bound;
use crate::network::NetworkConfig;
use crate::prediction::Prediction;
use crate::samplers::Variance;
use crate::schedule::{NoiseSchedule, Spacing};
use crate::weighting::Weighting;

/// The choice of a sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// [`ddim`](crate::samplers::ddim).
    Ddim,
    /// [`ancestral`](crate::samplers::ancestral).
    Ancestral,
}

impl Sampler {
    /// All of them.
    const ALL: [Sampler; 2] = [Sampler::Ddim, Sampler::Ancestral];

    /// The name by which a request asks for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sampler::Ddim => "ddim",
            Sampler::Ancestral => "ancestral",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|sampler| sampler.name() == name);
        found.ok_or_else(|| Error::unknown("sampler", name, Self::ALL.map(Self::name)))
    }
}

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
    /// The sampler where a request names none.
    pub sampler: Sampler,
    /// Steps of the DDIM sampler where a request gives no number. (The ancestral sampler then takes all T.)
    pub ddim_steps: usize,
    /// η of the DDIM sampler: 0 adds no noise, 1 as much as ancestral sampling.
    pub ddim_eta: f64,
    /// The choice of timesteps of a sampler with fewer steps than T.
    pub spacing: Spacing,
    /// The variance of ancestral steps, which the discrete bound shares.
    pub variance: Variance,
    /// Whether estimates of x_0 are clipped to [-1, 1]; for images only.
    pub clip: bool,
    /// The bound on the likelihood that is estimated.
    #[serde(default)]
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
    pub(super) fn check(&self, data: &DataSpec) -> Result<()> {
        self.weighting.check()?;
        self.spacing
            .timesteps(self.timesteps, self.ddim_steps)
            .map_err(|error| Error::invalid(format!("`ddim_steps`: {error}")))?;
        if !(0.0..=1.0).contains(&self.ddim_eta) {
            return Err(Error::invalid(format!("`ddim_eta` must be in [0, 1], found {}", self.ddim_eta)));
        }
        if self.bound_evaluations < 2 {
            return Err(Error::invalid(format!(
                "`bound_evaluations` must be at least 2, found {}",
                self.bound_evaluations
            )));
        }
        if self.clip && !data.shape.is_image() {
            return Err(Error::invalid("`clip` is for images, whose values are in [-1, 1]: points have no such range"));
        }
        Ok(())
    }
}
