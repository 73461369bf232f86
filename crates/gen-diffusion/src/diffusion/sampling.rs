use gen_core::config::not_negative;
use gen_core::data::{DataSpec, Shape};
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::samplers::Variance;
use crate::schedule::{Level, Process, Spacing};

/// Sampling options of [`Diffusion`](crate::Diffusion).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffusionSampling {
    /// The sampler.
    pub sampler: Sampler,
    /// Factor on the standard deviation of the noise x_T, from 0 up. Other than 1 it needs a sampler that draws no
    /// other noise.
    pub temperature: f64,
    /// Whether estimates of x_0 are clipped to [-1, 1]; for images only.
    pub clip: bool,
    /// The weight w of classifier-free guidance, D + w (D - D of no condition) (Ho & Salimans 2022, equation 6), from 0
    /// up; 0 leaves the condition as it is. It takes twice the network evaluations.
    pub guidance: f64,
}

impl Default for DiffusionSampling {
    /// Those of images.
    fn default() -> Self {
        DiffusionSampling { sampler: Sampler::Ddim(Ddim::default()), temperature: 1.0, clip: true, guidance: 0.0 }
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
    /// [`euler`](crate::samplers::euler).
    Euler(Euler),
    /// [`heun`](crate::samplers::heun).
    Heun(Heun),
}

/// Options of [`ddim`](crate::samplers::ddim).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddim {
    /// Steps, from 1 to the timesteps of the process.
    pub steps: usize,
    /// The choice of the levels.
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
    /// Steps, from 1 to the timesteps of the process.
    pub steps: usize,
    /// The choice of the levels.
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

/// Options of [`euler`](crate::samplers::euler).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Euler {
    /// Steps, from 1 to the timesteps of the process.
    pub steps: usize,
    /// The choice of the levels.
    pub spacing: Spacing,
}

impl Default for Euler {
    fn default() -> Self {
        Euler { steps: 25, spacing: Spacing::Trailing }
    }
}

/// Options of [`heun`](crate::samplers::heun).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heun {
    /// Steps of two evaluations each, but for the last, from 1 to the timesteps of the process.
    pub steps: usize,
    /// The choice of the levels.
    pub spacing: Spacing,
}

impl Default for Heun {
    /// The 18 steps of Karras et al. (2022), with a spacing that every process has.
    fn default() -> Self {
        Heun { steps: 18, spacing: Spacing::Trailing }
    }
}

impl Sampler {
    /// The name of the kind, for records.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sampler::Ddim(_) => "ddim",
            Sampler::Ancestral(_) => "ancestral",
            Sampler::Euler(_) => "euler",
            Sampler::Heun(_) => "heun",
        }
    }

    /// The levels of `process` that it goes through, from the noisiest to [`Level::CLEAN`].
    pub(super) fn levels(self, process: &dyn Process) -> Result<Vec<Level>> {
        let (Sampler::Ddim(Ddim { steps, spacing, .. })
        | Sampler::Ancestral(Ancestral { steps, spacing, .. })
        | Sampler::Euler(Euler { steps, spacing })
        | Sampler::Heun(Heun { steps, spacing })) = self;
        let levels = spacing.levels(process, steps);
        levels.map_err(|error| Error::invalid(format!("`sampler`: {error}")))
    }

    /// Estimates of x_0 that a step takes; the last one takes 1.
    pub(super) fn estimates(self) -> usize {
        if matches!(self, Sampler::Heun(_)) { 2 } else { 1 }
    }

    /// Whether the start alone decides the sample.
    pub(super) fn is_deterministic(self) -> bool {
        match self {
            Sampler::Ddim(Ddim { eta, .. }) => eta == 0.0,
            Sampler::Ancestral(_) => false,
            Sampler::Euler(_) | Sampler::Heun(_) => true,
        }
    }
}

impl DiffusionSampling {
    /// Those of quick models for this kind of data.
    pub(crate) fn of(data: &DataSpec) -> Self {
        DiffusionSampling { clip: data.shape.is_image(), ..Self::default() }
    }

    pub(super) fn check(&self, process: &dyn Process, shape: Shape, can_be_guided: bool) -> Result<()> {
        let wrong = |message: String| Err(Error::invalid(message));
        self.sampler.levels(process)?;
        not_negative("temperature", self.temperature)?;
        not_negative("guidance", self.guidance)?;
        match self.sampler {
            Sampler::Ddim(Ddim { eta, .. }) if !(0.0..=1.0).contains(&eta) => {
                return wrong(format!("`sampler.eta` must be in [0, 1], found {eta}"));
            }
            _ => {}
        }
        if self.temperature != 1.0 && !self.sampler.is_deterministic() {
            return wrong(
                "a temperature scales the noise that sampling starts from: it needs the sampler `ddim` with `eta` 0, \
                 `euler` or `heun`, where there is no other noise"
                    .to_owned(),
            );
        }
        if self.clip && !shape.is_image() {
            return wrong("`clip` is for images, whose values are in [-1, 1]: points have no such range".to_owned());
        }
        if self.guidance != 0.0 && !can_be_guided {
            return wrong(
                "`guidance` needs a model that learns from a condition, with a `condition_dropout` above 0".to_owned(),
            );
        }
        Ok(())
    }
}
