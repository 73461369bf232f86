use gen_core::Result;
use serde::{Deserialize, Serialize};

use super::continuous::{CosineVp, LinearVp};
use super::discrete::DiscreteVp;
use super::edm::{SigmaRange, VarianceExploding};
use super::noise::NoiseSchedule;
use super::process::Process;
use super::rectified_flow::RectifiedFlow;

/// The choice of a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProcessConfig {
    /// [`DiscreteVp`], α² + σ² = 1 in T steps.
    VariancePreserving(DiscreteConfig),
    /// α² + σ² = 1 in continuous time: [`CosineVp`] or [`LinearVp`].
    Continuous(ContinuousConfig),
    /// [`RectifiedFlow`], α + σ = 1.
    RectifiedFlow,
    /// [`VarianceExploding`], α = 1.
    Edm(SigmaRange),
}

/// Settings of a process in T steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscreteConfig {
    /// Timesteps T.
    pub timesteps: usize,
    /// The noise over the timesteps.
    pub schedule: NoiseSchedule,
}

impl Default for DiscreteConfig {
    fn default() -> Self {
        DiscreteConfig { timesteps: 1000, schedule: NoiseSchedule::Cosine }
    }
}

/// Settings of a variance-preserving process in continuous time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuousConfig {
    /// The noise over time.
    pub schedule: NoiseSchedule,
}

impl Default for ContinuousConfig {
    fn default() -> Self {
        ContinuousConfig { schedule: NoiseSchedule::Cosine }
    }
}

impl ProcessConfig {
    /// The process.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn build(&self) -> Result<Box<dyn Process>> {
        Ok(match *self {
            ProcessConfig::VariancePreserving(DiscreteConfig { schedule, timesteps }) => {
                Box::new(DiscreteVp::new(schedule, timesteps)?)
            }
            ProcessConfig::Continuous(ContinuousConfig { schedule: NoiseSchedule::Cosine }) => Box::new(CosineVp),
            ProcessConfig::Continuous(ContinuousConfig { schedule: NoiseSchedule::Linear }) => Box::new(LinearVp),
            ProcessConfig::RectifiedFlow => Box::new(RectifiedFlow),
            ProcessConfig::Edm(range) => Box::new(VarianceExploding::new(range)?),
        })
    }
}
