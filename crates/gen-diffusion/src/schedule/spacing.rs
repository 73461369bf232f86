use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The choice of timesteps of a sampler with fewer steps than T.
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
