//! The evidence lower bound and its parts, as pure functions. All results are in nats, one for each row.

use std::f64::consts::PI;

use tch::Tensor;

use crate::likelihoods::sum_rows;

/// KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ (μ² + σ² − log σ² − 1).
///
/// `mean`, `log_var` (log σ²): `[batch, latent]`. Returns `[batch]`, nats, never negative.
///
/// Kingma & Welling (2014), appendix B.
pub fn kl_standard_normal(mean: &Tensor, log_var: &Tensor) -> Tensor {
    sum_rows(&(mean.square() + log_var.exp() - log_var - 1.0)) * 0.5
}

/// KL(N(μ_q, diag σ_q²) ‖ N(μ_p, diag σ_p²)) between Gaussians of diagonal covariance.
///
/// All arguments `[batch, latent]`, the variances as logarithms. Returns `[batch]`, nats, never negative.
pub fn kl_gaussians(mean_q: &Tensor, log_var_q: &Tensor, mean_p: &Tensor, log_var_p: &Tensor) -> Tensor {
    let log_ratio = log_var_q - log_var_p;
    let shift = (mean_q - mean_p).square() * log_var_p.neg().exp();
    sum_rows(&(log_ratio.exp() + shift - log_ratio - 1.0)) * 0.5
}

/// H(N(μ, diag σ²)) = ½ Σ (1 + log 2π + log σ²), the entropy, which does not depend on μ.
///
/// `log_var`: `[batch, latent]`. Returns `[batch]`, nats. With a prior that has no closed form,
/// KL(q ‖ p) = −H(q) − E_q log p(z), and only the second term needs samples.
pub fn gaussian_entropy(log_var: &Tensor) -> Tensor {
    sum_rows(&(log_var + (1.0 + (2.0 * PI).ln()))) * 0.5
}

/// z = μ + σ ε: a sample of N(μ, diag σ²) as a differentiable function of its parameters.
///
/// `noise` (ε, standard normal): any shape that `mean` and `log_var` broadcast to.
///
/// Kingma & Welling (2014), section 2.4.
pub fn reparameterise(mean: &Tensor, log_var: &Tensor, noise: &Tensor) -> Tensor {
    mean + (log_var * 0.5).exp() * noise
}

/// L = E_q log p(x | z) − KL(q(z | x) ‖ p(z)) ≤ log p(x), from a one-sample estimate of the first term.
///
/// Kingma & Welling (2014), equation 7.
pub fn elbo(log_likelihood: &Tensor, kl: &Tensor) -> Tensor {
    log_likelihood - kl
}

/// log w = log p(x | z) + log p(z) − log q(z | x), whose mean under q is the evidence lower bound.
///
/// All arguments and the result: `[batch]`, of one sample z ~ q(z | x) for each row.
pub fn log_importance_weight(log_likelihood: &Tensor, log_prior: &Tensor, log_posterior: &Tensor) -> Tensor {
    log_likelihood + log_prior - log_posterior
}

/// L_K = log (1/K) Σ_k w_k: tighter than the evidence lower bound, and tighter the larger K, in expectation.
///
/// `log_weights`: `[K, batch]`, independent samples along the first dimension. Returns `[batch]`.
///
/// Burda, Grosse & Salakhutdinov (2016), equation 8.
pub fn importance_bound(log_weights: &Tensor) -> Tensor {
    log_weights.logsumexp(0, false) - (log_weights.size()[0] as f64).ln()
}

/// (Σ w)² / Σ w²: how many of the K samples carry the estimate, in [1, K].
///
/// `log_weights`: `[K, batch]`. Returns `[batch]`. Near 1 the bound hangs on a single sample and is loose.
///
/// Kong (1992).
pub fn effective_sample_size(log_weights: &Tensor) -> Tensor {
    (log_weights.logsumexp(0, false) * 2.0 - (log_weights * 2.0).logsumexp(0, false)).exp()
}

/// Σ (x − x̂)², the loss of a plain autoencoder: `[batch, ...]` twice to `[batch]`.
pub fn squared_error(reconstruction: &Tensor, x: &Tensor) -> Tensor {
    sum_rows(&(x - reconstruction).square())
}

#[cfg(test)]
mod tests {
    use gen_core::testing::{assert_close, assert_gradient};
    use tch::{Device, Kind};

