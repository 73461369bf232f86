//! The evidence lower bound and its parts, as pure functions, one number for each row. The divergences and likelihoods
//! that they take are those of [`gen_core::distributions`].

use gen_core::distributions::sum_rows;
use tch::Tensor;

/// L = E_q ln p(x | z) − KL(q(z | x) ‖ p(z)) ≤ ln p(x), from a one-sample estimate of the first term: `[batch]`, nats.
///
/// Kingma & Welling (2014), equation 7.
pub fn elbo(log_likelihood: &Tensor, kl: &Tensor) -> Tensor {
    log_likelihood - kl
}

/// ln w = ln p(x | z) + ln p(z) − ln q(z | x), whose mean under q is the evidence lower bound.
/// [`log_mean_exp`](gen_core::distributions::log_mean_exp) of several of them is the importance-weighted bound.
///
/// All arguments and the result: `[batch]`, nats, of one sample z ~ q(z | x) for each row.
pub fn log_importance_weight(log_likelihood: &Tensor, log_prior: &Tensor, log_posterior: &Tensor) -> Tensor {
    log_likelihood + log_prior - log_posterior
}

/// Σ (x − x̂)², the loss of a plain autoencoder: `[batch, ...]` twice to `[batch]`.
pub fn squared_error(reconstruction: &Tensor, x: &Tensor) -> Tensor {
    sum_rows(&(x - reconstruction).square())
}

#[cfg(test)]
mod tests {
    use gen_core::testing::{assert_close, assert_gradient};
    use tch::Kind;

    use super::*;

    #[test]
    fn values_and_gradients() {
        let row = |values: &[f64]| Tensor::from_slice(values).unsqueeze(0);
        let (x, back) = (row(&[4.0, -2.0]), row(&[1.0, 2.0]));
        assert_close(&squared_error(&back, &x), &Tensor::from_slice(&[25.0]), 0.0, 0.0);
        assert_gradient(|back| squared_error(back, &x).sum(Kind::Double), &back, 1e-8);
        let [p, q, r] = [1.0, 2.5, -0.5].map(|value| Tensor::from_slice(&[value]));
        assert_eq!(elbo(&p, &q), Tensor::from_slice(&[-1.5]));
        assert_eq!(log_importance_weight(&p, &q, &r), Tensor::from_slice(&[4.0]));
    }
}
