use gen_core::config::at_least_one;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::level::Level;
use super::process::Process;

/// The choice of the levels at which a sampler evaluates the network.
///
/// In continuous time the first three are equal steps from 1 to 1/n, from 1 - 1/n to 0, and from 1 to 0.
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
    /// Equal steps of (σ/α)^(1/7) from the most noise to the least (Karras et al. 2022, equation 5, with their ρ = 7),
    /// between timesteps where it comes so.
    Karras,
}

/// ρ of [`Spacing::Karras`].
const RHO: f64 = 7.0;

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
    /// When `steps` is not in `1..=timesteps`, or the levels are not those of timesteps.
    pub fn timesteps(self, timesteps: usize, steps: usize) -> Result<Vec<usize>> {
        if !(1..=timesteps).contains(&steps) {
            return Err(Error::invalid(format!(
                "a process of {timesteps} timesteps can be sampled in 1 to {timesteps} steps, found {steps}"
            )));
        }
        let (total, count) = (timesteps as f64, steps as f64);
        let place = |i: usize| match self {
            Spacing::Trailing => Ok((total - i as f64 * (total / count)).round_ties_even() as usize - 1),
            Spacing::Leading => Ok((steps - 1 - i) * (timesteps / steps)),
            Spacing::Linspace => {
                let gap = (total - 1.0) / (count - 1.0).max(1.0);
                Ok(((steps - 1 - i) as f64 * gap).round_ties_even() as usize)
            }
            Spacing::Karras => Err(Error::invalid("the levels of `karras` are not those of timesteps")),
        };
        (0..steps).map(place).collect()
    }

    /// The levels of a sampler of `steps` steps: as many of `process`, from the noisiest on, then [`Level::CLEAN`].
    ///
    /// ```
    /// use gen_diffusion::schedule::{Process, RectifiedFlow, Spacing};
    /// let levels = Spacing::Trailing.levels(&RectifiedFlow, 4)?;
    /// assert_eq!((levels.len(), levels[0].sigma, levels[4].sigma), (5, 1.0, 0.0));
    /// # Ok::<(), gen_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are no steps, or more than the process has levels, or `karras` has no largest σ/α to start from.
    pub fn levels(self, process: &dyn Process, steps: usize) -> Result<Vec<Level>> {
        let mut levels = match process.all_levels() {
            Some(all) if self != Spacing::Karras => {
                self.timesteps(all.len(), steps)?.into_iter().map(|t| all[t]).collect()
            }
            _ => self.between_timesteps(process, steps)?,
        };
        levels.push(Level::CLEAN);
        Ok(levels)
    }

    fn between_timesteps(self, process: &dyn Process, steps: usize) -> Result<Vec<Level>> {
        at_least_one("steps", steps as i64)?;
        let count = steps as f64;
        let time = |i: usize| {
            let left = (steps - 1 - i) as f64;
            match self {
                Spacing::Trailing => Some((left + 1.0) / count),
                Spacing::Leading => Some(left / count),
                Spacing::Linspace => Some(left / (count - 1.0).max(1.0)),
                Spacing::Karras => None,
            }
        };
        match (0..steps).map(time).collect::<Option<Vec<_>>>() {
            Some(times) => Ok(times.into_iter().map(|time| process.at(time)).collect()),
            None => karras(process, steps),
        }
    }
}

fn karras(process: &dyn Process, steps: usize) -> Result<Vec<Level>> {
    let [least, most] = [0.0, 1.0].map(|time| {
        let level = process.at(time);
        (level.sigma / level.alpha).powf(RHO.recip())
    });
    if !most.is_finite() {
        return Err(Error::invalid("`karras` spacing needs some signal where the noise is strongest: try `trailing`"));
    }
    let ratio = |i: usize| (most + i as f64 / (steps as f64 - 1.0).max(1.0) * (least - most)).powf(RHO);
    Ok((0..steps).map(|i| process.at_log_snr(-2.0 * ratio(i).ln())).collect())
}
