use gen_core::config::positive;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::level::Level;
use super::process::Process;

/// The noise of a process with α = 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigmaRange {
    /// The least σ, above 0.
    pub sigma_min: f64,
    /// The largest σ, above the least.
    pub sigma_max: f64,
}

impl Default for SigmaRange {
    /// Those of Karras et al. (2022, table 1).
    fn default() -> Self {
        SigmaRange { sigma_min: 0.002, sigma_max: 80.0 }
    }
}

/// Data with noise added, x_σ = x_0 + σ ε (Karras et al. 2022). The logarithm of σ grows evenly with time.
///
/// The network is told ln(σ) / 4, the c_noise of their table 1.
#[derive(Debug, Clone, Copy)]
pub struct VarianceExploding {
    range: SigmaRange,
}

impl VarianceExploding {
    /// Noise of this range.
    ///
    /// # Errors
    /// When an end is not positive, or the least is not below the largest.
    pub fn new(range: SigmaRange) -> Result<Self> {
        let SigmaRange { sigma_min, sigma_max } = range;
        positive("process.sigma_min", sigma_min)?;
        positive("process.sigma_max", sigma_max)?;
        if sigma_min >= sigma_max {
            return Err(Error::invalid(format!(
                "`process.sigma_min` must be below `process.sigma_max`, found {sigma_min} and {sigma_max}"
            )));
        }
        Ok(VarianceExploding { range })
    }

    fn level(sigma: f64) -> Level {
        Level { alpha: 1.0, sigma, time: sigma.ln() / 4.0 }
    }
}

impl Process for VarianceExploding {
    fn at(&self, time: f64) -> Level {
        let SigmaRange { sigma_min, sigma_max } = self.range;
        VarianceExploding::level(sigma_min.powf(1.0 - time) * sigma_max.powf(time))
    }

    fn at_log_snr(&self, log_snr: f64) -> Level {
        VarianceExploding::level((-0.5 * log_snr).exp())
    }

    fn label(&self, level: &Level) -> String {
        format!("σ = {:.3}", level.sigma)
    }
}
