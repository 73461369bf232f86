//! The target that a network predicts, and the conversions between the choices.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::schedule::Level;

/// The target that a network of a variance-preserving process predicts from x_t = α x_0 + σ ε.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise ε (Ho et al. 2020).
    Epsilon,
    /// The data x_0.
    Sample,
    /// v = α ε - σ x_0 (Salimans & Ho 2022, section 4): like ε with little noise, like -x_0 where there
    /// is nothing else, and well conditioned at both ends.
    V,
}

/// α and σ as tensors that broadcast against a batch: scalars, or one of each a row.
#[derive(Debug)]
pub struct Scales {
    /// The factor on the data.
    pub alpha: Tensor,
    /// The standard deviation of the noise.
    pub sigma: Tensor,
}

impl Scales {
    /// The scales of one level, the same for a whole batch like `x`.
    pub fn of(level: &Level, x: &Tensor) -> Self {
        let scalar = |value: f64| Tensor::from(value).to_kind(x.kind()).to_device(x.device());
        Scales { alpha: scalar(level.alpha), sigma: scalar(level.sigma) }
    }

    /// x_t = α x_0 + σ ε.
    pub fn diffuse(&self, x0: &Tensor, noise: &Tensor) -> Tensor {
        &self.alpha * x0 + &self.sigma * noise
    }
}

impl Prediction {
    /// The target for the network's output.
    pub fn target(self, x0: &Tensor, noise: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => noise.shallow_clone(),
            Prediction::Sample => x0.shallow_clone(),
            Prediction::V => &scales.alpha * noise - &scales.sigma * x0,
        }
    }

    /// x_0 from the network's output at `x`.
    pub fn x0(self, output: &Tensor, x: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => (x - &scales.sigma * output) / &scales.alpha,
            Prediction::Sample => output.shallow_clone(),
            Prediction::V => &scales.alpha * x - &scales.sigma * output,
        }
    }

    /// ε from the network's output at `x`.
    pub fn epsilon(self, output: &Tensor, x: &Tensor, scales: &Scales) -> Tensor {
        match self {
            Prediction::Epsilon => output.shallow_clone(),
            Prediction::Sample => (x - &scales.alpha * output) / &scales.sigma,
            Prediction::V => &scales.sigma * x + &scales.alpha * output,
        }
    }

    /// The squared error of this target for a squared error of 1 in x_0.
    pub fn error_of_x0(self, snr: f64) -> f64 {
        match self {
            Prediction::Epsilon => snr,
            Prediction::Sample => 1.0,
            Prediction::V => snr + 1.0,
        }
    }
}
