use gen_core::Result;
use gen_core::nn;
use gen_core::params::Scope;
use tch::Tensor;

use super::{Bijection, Given, constant_log_det};

/// Takes off the mean and the scale of the data: y = (x - μ) / σ, log|det| = -Σ ln σ, for each coordinate.
///
/// `x: [batch, dimension]` in the units of the data, best in f64; y is of the kind of the parameters, and the
/// log-determinant `f64`, as is what the inverse gives. See [`nn::Standardise`], which it is made of.
#[derive(Debug)]
pub struct Standardise(nn::Standardise);

impl Standardise {
    /// By the statistics of a training set, as [`DataSpec`](gen_core::data::DataSpec) gives them.
    ///
    /// # Errors
    /// When the lists differ in length or are empty, a value is not finite, or a standard deviation is negative.
    pub fn new(scope: Scope<'_>, mean: &[f64], std: &[f64]) -> Result<Self> {
        nn::Standardise::new(scope, mean, std).map(Standardise)
    }
}

impl Bijection for Standardise {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (self.0.forward(x), constant_log_det(&self.0.log_det(), x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        (self.0.inverse(y), constant_log_det(&-self.0.log_det(), y))
    }
}
