//! Objectives and likelihoods against numbers computed elsewhere, read from `vectors/vae.json`.

#![allow(clippy::unwrap_used)]

use gen_core::testing::{assert_close, assert_close_f64};
use gen_vae::{likelihoods, objectives};
use serde_json::Value;
use tch::{Kind, Tensor};

/// Printed with seven decimals.
const PRINTED: f64 = 6e-8;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/vae.json")).unwrap()
}

/// A row of numbers as `[1, n]`, or a number as `[1, 1]`, in f64.
fn row(value: &Value) -> Tensor {
    let numbers = match value {
        Value::Array(numbers) => numbers.iter().map(|n| n.as_f64().unwrap()).collect(),
        number => vec![number.as_f64().unwrap()],
    };
    Tensor::from_slice(&numbers).unsqueeze(0)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn kl_divergences() {
    let all = vectors();
    let v = &all["kl_standard_normal"];
    let (mean, log_var) = (row(&v["mean"]), row(&v["log_var"]));
    let kl = objectives::kl_standard_normal(&mean, &log_var);
    assert_close_f64(kl.double_value(&[0]), number(&v["kl"]), 1e-14, 0.0);
    let each = objectives::kl_standard_normal(&mean.tr(), &log_var.tr());
    assert_close(&each, &row(&v["each"]).squeeze(), 1e-14, 0.0);

    let v = &all["kl_gaussians"];
    let kl = objectives::kl_gaussians(
        &row(&v["mean_q"]),
        &row(&v["var_q"]).log(),
        &row(&v["mean_p"]),
        &row(&v["var_p"]).log(),
    );
    assert_close_f64(kl.double_value(&[0]), number(&v["kl"]), 0.0, PRINTED);
}

#[test]
fn importance_weights() {
    let v = &vectors()["log_weights"];
    let log_w = row(&v["log_w"]).tr();
    let bound = objectives::importance_bound(&log_w).double_value(&[0]);
    assert_close_f64(bound, number(&v["l4"]), 0.0, PRINTED);
    let elbo = log_w.mean(Kind::Double).double_value(&[]);
    assert_close_f64(elbo, number(&v["elbo"]), 1e-14, 0.0);
    let ess = objectives::effective_sample_size(&log_w).double_value(&[0]);
    assert_close_f64(ess, number(&v["ess"]), 0.0, 6e-7);
}

#[test]
fn discretised_logistic() {
    let v = &vectors()["discretised_logistic"];
    let x = row(&v["x"]).tr();
    let mean = Tensor::full_like(&x, number(&v["mean"]));
    let log_prob = likelihoods::discretised_logistic_log_prob(&mean, &row(&v["log_scale"]), &x);
    assert_close(&log_prob, &row(&v["log_prob"]).squeeze(), 0.0, PRINTED);
}

#[test]
fn bernoulli_cross_entropy() {
    let v = &vectors()["bernoulli"];
    let log_prob = likelihoods::bernoulli_log_prob(&row(&v["logits"]), &row(&v["x"]));
    assert_close_f64(-log_prob.double_value(&[0]), number(&v["cross_entropy"]), 0.0, PRINTED);
}

/// The tractable model z ~ N(0, 1), x | z ~ N(z, 1), with q(z | x) = N(mean, var).
struct LinearGaussian {
    x: f64,
    mean: f64,
    var: f64,
}

impl LinearGaussian {
    fn log_prob(&self) -> f64 {
        -0.25 * self.x * self.x - 0.5 * (4.0 * std::f64::consts::PI).ln()
    }

    fn elbo(&self) -> f64 {
        let expected_square = (self.x - self.mean).powi(2) + self.var;
        let log_likelihood = -0.5 * (expected_square + (2.0 * std::f64::consts::PI).ln());
        let scalar = |value: f64| Tensor::from_slice(&[value]).unsqueeze(0);
        let kl = objectives::kl_standard_normal(&scalar(self.mean), &scalar(self.var.ln()));
        objectives::elbo(&Tensor::from_slice(&[log_likelihood]), &kl).double_value(&[0])
    }

    /// `[k, repeats]` log-weights.
    fn log_weights(&self, k: i64, repeats: i64) -> Tensor {
        let n = k * repeats;
        let column = |value: f64| Tensor::full([n, 1], value, (Kind::Double, tch::Device::Cpu));
        let (mean, log_var, zero) = (column(self.mean), column(self.var.ln()), column(0.0));
        let z = objectives::reparameterise(&mean, &log_var, &mean.randn_like());
        objectives::log_importance_weight(
            &likelihoods::gaussian_log_prob(&z, &zero, &column(self.x)),
            &likelihoods::gaussian_log_prob(&zero, &zero, &z),
            &likelihoods::gaussian_log_prob(&mean, &(log_var * 0.5), &z),
        )
        .view([k, repeats])
    }
}

#[test]
fn bounds_rise_to_the_likelihood() {
    let v = &vectors()["linear_gaussian"];
    tch::manual_seed(0);
    let model = LinearGaussian { x: number(&v["x"]), mean: 0.0, var: 1.0 };
    assert_close_f64(model.log_prob(), number(&v["log_prob"]), 0.0, PRINTED);
    assert_close_f64(model.elbo(), number(&v["prior_l1"]), 0.0, PRINTED);

    let bound = |k| objectives::importance_bound(&model.log_weights(k, 40_000)).mean(Kind::Double);
    let bounds: Vec<f64> = [1, 2, 5, 20, 100].map(|k| bound(k).double_value(&[])).to_vec();
    assert_close_f64(bounds[0], model.elbo(), 0.0, 0.02);
    assert_close_f64(bounds[1], number(&v["prior_l2"]), 0.0, 0.02);
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
    let ess = objectives::effective_sample_size(&log_w);
    assert_close(&ess, &Tensor::full_like(&ess, 7.0), 1e-12, 0.0);
}
