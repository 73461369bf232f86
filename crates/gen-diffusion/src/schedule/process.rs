use gen_core::{Error, Result};

use super::level::Level;
use super::noise::NoiseSchedule;

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
