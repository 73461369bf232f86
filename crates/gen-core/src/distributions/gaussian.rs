use std::f64::consts::TAU;

use tch::Tensor;

use super::rows::sum_rows;
use crate::rng::Generator;

/// N(μ, diag σ²), independent values.
///
/// ```
/// use gen_core::distributions::Gaussian;
/// use tch::Tensor;
///
/// // One row of two values: N(1, 2²) and N(-2, ½²).
/// let row = |values: &[f64]| Tensor::from_slice(values).unsqueeze(0);
/// let q = Gaussian::new(row(&[1.0, -2.0]), row(&[2f64.ln(), 0.5f64.ln()]));
/// assert_eq!(q.log_prob(&row(&[0.0, 0.0])).size(), [1]);
/// assert!((q.kl_standard_normal().double_value(&[0]) - 3.625).abs() < 1e-12);
/// ```
#[derive(Debug)]
pub struct Gaussian {
    /// μ: `[batch, ...]`.
    pub mean: Tensor,
    /// ln σ, in the shape of the mean or one that broadcasts to it.
    pub log_std: Tensor,
}

impl Gaussian {
    /// From μ and ln σ.
    pub fn new(mean: Tensor, log_std: Tensor) -> Self {
        Gaussian { mean, log_std }
    }

    /// N(0, I), for [`Gaussian::log_prob`] of values like `x` of any shape.
    pub fn standard(x: &Tensor) -> Self {
        let zero = Tensor::zeros([1], (x.kind(), x.device()));
        Gaussian { mean: zero.shallow_clone(), log_std: zero }
    }

