use gen_core::config::not_negative;
use gen_core::data::{DataSpec, Shape};
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::samplers::Variance;
use crate::schedule::Spacing;

/// Sampling options of [`Ddpm`](crate::Ddpm).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdpmSampling {
    /// The sampler.
    pub sampler: Sampler,
    /// Factor on the standard deviation of the noise x_T, from 0 up. Other than 1 it needs a sampler that draws no
    /// other noise.
    pub temperature: f64,
    /// Whether estimates of x_0 are clipped to [-1, 1]; for images only.
    pub clip: bool,
}

impl Default for DdpmSampling {
    /// Those of images.
    fn default() -> Self {
        DdpmSampling { sampler: Sampler::Ddim(Ddim::default()), temperature: 1.0, clip: true }
    }
}

/// A sampler and its options.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Sampler {
    /// [`ddim`](crate::samplers::ddim).
    Ddim(Ddim),
    /// [`ancestral`](crate::samplers::ancestral).
    Ancestral(Ancestral),
}

/// Options of [`ddim`](crate::samplers::ddim).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddim {
    /// Steps, from 1 to T.
    pub steps: usize,
    /// The choice among the T timesteps.
    pub spacing: Spacing,
    /// η in [0, 1]: 0 adds no noise, 1 as much as ancestral sampling.
    pub eta: f64,
}

impl Default for Ddim {
    fn default() -> Self {
        Ddim { steps: 25, spacing: Spacing::Trailing, eta: 0.0 }
    }
}

/// Options of [`ancestral`](crate::samplers::ancestral).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ancestral {
    /// Steps, from 1 to T.
    pub steps: usize,
    /// The choice among the T timesteps.
    pub spacing: Spacing,
    /// The variance of a step.
    pub variance: Variance,
}

impl Default for Ancestral {
    /// The 1000 timesteps of Ho et al. (2020).
    fn default() -> Self {
        Ancestral { steps: 1000, spacing: Spacing::Trailing, variance: Variance::FixedLarge }
    }
}

impl Sampler {
    /// The name of the kind, for records.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sampler::Ddim(_) => "ddim",
            Sampler::Ancestral(_) => "ancestral",
        }
    }

    /// The timesteps of a process of `timesteps`, from the noisiest to the last.
    pub(super) fn timesteps(self, timesteps: usize) -> Result<Vec<usize>> {
        let (Sampler::Ddim(Ddim { steps, spacing, .. }) | Sampler::Ancestral(Ancestral { steps, spacing, .. })) = self;
        spacing.timesteps(timesteps, steps)
    }
}

impl DdpmSampling {
    pub(super) fn of(data: &DataSpec) -> Self {
        DdpmSampling { clip: data.shape.is_image(), ..Self::default() }
    }

    pub(super) fn check(&self, timesteps: usize, shape: Shape) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message));
        self.sampler.timesteps(timesteps).map_err(|error| Error::invalid(format!("`sampler.steps`: {error}")))?;
        not_negative("temperature", self.temperature)?;
        let is_deterministic = match self.sampler {
            Sampler::Ddim(Ddim { eta, .. }) if !(0.0..=1.0).contains(&eta) => {
                return wrong(format!("`sampler.eta` must be in [0, 1], found {eta}"));
            }
            Sampler::Ddim(Ddim { eta, .. }) => eta == 0.0,
            Sampler::Ancestral(_) => false,
        };
        if self.temperature != 1.0 && !is_deterministic {
            return wrong(
                "a temperature scales the noise that sampling starts from: it needs the sampler `ddim` with `eta` 0, \
                 where there is no other noise"
                    .to_owned(),
            );
        }
        if self.clip && !shape.is_image() {
            return wrong("`clip` is for images, whose values are in [-1, 1]: points have no such range".to_owned());
        }
        Ok(())
    }
}
