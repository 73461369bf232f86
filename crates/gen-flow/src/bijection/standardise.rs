use gen_core::Result;
use gen_core::nn;
use gen_core::params::Scope;
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::constant_log_det;

/// Removes the mean and the scale of the data: y = (x - μ) / σ, log|det| = -Σ ln σ, for each coordinate.
///
/// `x: [batch, dimension]` in the units of the data, best in f64; y is of the kind of the parameters, and the
/// log-determinant is `f64`, as is the result of the inverse. It wraps [`nn::Standardise`].
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

impl Layer for Standardise {}