    use super::*;

    fn random(shape: &[i64], seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    #[test]
    fn gradients() {
        let [p, q] = [random(&[2, 3, 4], 0), random(&[2, 3, 4], 1)];
        let sum = |t: Tensor| t.sum(Kind::Double);
        assert_gradient(|p| sum(kl_standard_normal(&p.get(0), &p.get(1))), &p, 1e-8);
        assert_gradient(|p| sum(kl_gaussians(&p.get(0), &p.get(1), &q.get(0), &q.get(1))), &p, 1e-8);
        assert_gradient(|q| sum(kl_gaussians(&p.get(0), &p.get(1), &q.get(0), &q.get(1))), &q, 1e-8);
        assert_gradient(|p| sum(reparameterise(&p.get(0), &p.get(1), &q.get(0)).square()), &p, 1e-8);
        assert_gradient(|w| sum(importance_bound(w)), &p.get(0), 1e-8);
        assert_gradient(|x| sum(squared_error(x, &q.get(0))), &p.get(0), 1e-8);
    }

    /// Gradients that are those of differences may be those of another function: its values say which one it is.
    #[test]
    fn values() {
        let row = |values: &[f64]| Tensor::from_slice(values).unsqueeze(0);
        let (mean, log_var) = (row(&[1.0, -2.0]), row(&[4f64.ln(), 0.25f64.ln()]));
        // ½ (1 + 4 - ln 4 - 1) + ½ (4 + ¼ + ln 4 - 1)
        assert_close(&kl_standard_normal(&mean, &log_var), &Tensor::from_slice(&[3.625]), 1e-14, 0.0);
        // Standard deviations of 2 and ½.
        assert_close(&reparameterise(&mean, &log_var, &row(&[0.5, 3.0])), &row(&[2.0, -0.5]), 1e-14, 0.0);
        assert_close(
            &squared_error(&row(&[1.0, 2.0]), &row(&[4.0, -2.0])),
            &Tensor::from_slice(&[25.0]),
            0.0,
            0.0,
        );
        // ½ ln(2πe σ²) of each: the scales 2 and ½ cancel.
        let entropy = (2.0 * PI).ln() + 1.0;
        assert_close(&gaussian_entropy(&log_var), &Tensor::from_slice(&[entropy]), 1e-14, 0.0);
        let [p, q, r] = [1.0, 2.5, -0.5].map(|value| Tensor::from_slice(&[value]));
        assert_eq!(elbo(&p, &q), Tensor::from_slice(&[-1.5]));
        assert_eq!(log_importance_weight(&p, &q, &r), Tensor::from_slice(&[4.0]));
    }

    #[test]
    fn the_standard_normal_is_a_special_case() {
        let (mean, log_var) = (random(&[5, 3], 0), random(&[5, 3], 1));
        let zero = mean.zeros_like();
        let special = kl_standard_normal(&mean, &log_var);
        assert_close(&special, &kl_gaussians(&mean, &log_var, &zero, &zero), 1e-14, 0.0);
        let none = kl_gaussians(&mean, &log_var, &mean, &log_var);
        assert_close(&none, &Tensor::zeros([5], (Kind::Double, Device::Cpu)), 0.0, 1e-15);
    }

    /// KL = −H(q) − E_q log p, with E_q log N(z; 0, I) = −½ Σ (μ² + σ² + log 2π).
    #[test]
    fn entropy_and_cross_entropy_make_the_divergence() {
        let (mean, log_var) = (random(&[5, 3], 0), random(&[5, 3], 1));
        let cross = sum_rows(&(mean.square() + log_var.exp() + (2.0 * PI).ln())) * 0.5;
        let kl = cross - gaussian_entropy(&log_var);
        assert_close(&kl, &kl_standard_normal(&mean, &log_var), 1e-12, 0.0);
    }

    #[test]
    fn one_sample_that_dominates_is_an_effective_sample_of_one() {
        let log_w = Tensor::from_slice(&[0.0, -800.0, -900.0]).unsqueeze(1);
        assert_close(&effective_sample_size(&log_w), &Tensor::from_slice(&[1.0]), 1e-12, 0.0);
        let bound = importance_bound(&log_w).double_value(&[0]);
        assert!((bound + 3f64.ln()).abs() < 1e-12, "{bound}");
    }
}
