//! The target that a network predicts, and the estimate of x_0 that follows from it.

use gen_core::config::positive;
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::scales::Scales;
use crate::schedule::{Level, Process};

/// The target that a network predicts from x_t = α x_0 + σ ε.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise ε (Ho et al. 2020).
    Epsilon,
    /// The data x_0.
    Sample,
    /// v = α ε - σ x_0 of a process with α² + σ² = 1 (Salimans & Ho 2022, section 4): like ε with little noise, like
    /// -x_0 where there is nothing else, and well conditioned at both ends.
    V,
    /// ε - x_0, the direction of a straight way from data to noise (Liu et al. 2023).
    Velocity,
    /// The preconditioning of Karras et al. (2022, table 1): x is scaled to unit variance, and so is the target, which
    /// is what [`EdmScaling::skip`] of x lacks to x_0.
    Edm(EdmScaling),
}

/// Factors that give inputs and targets of a network unit variance (Karras et al. 2022, appendix B.6), for x / α with
/// noise σ / α where α is not 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmScaling {
    /// The standard deviation of the data.
    pub sigma_data: f64,
}

impl Default for EdmScaling {
    /// Theirs for all data sets.
    fn default() -> Self {
        EdmScaling { sigma_data: 0.5 }
    }
}

impl EdmScaling {
    /// The factor on x for the network's input, their c_in.
    pub fn input(self, scales: &Scales) -> Tensor {
        self.variance(scales).rsqrt()
    }

    /// The factor on x in the estimate of x_0, their c_skip.
    pub fn skip(self, scales: &Scales) -> Tensor {
        &scales.alpha * self.sigma_data.powi(2) / self.variance(scales)
    }

    /// The factor on the network's output in the estimate of x_0, their c_out.
    pub fn output(self, scales: &Scales) -> Tensor {
        &scales.sigma * self.sigma_data * self.variance(scales).rsqrt()
    }

    /// Of x.
    fn variance(self, scales: &Scales) -> Tensor {
        (&scales.alpha * self.sigma_data).square() + scales.sigma.square()
    }

    /// (x_0 - c_skip x) / c_out, without the difference of two numbers that are nearly equal.
    fn target(self, x0: &Tensor, noise: &Tensor, scales: &Scales) -> Tensor {
        let difference = &scales.sigma / self.sigma_data * x0 - &scales.alpha * self.sigma_data * noise;
        difference * self.input(scales)
    }
}

impl Prediction {
    /// The input of the network for `x`.
    pub fn input(self, x: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Edm(edm) => x * edm.input(scales),
            Prediction::Epsilon | Prediction::Sample | Prediction::V | Prediction::Velocity => x.shallow_clone(),
        }
    }

    /// The target for the network's output.
    pub fn target(self, x0: &Tensor, noise: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => noise.shallow_clone(),
            Prediction::Sample => x0.shallow_clone(),
            Prediction::V => &scales.alpha * noise - &scales.sigma * x0,
            Prediction::Velocity => noise - x0,
            Prediction::Edm(edm) => edm.target(x0, noise, scales),
        }
    }

    /// x_0 from the network's output at `x`.
    pub fn x0(self, output: &Tensor, x: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => (x - &scales.sigma * output) / &scales.alpha,
            Prediction::Sample => output.shallow_clone(),
            Prediction::V => &scales.alpha * x - &scales.sigma * output,
            Prediction::Velocity => (x - &scales.sigma * output) / (&scales.alpha + &scales.sigma),
            Prediction::Edm(edm) => edm.skip(scales) * x + edm.output(scales) * output,
        }
    }

    /// The squared error of this target for a squared error of 1 in x_0.
    pub fn error_of_x0(self, level: &Level) -> f64 {
        let Level { alpha, sigma, .. } = *level;
        match self {
            Prediction::Epsilon => level.snr(),
            Prediction::Sample => 1.0,
            Prediction::V => level.snr() + 1.0,
            Prediction::Velocity => ((alpha + sigma) / sigma).powi(2),
            Prediction::Edm(EdmScaling { sigma_data }) => level.snr() + sigma_data.powi(-2),
        }
    }

    /// Refuses settings out of range, and a process on which x_0 does not follow from this target.
    ///
    /// # Errors
    /// When it is so.
    pub(crate) fn check(self, process: &dyn Process) -> Result<()> {
        match self {
            Prediction::Epsilon if process.at(1.0).alpha == 0.0 => Err(Error::invalid(
                "`prediction = epsilon` needs some signal where the noise is strongest: try `velocity`",
            )),
            Prediction::V if (process.at(0.5).spread() - 1.0).abs() > 1e-6 => {
                Err(Error::invalid("`prediction = v` needs a variance-preserving process: try `velocity` or `edm`"))
            }
            Prediction::Edm(EdmScaling { sigma_data }) => positive("prediction.sigma_data", sigma_data),
            _ => Ok(()),
        }
    }
}
