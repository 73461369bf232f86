use gen_core::distributions::{Categorical, GaussianMixture};
use gen_core::params::{Init, Scope};
use gen_core::rng::Generator;
use tch::Tensor;

use super::distribution::Base;
use crate::given::Given;

/// A learned mixture of diagonal Gaussians.
///
/// With as many components as data has separate parts, the bijection needs no thin bridges between them.
#[derive(Debug)]
pub struct Mixture(GaussianMixture);

impl Mixture {
    /// `components` Gaussians in `dimension` dimensions, of equal weight and unit variance, with means drawn from
    /// N(0, I) as initial parameters are.
    pub fn new(scope: Scope<'_>, components: i64, dimension: i64) -> Self {
        Mixture(GaussianMixture {
            weights: Categorical::new(scope.parameter("logits", &[components], Init::ZEROS)),
            mean: scope.parameter("mean", &[components, dimension], Init::Normal { mean: 0.0, std: 1.0 }),
            log_std: scope.parameter("log_std", &[components, dimension], Init::ZEROS),
        })
    }
}

impl Base for Mixture {
    fn dimension(&self) -> i64 {
        self.0.mean.size()[1]
    }

    fn log_prob(&self, z: &Tensor, _given: Given<'_>) -> Tensor {
        self.0.log_prob(z)
    }

    /// The temperature multiplies the standard deviations; the components keep their places and weights.
    fn sample(&self, n: i64, temperature: f64, _given: Given<'_>, rng: &Generator) -> Tensor {
        self.0.sample(n, temperature, rng)
    }
}
