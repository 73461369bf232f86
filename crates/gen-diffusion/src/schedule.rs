//! Noise schedules: from the index of a timestep to (α, σ), in f64.
//!
//! One convention in the whole crate (Kingma et al. 2021): x_t = α x_0 + σ ε with ε ~ N(0, I). A schedule only says
//! which pairs (α, σ) a process goes through; samplers and bounds see pairs, never a schedule.

mod path;

use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use path::Path;

/// A noise level: x_t = α x_0 + σ ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The factor on the data.
    pub alpha: f64,
    /// The standard deviation of the noise.
    pub sigma: f64,
    /// What the network is told.
    pub time: f64,
}

impl Level {
    /// Data without noise, where every sampler ends. No network is asked here.
    pub const CLEAN: Level = Level { alpha: 1.0, sigma: 0.0, time: 0.0 };

    /// The signal-to-noise ratio α² / σ².
    pub fn snr(&self) -> f64 {
        (self.alpha / self.sigma).powi(2)
    }

    /// Its logarithm, λ.
    pub fn log_snr(&self) -> f64 {
        2.0 * (self.alpha / self.sigma).ln()
    }
}

/// How the variance of the noise grows over the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseSchedule {
    /// β from 1e-4 to 0.02 in equal steps (Ho et al. 2020, section 4), times 1000 / T for another number of
    /// timesteps than 1000.
    Linear,
    /// ᾱ(t) = cos²((t/T + s) / (1 + s) · π/2) with s = 0.008 (Nichol & Dhariwal 2021, equation 17).
    Cosine,
}

/// No β is larger: the last step must leave some signal, or x_0 cannot be told from x_T.
const MAX_BETA: f64 = 0.999;

impl NoiseSchedule {
    /// β of each of `timesteps` timesteps, each at most 0.999.
    ///
    /// ```
    /// use gen_diffusion::schedule::NoiseSchedule;
    /// let betas = NoiseSchedule::Linear.betas(1000);
    /// assert_eq!(betas[0], 1e-4);
    /// assert!((betas[999] - 0.02).abs() < 1e-15);
    /// ```
    pub fn betas(self, timesteps: usize) -> Vec<f64> {
        let n = timesteps as f64;
        let beta = |t: usize| match self {
            NoiseSchedule::Linear => {
                let (first, last) = (1e-4 * 1000.0 / n, 0.02 * 1000.0 / n);
                first + (last - first) * t as f64 / (n - 1.0).max(1.0)
            }
            NoiseSchedule::Cosine => {
                let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                1.0 - alpha_bar((t + 1) as f64 / n) / alpha_bar(t as f64 / n)
            }
        };
        (0..timesteps).map(|t| beta(t).min(MAX_BETA)).collect()
    }
}

/// A variance-preserving process of T timesteps, α² + σ² = 1 (Ho et al. 2020, section 2).
///
/// Timesteps count from 0, which has the least noise, to T - 1.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscreteVp {
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl DiscreteVp {
    /// The process of a schedule.
    ///
    /// # Errors
    /// When there is no timestep.
    pub fn new(schedule: NoiseSchedule, timesteps: usize) -> Result<Self> {
        Self::from_betas(schedule.betas(timesteps))
    }

    /// The process with these variances.
    ///
    /// # Errors
    /// When there are none, or one is outside (0, 1).
    pub fn from_betas(betas: Vec<f64>) -> Result<Self> {
        if betas.is_empty() {
            return Err(Error::invalid("a diffusion process needs at least 1 timestep"));
        }
        if let Some(beta) = betas.iter().find(|beta| !(**beta > 0.0 && **beta < 1.0)) {
            return Err(Error::invalid(format!("every beta must be in (0, 1), found {beta}")));
        }
        let mut product = 1.0;
        let alphas_cumprod = betas
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect();
        Ok(DiscreteVp { betas, alphas_cumprod })
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.betas.len()
    }

    /// β of every timestep.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// ᾱ of every timestep: the product of 1 - β up to it.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// The noise level of timestep `t`. The network's time is in thousandths of the process, `1000 t / T`, so
    /// that it means the same whatever T is.
    ///
    /// # Panics
    /// When `t` is not below T.
    pub fn level(&self, t: usize) -> Level {
        let alpha_bar = self.alphas_cumprod[t];
        Level {
            alpha: alpha_bar.sqrt(),
            sigma: (1.0 - alpha_bar).sqrt(),
            time: t as f64 * 1000.0 / self.timesteps() as f64,
        }
    }

    /// The levels that a sampler goes through: those of `timesteps`, then [`Level::CLEAN`].
    ///
    /// # Panics
    /// When a timestep is not below T.
    pub fn levels(&self, timesteps: &[usize]) -> Vec<Level> {
        timesteps.iter().map(|t| self.level(*t)).chain([Level::CLEAN]).collect()
    }
}

