use gen_core::{Error, Result};

use super::level::Level;
use super::noise::NoiseSchedule;
use super::process::Process;

/// A variance-preserving process of T timesteps, α² + σ² = 1 (Ho et al. 2020, section 2).
///
/// Timesteps count from 0, which has the least noise, to T - 1.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscreteVp {
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
    levels: Vec<Level>,
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
        let alphas_cumprod: Vec<f64> = betas
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect();
        let level = |(t, alpha_bar): (usize, &f64)| Level {
            alpha: alpha_bar.sqrt(),
            sigma: (1.0 - alpha_bar).sqrt(),
            time: t as f64 * 1000.0 / betas.len() as f64,
        };
        let levels = alphas_cumprod.iter().enumerate().map(level).collect();
        Ok(DiscreteVp { betas, alphas_cumprod, levels })
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
        self.levels[t]
    }

    /// The levels that a sampler goes through: those of `timesteps`, then [`Level::CLEAN`].
    ///
    /// # Panics
    /// When a timestep is not below T.
    pub fn levels(&self, timesteps: &[usize]) -> Vec<Level> {
        timesteps.iter().map(|t| self.level(*t)).chain([Level::CLEAN]).collect()
    }
}

/// At a time that no timestep has, the level is that of the timestep before. At a signal-to-noise ratio between those
/// of two timesteps, it has a time between theirs.
impl Process for DiscreteVp {
    fn at(&self, time: f64) -> Level {
        let t = (time * self.timesteps() as f64) as usize;
        self.levels[t.min(self.timesteps() - 1)]
    }

    fn at_log_snr(&self, log_snr: f64) -> Level {
        let level = Level::normalised(log_snr, 0.0);
        let place = half_angle(&level);
        let after = self.levels.partition_point(|known| half_angle(known) <= place);
        let after = after.clamp(1, self.timesteps().max(2) - 1);
        let time = match (&self.levels[after - 1], self.levels.get(after)) {
            (start, Some(end)) => {
                let (a, b) = (half_angle(start), half_angle(end));
                start.time + (end.time - start.time) * ((place - a) / (b - a)).clamp(0.0, 1.0)
            }
            (only, None) => only.time,
        };
        Level { time, ..level }
    }

    fn all_levels(&self) -> Option<&[Level]> {
        Some(&self.levels)
    }

    fn label(&self, level: &Level) -> String {
        format!("t = {:.0}", level.time * self.timesteps() as f64 / 1000.0)
    }
}

/// ln(tan φ/2) with φ = arctan σ/α, in which times are interpolated: with little noise it goes with ln σ, with little
/// signal with the angle.
fn half_angle(level: &Level) -> f64 {
    (level.sigma / (1.0 + level.alpha)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_between_those_of_the_timesteps_around() {
        let process = DiscreteVp::new(NoiseSchedule::Cosine, 1000).expect("timesteps");
        let [a, b] = [10, 11].map(|t| process.level(t));
        // tan φ/2 = e^ψ, and e^(λ/2) = cot φ = sinh(-ψ).
        let place = 0.25 * half_angle(&a) + 0.75 * half_angle(&b);
        let between = process.at_log_snr(2.0 * (-place).sinh().ln());
        assert!((half_angle(&between) - place).abs() < 1e-9, "{between:?}");
        assert!((between.time - (0.25 * a.time + 0.75 * b.time)).abs() < 1e-9, "{between:?}");
        assert_eq!(process.at_log_snr(60.0).time, 0.0);
        assert_eq!(process.at_log_snr(-60.0).time, 999.0);
    }
}
