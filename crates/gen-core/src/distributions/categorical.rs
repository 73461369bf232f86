use tch::{Kind, Tensor};

use crate::rng::Generator;

/// One of K classes with the probabilities softmax(l), by the logits l.
///
/// ```
/// use gen_core::distributions::Categorical;
/// use tch::Tensor;
///
/// let weights = Categorical::new(Tensor::from_slice(&[1.0, 3.0]).log());
/// let log_p = weights.log_prob(&Tensor::from_slice(&[1i64, 0, 1]));
/// assert!((log_p.exp().double_value(&[0]) - 0.75).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct Categorical {
    /// l: `[batch, K]`, or `[K]` for one distribution that all rows share. A constant added to a row changes nothing.
    pub logits: Tensor,
}

impl Categorical {
    /// From logits.
    pub fn new(logits: Tensor) -> Self {
        Categorical { logits }
    }

    /// ln of the probability of every class, in the shape of the logits.
    pub fn log_probs(&self) -> Tensor {
        self.logits.log_softmax(-1, self.logits.kind())
    }

    /// ln of the probability of the classes `i64 [batch]`: `[batch]`, nats.
    pub fn log_prob(&self, classes: &Tensor) -> Tensor {
        let log_probs = self.log_probs();
        let size = [classes.size()[0], self.logits.size()[self.logits.dim() - 1]];
        log_probs.expand(size, false).gather(1, &classes.unsqueeze(1), false).squeeze_dim(1)
    }

    /// −Σ p ln p, nats: `[batch]`, or a scalar for one shared distribution.
    pub fn entropy(&self) -> Tensor {
        let log_p = self.log_probs();
        -(log_p.exp() * log_p).sum_dim_intlist(-1, false, None::<Kind>)
    }

    /// KL(self ‖ other) = Σ p (ln p − ln q), nats, never negative; in the shape of [`Categorical::entropy`].
    pub fn kl(&self, other: &Categorical) -> Tensor {
        let log_p = self.log_probs();
        (log_p.exp() * (&log_p - other.log_probs())).sum_dim_intlist(-1, false, None::<Kind>)
    }

    /// `n` classes, `i64 [n]`: one for each row of the logits, of which there are then `n`, or all from one shared
    /// distribution.
    pub fn sample(&self, n: i64, rng: &Generator) -> Tensor {
        // The class of a uniform number: the number of cumulative probabilities that it is not below.
        let cumulative = self.logits.softmax(-1, Kind::Double).cumsum(-1, Kind::Double);
        let u = rng.rand([n, 1], (Kind::Double, self.logits.device()));
        let last = self.logits.size()[self.logits.dim() - 1] - 1;
        u.ge_tensor(&cumulative).sum_dim_intlist(1, false, Kind::Int64).clamp_max(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_close_f64, assert_gradient};

    fn logits() -> Tensor {
        Tensor::from_slice(&[0.3, -1.2, 2.0, 0.0, 0.5, -0.4]).view([2, 3])
    }

    #[test]
    fn gradients() {
        let (p, q) = (logits(), logits().flip([1]));
        let classes = Tensor::from_slice(&[2i64, 0]);
        let of = |logits: &Tensor| Categorical::new(logits.shallow_clone());
        assert_gradient(|l| of(l).log_prob(&classes).sum(Kind::Double), &p, 1e-8);
        assert_gradient(|l| of(l).entropy().sum(Kind::Double), &p, 1e-8);
        assert_gradient(|l| of(l).kl(&of(&q)).sum(Kind::Double), &p, 1e-8);
        assert_gradient(|l| of(&p).kl(&of(l)).sum(Kind::Double), &q, 1e-8);
    }

    #[test]
    fn values_by_hand() {
        let p = Categorical::new(Tensor::from_slice(&[1.0, 1.0, 2.0]).log());
        let log_p = p.log_prob(&Tensor::from_slice(&[2i64, 0, 1, 2]));
        assert_close(&log_p.exp(), &Tensor::from_slice(&[0.5, 0.25, 0.25, 0.5]), 1e-14, 0.0);
        assert_close_f64(p.entropy().double_value(&[]), 1.5 * 2f64.ln(), 1e-14, 0.0);
        let uniform = Categorical::new(Tensor::from_slice(&[0.0, 0.0, 0.0]));
        assert_close_f64(p.kl(&uniform).double_value(&[]), 3f64.ln() - 1.5 * 2f64.ln(), 1e-13, 0.0);
        assert_eq!(Categorical::new(logits()).entropy().size(), [2]);
    }

    #[test]
    fn classes_are_drawn_as_often_as_it_says() {
        let p = Categorical::new(Tensor::from_slice(&[1.0, 1.0, 2.0]).log());
        let rng = Generator::seeded(0);
        let counts = p.sample(40_000, &rng).bincount(None::<Tensor>, 3).to_kind(Kind::Double) / 40_000.0;
        let error = 4.0 * 0.5 / 200.0;
        assert_close(&counts, &Tensor::from_slice(&[0.25, 0.25, 0.5]), 0.0, error);
        let certain = Categorical::new(Tensor::from_slice(&[0.0, 80.0, 80.0, 0.0]).view([2, 2]));
        assert_eq!(certain.sample(2, &rng), Tensor::from_slice(&[1i64, 0]));
    }
}