/// The distribution of a less noisy x_s given x_t and x_0, N(c₀ x_0 + c_t x_t, variance).
///
/// With s = t - 1 this is Ho et al. (2020), equations 6 and 7. Between any two levels it is the same process
/// with fewer timesteps, its β computed anew (Nichol & Dhariwal 2021, section 4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// The factor c₀ on x_0.
    pub coef_x0: f64,
    /// The factor c_t on x_t.
    pub coef_xt: f64,
    /// The variance, β̃.
    pub variance: f64,
    /// The variance of x_t given x_s: β of this step.
    pub beta: f64,
}

impl Posterior {
    /// q(x_s | x_t, x_0) for the level `from` of x_t and the less noisy level `to` of x_s.
    pub fn between(from: &Level, to: &Level) -> Self {
        let ratio = from.alpha / to.alpha;
        let (from_var, to_var) = (from.sigma.powi(2), to.sigma.powi(2));
        let beta = from_var - ratio.powi(2) * to_var;
        Posterior {
            coef_x0: to.alpha * beta / from_var,
            coef_xt: ratio * to_var / from_var,
            variance: beta * to_var / from_var,
            beta,
        }
    }
}

/// Which of the T timesteps a sampler with fewer steps goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// Equal steps down from T - 1. The one that always starts where the noise is strongest, as x_T ~ N(0, I) asks
    /// for (Lin et al. 2024, section 3.3).
    Trailing,
    /// Equal steps of ⌊T / steps⌋ that end at 0 (Song et al. 2021, appendix D.2); starts below T - 1.
    Leading,
    /// From T - 1 to 0 in equal steps, rounded (Nichol & Dhariwal 2021, section 4).
    Linspace,
}

impl Spacing {
    /// `steps` of the timesteps `0..timesteps`, from the noisiest to the last.
    ///
    /// ```
    /// use gen_diffusion::schedule::Spacing;
    /// assert_eq!(Spacing::Trailing.timesteps(1000, 4).unwrap(), [999, 749, 499, 249]);
    /// assert_eq!(Spacing::Leading.timesteps(1000, 4).unwrap(), [750, 500, 250, 0]);
    /// ```
    ///
    /// # Errors
    /// When `steps` is not in `1..=timesteps`.
    pub fn timesteps(self, timesteps: usize, steps: usize) -> Result<Vec<usize>> {
        if !(1..=timesteps).contains(&steps) {
            return Err(Error::invalid(format!(
                "a process of {timesteps} timesteps can be sampled in 1 to {timesteps} steps, found {steps}"
            )));
        }
        let (total, count) = (timesteps as f64, steps as f64);
        let place = |i: usize| match self {
            Spacing::Trailing => (total - i as f64 * (total / count)).round_ties_even() as usize - 1,
            Spacing::Leading => (steps - 1 - i) * (timesteps / steps),
            Spacing::Linspace => {
                let gap = (total - 1.0) / (count - 1.0).max(1.0);
                ((steps - 1 - i) as f64 * gap).round_ties_even() as usize
            }
        };
        Ok((0..steps).map(place).collect())
    }
}
