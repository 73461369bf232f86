use tch::{Reduction, Tensor};

use super::rows::sum_rows;
use crate::rng::Generator;

/// 1 with probability σ(l), else 0, by the logits l.
///
/// ```
/// use gen_core::distributions::Bernoulli;
/// use tch::Tensor;
///
/// let fair = Bernoulli::new(Tensor::from_slice(&[0.0, 0.0]).unsqueeze(0));
/// assert!((fair.entropy().double_value(&[0]) - 2.0 * 2f64.ln()).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct Bernoulli {
    /// l: `[batch, ...]`.
    pub logits: Tensor,
}

impl Bernoulli {
    /// From logits.
    pub fn new(logits: Tensor) -> Self {
        Bernoulli { logits }
    }

    /// Σ x ln σ(l) + (1 − x) ln σ(−l), a probability mass where `x` is 0 or 1. `x: [batch, ...]` to `[batch]`, nats.
    ///
    /// Between 0 and 1 it is the expected log-mass of an image that is drawn with brightness as probability, not the
    /// log-likelihood of the grey level.
    ///
    /// Kingma & Welling (2014), appendix C.1.
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        let none = None::<&Tensor>;
        let cross_entropy = self.logits.binary_cross_entropy_with_logits(x, none, none, Reduction::None);
        sum_rows(&cross_entropy).neg()
    }

    /// σ(l), in the shape of the logits.
    pub fn mean(&self) -> Tensor {
        self.logits.sigmoid()
    }

    /// −E ln p: `[batch]`, nats.
    pub fn entropy(&self) -> Tensor {
        self.log_prob(&self.mean()).neg()
    }

    /// KL(self ‖ other): `[batch]`, nats, never negative.
    pub fn kl(&self, other: &Bernoulli) -> Tensor {
        let mean = self.mean();
        self.log_prob(&mean) - other.log_prob(&mean)
    }

    /// Zeros and ones in the shape and the kind of the logits. No gradient goes through them.
    pub fn sample(&self, rng: &Generator) -> Tensor {
        rng.rand_like(&self.logits).lt_tensor(&self.mean()).to_kind(self.logits.kind())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient};

    fn row(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).unsqueeze(0)
    }

    #[test]
    fn gradients() {
        let (p, q) = (row(&[-0.7, 0.2, 1.4, -2.0]), row(&[0.1, -1.2, 0.6, 2.0]));
        let x = row(&[0.0, 1.0, 0.3, 1.0]);
        let of = |logits: &Tensor| Bernoulli::new(logits.shallow_clone());
        assert_gradient(|l| of(l).log_prob(&x).sum(Kind::Double), &p, 1e-8);
        assert_gradient(|l| of(l).entropy().sum(Kind::Double), &p, 1e-8);
        assert_gradient(|l| of(l).kl(&of(&q)).sum(Kind::Double), &p, 1e-8);
        assert_gradient(|l| of(&p).kl(&of(l)).sum(Kind::Double), &q, 1e-8);
    }

    #[test]
    fn values_by_hand() {
        let log_prob = Bernoulli::new(row(&[0.3, -1.2, 2.0])).log_prob(&row(&[1.0, 0.0, 0.5]));
        assert_close_f64(log_prob.double_value(&[0]), -1.9445657, 0.0, 6e-8);
        // Probabilities of ¾ and ½.
        let (p, q) = (Bernoulli::new(row(&[3f64.ln()])), Bernoulli::new(row(&[0.0])));
        let entropy = 4f64.ln() - 0.75 * 3f64.ln();
        assert_close_f64(p.entropy().double_value(&[0]), entropy, 1e-14, 0.0);
        assert_close_f64(p.kl(&q).double_value(&[0]), 2f64.ln() - entropy, 1e-13, 0.0);
        assert_close(&q.kl(&q), &Tensor::from_slice(&[0.0]), 0.0, 0.0);
    }

    #[test]
    fn samples_are_ones_as_often_as_it_says() {
        let logits = Tensor::full([40_000, 1], 3f64.ln(), (Kind::Double, Device::Cpu));
        let mean = Bernoulli::new(logits).sample(&Generator::seeded(0)).mean(Kind::Double);
        assert_close_f64(mean.double_value(&[]), 0.75, 0.0, 4.0 * (0.75f64 * 0.25 / 40_000.0).sqrt());
    }
}
