use std::f64::consts::TAU;

use tch::Tensor;

use super::categorical::Categorical;
use crate::rng::Generator;

/// A mixture of K diagonal Gaussians, p(x) = Σₖ πₖ N(x; μₖ, diag σₖ²), that all rows share.
///
/// ```
/// use gen_core::distributions::{Categorical, GaussianMixture};
/// use gen_core::rng::Generator;
/// use tch::{Device, Kind, Tensor};
///
/// let weights = Categorical::new(Tensor::zeros([2], (Kind::Double, Device::Cpu)));
/// let mean = Tensor::from_slice(&[-3.0, 3.0]).view([2, 1]);
/// let log_std = mean.zeros_like();
/// let mixture = GaussianMixture { weights, mean, log_std };
/// let x = mixture.sample(100, 1.0, &Generator::seeded(0));
/// assert_eq!((x.size(), mixture.log_prob(&x).size()), (vec![100, 1], vec![100]));
/// ```
#[derive(Debug)]
pub struct GaussianMixture {
    /// π, of K components.
    pub weights: Categorical,
    /// μ: `[K, dimension]`.
    pub mean: Tensor,
    /// ln σ: `[K, dimension]`.
    pub log_std: Tensor,
}

impl GaussianMixture {
    /// ln p(x), a density: `[batch, dimension]` to `[batch]`, nats.
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        let kind = x.kind();
        // [batch, components, dimension]
        let scaled = (x.unsqueeze(1) - &self.mean) * (-&self.log_std).exp();
        let squares = scaled.square().sum_dim_intlist(-1, false, kind);
        let volume = self.log_std.sum_dim_intlist(-1, false, kind);
        let constant = 0.5 * self.mean.size()[1] as f64 * TAU.ln();
        (squares * -0.5 - volume + self.weights.log_probs() - constant).logsumexp([1], false)
    }

    /// `n` draws, `[n, dimension]`. `temperature` multiplies the standard deviations; the components keep their places
    /// and weights. Only with 1 are the draws from the density that [`GaussianMixture::log_prob`] gives.
    pub fn sample(&self, n: i64, temperature: f64, rng: &Generator) -> Tensor {
        let component = self.weights.sample(n, rng);
        let std = self.log_std.index_select(0, &component).exp() * temperature;
        let noise = rng.randn([n, self.mean.size()[1]], (self.mean.kind(), self.mean.device()));
        self.mean.index_select(0, &component).addcmul(&noise, &std)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::super::gaussian::Gaussian;
    use super::*;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient};

    /// From `[K, 1 + 2 dimension]`: logits, means, logarithms of the deviations.
    fn mixture(parameters: &Tensor) -> GaussianMixture {
        let dimension = (parameters.size()[1] - 1) / 2;
        GaussianMixture {
            weights: Categorical::new(parameters.select(1, 0)),
            mean: parameters.narrow(1, 1, dimension),
            log_std: parameters.narrow(1, 1 + dimension, dimension),
        }
    }

    fn random(shape: &[i64], seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    #[test]
    fn is_the_weighted_sum_of_its_components() {
        let (parameters, x) = (random(&[3, 5], 0), random(&[4, 2], 1));
        let of = mixture(&parameters);
        let weights = of.weights.log_probs().exp();
        let terms = (0..3).map(|k| {
            let component = Gaussian::new(of.mean.get(k).expand_as(&x), of.log_std.get(k));
            component.log_prob(&x).exp() * weights.double_value(&[k])
        });
        let expected = terms.reduce(|a, b| a + b).unwrap().log();
        assert_close(&of.log_prob(&x), &expected, 1e-12, 1e-12);
        assert_gradient(|p| mixture(p).log_prob(&x).sum(Kind::Double), &parameters, 1e-7);
    }

    #[test]
    fn draws_come_from_the_components_by_weight() {
        let of = mixture(&Tensor::from_slice(&[0.0, -5.0, 0.0, 3f64.ln(), 5.0, 0.0]).view([2, 3]));
        let x = of.sample(40_000, 0.5, &Generator::seeded(0));
        let right = x.gt(0.0).to_kind(Kind::Double);
        let share = right.mean(Kind::Double).double_value(&[]);
        assert_close_f64(share, 0.75, 0.0, 4.0 * (0.75f64 * 0.25 / 40_000.0).sqrt());
        // Around the nearer centre, half the deviation of 1.
        let std = (x.abs() - 5.0).std(true).double_value(&[]);
        assert_close_f64(std, 0.5, 0.0, 4.0 * 0.5 / 80_000f64.sqrt());
    }
}
