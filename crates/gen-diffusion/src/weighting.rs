//! Weights of the loss over noise levels.

use gen_core::Result;
use gen_core::config::positive;
use serde::{Deserialize, Serialize};

use crate::prediction::{EdmScaling, Prediction};
use crate::schedule::Level;

/// The weight on the squared error of the target at each noise level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Weighting {
    /// The same everywhere, whatever the target (Ho et al. 2020, equation 14).
    Uniform,
    /// SNR + 1 / σ_data² on the squared error of x_0, whatever the target: their λ(σ) (Karras et al. 2022, table 1).
    /// With the prediction of the same kind it is [`Weighting::Uniform`].
    Edm(EdmScaling),
}

impl Weighting {
    /// The weight on the squared error of the target of `prediction` at a level. A weight on that of x_0 is divided by
    /// [`Prediction::error_of_x0`].
    ///
    /// ```
    /// use gen_diffusion::prediction::{EdmScaling, Prediction};
    /// use gen_diffusion::schedule::Level;
    /// use gen_diffusion::weighting::Weighting;
    /// let level = Level { alpha: 1.0, sigma: 2.0, time: 0.0 };
    /// let weighting = Weighting::Edm(EdmScaling { sigma_data: 0.5 });
    /// assert_eq!(weighting.at(&level, Prediction::Sample), 4.25);
    /// assert_eq!(weighting.at(&level, Prediction::Epsilon), 17.0);
    /// ```
    pub fn at(self, level: &Level, prediction: Prediction) -> f64 {
        match self {
            Weighting::Uniform => 1.0,
            Weighting::Edm(EdmScaling { sigma_data }) => {
                (level.snr() + sigma_data.powi(-2)) / prediction.error_of_x0(level)
            }
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Weighting::Uniform => Ok(()),
            Weighting::Edm(EdmScaling { sigma_data }) => positive("weighting.sigma_data", sigma_data),
        }
    }
}