    /// Σ ln N(x; μ, σ²), a density. `x: [batch, ...]` to `[batch]`, nats.
    ///
    /// Kingma & Welling (2014), appendix C.2; with one σ for all values it is the σ-VAE of Rybkin et al. (2021).
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        let Gaussian { mean, log_std } = self;
        let standardised = (x - mean) * log_std.neg().exp();
        sum_rows(&(standardised.square() * -0.5 - log_std - 0.5 * TAU.ln()))
    }

    /// μ + σ ε for standard normal `noise` ε in the shape of the mean: a sample as a differentiable function of the
    /// parameters.
    ///
    /// Kingma & Welling (2014), section 2.4.
    pub fn reparameterise(&self, noise: &Tensor) -> Tensor {
        &self.mean + self.log_std.exp() * noise
    }

    /// [`Gaussian::reparameterise`] of noise from `rng`.
    pub fn sample(&self, rng: &Generator) -> Tensor {
        self.reparameterise(&rng.randn_like(&self.mean))
    }

    /// H = ½ Σ (ln σ² + 1 + ln 2π): `[batch]`, nats.
    ///
    /// For a prior p that has no closed form, KL(q ‖ p) = −H(q) − E_q ln p, and only the second term needs samples.
    pub fn entropy(&self) -> Tensor {
        sum_rows(&(self.log_var().expand_as(&self.mean) + (1.0 + TAU.ln()))) * 0.5
    }

    /// KL(self ‖ other) = ½ Σ (σ²/σ'² + (μ − μ')²/σ'² − ln σ²/σ'² − 1): `[batch]`, nats, never negative.
    pub fn kl(&self, other: &Gaussian) -> Tensor {
        let log_ratio = self.log_var() - other.log_var();
        let shift = (&self.mean - &other.mean).square() * other.log_var().neg().exp();
        sum_rows(&(log_ratio.exp() + shift - log_ratio - 1.0)) * 0.5
    }

    /// KL(self ‖ N(0, I)) = ½ Σ (μ² + σ² − ln σ² − 1): `[batch]`, nats, never negative.
    ///
    /// Kingma & Welling (2014), appendix B.
    pub fn kl_standard_normal(&self) -> Tensor {
        let log_var = self.log_var();
        sum_rows(&(self.mean.square() + log_var.exp() - log_var - 1.0)) * 0.5
    }

    /// ln σ².
    fn log_var(&self) -> Tensor {
        &self.log_std * 2.0
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::testing::{assert_close, assert_gradient};

    fn random(shape: &[i64], seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    fn row(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).unsqueeze(0)
    }

    /// From a tensor of means and logarithms of standard deviations.
    fn gaussian(parameters: &Tensor) -> Gaussian {
        Gaussian::new(parameters.get(0), parameters.get(1))
    }

    fn of_variance(mean: f64, log_var: f64) -> Gaussian {
        Gaussian::new(row(&[mean]), row(&[log_var / 2.0]))
    }

    #[test]
    fn gradients() {
        let [p, q] = [random(&[2, 3, 4], 0), random(&[2, 3, 4], 1)];
        let x = random(&[3, 4], 2);
        let sum = |t: Tensor| t.sum(Kind::Double);
        assert_gradient(|p| sum(gaussian(p).log_prob(&x)), &p, 1e-8);
        assert_gradient(|p| sum(gaussian(p).entropy()), &p, 1e-8);
        assert_gradient(|p| sum(gaussian(p).kl_standard_normal()), &p, 1e-8);
        assert_gradient(|p| sum(gaussian(p).kl(&gaussian(&q))), &p, 1e-8);
        assert_gradient(|q| sum(gaussian(&p).kl(&gaussian(q))), &q, 1e-8);
        assert_gradient(|p| sum(gaussian(p).reparameterise(&x).square()), &p, 1e-8);
    }

    /// Gradients that are those of differences may be those of another function: its values say which one it is.
    #[test]
    fn values() {
        let q = Gaussian::new(row(&[1.0, -2.0]), row(&[2f64.ln(), 0.5f64.ln()]));
        // ½ (1 + 4 - ln 4 - 1) + ½ (4 + ¼ + ln 4 - 1)
        assert_close(&q.kl_standard_normal(), &Tensor::from_slice(&[3.625]), 1e-14, 0.0);
        assert_close(&q.reparameterise(&row(&[0.5, 3.0])), &row(&[2.0, -0.5]), 1e-14, 0.0);
        // ½ ln(2πe σ²) of each: the deviations 2 and ½ cancel.
        assert_close(&q.entropy(), &Tensor::from_slice(&[TAU.ln() + 1.0]), 1e-14, 0.0);
        let shared = Gaussian::new(q.mean, Tensor::from_slice(&[2f64.ln()]));
        assert_close(&shared.entropy(), &Tensor::from_slice(&[TAU.ln() + 1.0 + 4f64.ln()]), 1e-14, 0.0);
    }

    /// In double precision, written out from the formulas elsewhere.
    #[test]
    fn divergences_of_other_implementations() {
        for (mean, log_var, expected) in
            [(0.5, 0.0, 0.125), (-1.0, 1.3862943611198906, 1.3068528194400546), (0.0, -1.0, 0.18393972058572117)]
        {
            let kl = of_variance(mean, log_var).kl_standard_normal();
            assert_close(&kl, &Tensor::from_slice(&[expected]), 1e-14, 0.0);
        }
        for ([mean_q, log_var_q, mean_p, log_var_p], expected) in [
            ([0.0, 0.0, 0.0, 0.0], 0.0),
            ([0.1, -2.0, 0.3, -1.0], 0.23830535715490206),
            ([1.0, -9.0, 0.9, -8.5], 24.627109531351977),
        ] {
            let kl = of_variance(mean_q, log_var_q).kl(&of_variance(mean_p, log_var_p));
            assert_close(&kl, &Tensor::from_slice(&[expected]), 1e-9, 1e-15);
        }
        let kl = of_variance(1.0, 4f64.ln()).kl(&of_variance(0.0, 9f64.ln()));
        assert_close(&kl, &Tensor::from_slice(&[0.1832429]), 0.0, 6e-8);
    }

    #[test]
    fn the_standard_normal_is_a_special_case() {
        let q = gaussian(&random(&[2, 5, 3], 0));
        let zero = q.mean.zeros_like();
        let standard = Gaussian::new(zero.shallow_clone(), zero);
        assert_close(&q.kl_standard_normal(), &q.kl(&standard), 1e-14, 0.0);
        assert_close(&q.kl(&q), &Tensor::zeros([5], (Kind::Double, Device::Cpu)), 0.0, 1e-15);
        assert_eq!(Gaussian::standard(&q.mean).log_prob(&q.mean), standard.log_prob(&q.mean));
    }

    /// KL = −H(q) − E_q ln p, with E_q ln N(z; 0, I) = −½ Σ (μ² + σ² + ln 2π).
    #[test]
    fn entropy_and_cross_entropy_make_the_divergence() {
        let q = gaussian(&random(&[2, 5, 3], 0));
        let cross = sum_rows(&(q.mean.square() + (&q.log_std * 2.0).exp() + TAU.ln())) * 0.5;
        assert_close(&(cross - q.entropy()), &q.kl_standard_normal(), 1e-12, 0.0);
    }

    #[test]
    fn rows_are_summed_not_averaged() {
        let x = Tensor::zeros([2, 3, 4, 4], (Kind::Double, Device::Cpu));
        let log_prob = Gaussian::new(x.shallow_clone(), Tensor::from_slice(&[0.0])).log_prob(&x);
        let expected = -0.5 * 48.0 * TAU.ln();
        assert_close(&log_prob, &Tensor::from_slice(&[expected, expected]), 1e-14, 0.0);
    }

    /// Mean and deviation of 40,000 draws, up to four standard errors.
    #[test]
    fn samples_have_its_moments() {
        let mean = Tensor::full([40_000, 1], 3.0, (Kind::Double, Device::Cpu));
        let x = Gaussian::new(mean, Tensor::from_slice(&[2f64.ln()])).sample(&Generator::seeded(0));
        assert!((x.mean(Kind::Double).double_value(&[]) - 3.0).abs() < 4.0 * 2.0 / 200.0);
        assert!((x.std(true).double_value(&[]) - 2.0).abs() < 4.0 * 2.0 / 200.0 / 2f64.sqrt());
    }
}
