//! The bounds on the likelihood of a model that is tractable: z ~ N(0, 1), x | z ~ N(z, 1), with q(z | x) = N(mean,
//! var).

use std::f64::consts::PI;

use gen_core::distributions::{Gaussian, effective_sample_size, log_mean_exp};
use gen_core::testing::{assert_close, assert_close_f64};
use gen_vae::objectives::{elbo, log_importance_weight};
use tch::{Device, Kind, Tensor};

/// Of expected values from elsewhere, which have seven decimals.
const PRINTED: f64 = 6e-8;

struct LinearGaussian {
    x: f64,
    mean: f64,
    var: f64,
}

impl LinearGaussian {
    fn log_prob(&self) -> f64 {
        -0.25 * self.x * self.x - 0.5 * (4.0 * PI).ln()
    }

    fn elbo(&self) -> f64 {
        let expected_square = (self.x - self.mean).powi(2) + self.var;
        let log_likelihood = -0.5 * (expected_square + (2.0 * PI).ln());
        let scalar = |value: f64| Tensor::from_slice(&[value]).unsqueeze(0);
        let kl = Gaussian::new(scalar(self.mean), scalar(self.var.ln() * 0.5)).kl_standard_normal();
        elbo(&Tensor::from_slice(&[log_likelihood]), &kl).double_value(&[0])
    }

    /// `[k, repeats]` log-weights.
    fn log_weights(&self, k: i64, repeats: i64) -> Tensor {
        let n = k * repeats;
        let column = |value: f64| Tensor::full([n, 1], value, (Kind::Double, Device::Cpu));
        let posterior = Gaussian::new(column(self.mean), column(self.var.ln() * 0.5));
        let z = posterior.reparameterise(&column(0.0).randn_like());
        let likelihood = Gaussian::new(z.shallow_clone(), column(0.0));
        log_importance_weight(
            &likelihood.log_prob(&column(self.x)),
            &Gaussian::standard(&z).log_prob(&z),
            &posterior.log_prob(&z),
        )
        .view([k, repeats])
    }
}

#[test]
fn bounds_rise_to_the_likelihood() {
    tch::manual_seed(0);
    let model = LinearGaussian { x: 1.0, mean: 0.0, var: 1.0 };
    assert_close_f64(model.log_prob(), -1.5155121, 0.0, PRINTED);
    assert_close_f64(model.elbo(), -1.9189385, 0.0, PRINTED);

    let bound = |k| log_mean_exp(&model.log_weights(k, 40_000), 0).mean(Kind::Double);
    let bounds: Vec<f64> = [1, 2, 5, 20, 100].map(|k| bound(k).double_value(&[])).to_vec();
    assert_close_f64(bounds[0], model.elbo(), 0.0, 0.02);
    assert_close_f64(bounds[1], -1.653474, 0.0, 0.02);
    assert!(bounds.is_sorted(), "{bounds:?}");
    assert!(bounds[4] < model.log_prob() + 0.005 && bounds[4] > model.log_prob() - 0.02, "{bounds:?}");
}

#[test]
fn with_the_true_posterior_every_bound_is_exact() {
    tch::manual_seed(0);
    let model = LinearGaussian { x: 1.0, mean: 0.5, var: 0.5 };
    let log_w = model.log_weights(7, 50);
    assert_close(&log_w, &Tensor::full_like(&log_w, model.log_prob()), 1e-13, 0.0);
    assert_close_f64(model.elbo(), model.log_prob(), 1e-14, 0.0);
    let ess = effective_sample_size(&log_w, 0);
    assert_close(&ess, &Tensor::full_like(&ess, 7.0), 1e-12, 0.0);
}
