//! Weights of the loss over noise levels.

use gen_core::Result;
use gen_core::config::positive;
use serde::{Deserialize, Serialize};

use crate::prediction::Prediction;

/// The weight on the squared error of the target at each noise level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Weighting {
    /// The same everywhere, whatever the target (Ho et al. 2020, equation 14).
    Uniform,
    /// min(SNR, γ) on the squared error of x_0.
    MinSnr(MinSnr),
}

/// min(SNR, γ) on the squared error of x_0, whatever the target (Hang et al. 2023, equation 8).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinSnr {
    /// γ, above 0.
    pub gamma: f64,
}

impl Default for MinSnr {
    /// γ = 5, as in the paper.
    fn default() -> Self {
        MinSnr { gamma: 5.0 }
    }
}

impl Weighting {
    /// The weight on the squared error of the target of `prediction` at a signal-to-noise ratio.
    ///
    /// ```
    /// use gen_diffusion::prediction::Prediction;
    /// use gen_diffusion::weighting::{MinSnr, Weighting};
    /// let weighting = Weighting::MinSnr(MinSnr { gamma: 5.0 });
    /// assert_eq!(weighting.at(20.0, Prediction::Sample), 5.0);
    /// assert_eq!(weighting.at(20.0, Prediction::Epsilon), 0.25);
    /// ```
    pub fn at(self, snr: f64, prediction: Prediction) -> f64 {
        match self {
            Weighting::Uniform => 1.0,
            Weighting::MinSnr(MinSnr { gamma }) => snr.min(gamma) / prediction.error_of_x0(snr),
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Weighting::Uniform => Ok(()),
            Weighting::MinSnr(MinSnr { gamma }) => positive("weighting.gamma", gamma),
        }
    }
}
