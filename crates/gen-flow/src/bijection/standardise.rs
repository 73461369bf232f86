use gen_core::params::Scope;
use gen_core::{Error, Result};
use tch::Tensor;

use super::{Bijection, Given, constant_log_det};

/// Takes off the mean and the scale of the data: y = (x - μ) / σ, log|det| = -Σ ln σ, for each coordinate.
///
/// `x: [batch, dimension]`. μ and σ are buffers, saved with the parameters.
#[derive(Debug)]
pub struct Standardise {
    mean: Tensor,
    std: Tensor,
}

impl Standardise {
    /// By the statistics of a training set, as [`DataSpec`](gen_core::data::DataSpec) gives them.
    ///
    /// # Errors
    /// When the lists differ in length or are empty, or a standard deviation is not positive.
    pub fn new(scope: Scope<'_>, mean: &[f64], std: &[f64]) -> Result<Self> {
        let sound = mean.iter().chain(std).all(|value| value.is_finite()) && std.iter().all(|&std| std > 0.0);
        if mean.is_empty() || mean.len() != std.len() || !sound {
            return Err(Error::invalid(format!(
                "standardising needs a mean and a positive standard deviation of each coordinate, found {mean:?} and {std:?}"
            )));
        }
        let tensor = |values: &[f64]| Tensor::from_slice(values).to_kind(scope.kind());
        Ok(Standardise { mean: scope.buffer("mean", tensor(mean)), std: scope.buffer("std", tensor(std)) })
    }

    fn log_det(&self) -> Tensor {
        -self.std.log().sum(self.std.kind())
    }
}

impl Bijection for Standardise {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        ((x - &self.mean) / &self.std, constant_log_det(&self.log_det(), x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (self.mean.addcmul(y, &self.std), constant_log_det(&-self.log_det(), y))
    }
}
