//! Numbers from elsewhere (`tests/vectors/free_form.json` has where each comes from), and short trainings.

use gen_core::data::{Batch, Dataset, PointSet};
use gen_core::model::{GenerativeModel, LikelihoodKind, SampleRequest};
use gen_core::params::Params;
use gen_core::registry::{BuildContext, Buildable, Preset};
use gen_core::rng::Generator;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, TrainConfig, Trainer};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub(crate) fn vectors(block: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../vectors/free_form.json")).expect("JSON");
    all[block].clone()
}

/// A list, or a list of lists, as a tensor of doubles.
pub(crate) fn tensor(value: &Value) -> Tensor {
    let row = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    match value[0].as_array() {
        Some(first) => {
            let all: Vec<f64> = value.as_array().expect("a list").iter().flat_map(row).collect();
            Tensor::from_slice(&all).view([-1, first.len() as i64])
        }
        None => Tensor::from_slice(&row(value)),
    }
}

/// A table of parameters in double precision.
pub(crate) fn double() -> Params {
    // Small tensors: threads would only wait for each other.
    tch::set_num_threads(1);
    Params::new(Kind::Double, Device::Cpu)
}

pub(crate) fn set(params: &Params, name: &str, value: &Tensor) {
    let _no_grad = tch::no_grad_guard();
    let all = params.all();
    all.get(name).unwrap_or_else(|| panic!("no parameter `{name}`")).shallow_clone().copy_(value);
}

/// The gradients of `loss` by automatic differentiation are those of finite differences of `step`: of one entry of each
/// input, since an error would be in all.
pub(crate) fn assert_gradients(inputs: &[Tensor], step: f64, loss: &dyn Fn() -> Tensor) {
    let gradients = Tensor::run_backward(&[loss()], inputs, false, false);
    let _no_grad = tch::no_grad_guard();
    for (input, gradient) in inputs.iter().zip(&gradients) {
        let entry = input.view([-1]).narrow(0, 0, 1);
        let shifted = |by: f64| {
            let _ = entry.shallow_clone().g_add_scalar_(by);
            let value = loss().double_value(&[]);
            let _ = entry.shallow_clone().g_add_scalar_(-by);
            value
        };
        let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
        assert_close_f64(gradient.reshape([-1]).double_value(&[0]), slope, 1e-6, 1e-6);
    }
}

/// Images of one brightness each, with noise: `u8 [256, 1, 4, 4]`. Their entropy is 5.988 bits a pixel, by sums over
/// the brightness; pixels that know nothing of each other have 7.824.
pub(crate) fn shades() -> Dataset {
    let rng = Generator::seeded(4);
    let options = (Kind::Float, Device::Cpu);
    let x = rng.rand([256, 1, 1, 1], options) * 200.0 + rng.rand([256, 1, 4, 4], options) * 50.0;
    Dataset::from_tensor("shades", x.to_kind(Kind::Uint8)).expect("images")
}

/// A likelihood of [`shades`] by a model that has learned that pixels of an image are alike, and not more than there
/// is to know: in bits per dimension.
#[track_caller]
pub(crate) fn assert_bits_of_shades(bits: f64, most: f64) {
    assert!((5.94..most).contains(&bits) && most < 7.8, "{bits} bits per dimension");
}

/// Trains on `data` with the preset's settings for it.
pub(crate) fn train<M: Buildable>(
    preset: &Preset<M>,
    model: &mut M,
    data: &Dataset,
    steps: u64,
    rows: usize,
) -> Vec<(String, f64)> {
    tch::set_num_threads(1);
    let config = TrainConfig { batch_size: rows, log_every: 10, ..preset.training(&data.spec) };
    let mut trainer = Trainer::new(model, data, config, Budget::Steps(steps), 1).expect("a training");
    let mut losses = Vec::new();
    while let Some(record) = trainer.advance().expect("a step") {
        losses = record.losses.iter().map(|(name, value)| ((*name).to_string(), *value)).collect();
    }
    trainer.finish().expect("an end");
    losses
}

pub(crate) fn context(data: &Dataset) -> BuildContext {
    BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 }
}

/// Of what the model thinks of `x`, in nats.
pub(crate) fn mean_log_likelihood(model: &dyn GenerativeModel, x: &Tensor) -> f64 {
    let density = model.density().expect("a density");
    let log_likelihood = density.log_likelihood(&Batch::of(x), density.kinds()[0], 0).expect("a likelihood");
    log_likelihood.mean(Kind::Double).double_value(&[])
}

/// What makes a density on the moons one: near the entropy, integrating to 1, and that of its own samples, whose mean
/// log-density is the integral of p ln p.
pub(crate) fn assert_density_of_moons(model: &dyn GenerativeModel, gap: f64) {
    let entropy = PointSet::Moons.entropy();
    let found = -mean_log_likelihood(model, &PointSet::Moons.sample(4000, 5)) - entropy;
    assert!((-0.03..gap).contains(&found), "{found} nats above the entropy");
    let (side, radius) = (151, 7.0);
    let axis = Tensor::linspace(-radius, radius, side, (Kind::Float, Device::Cpu));
    let grid = Tensor::stack(&[axis.repeat([side]), axis.repeat_interleave_self_int(side, 0, None)], 1);
    let cell = (2.0 * radius / (side - 1) as f64).powi(2);
    let density = model.density().expect("a density");
    let log_prob = density.log_likelihood(&Batch::of(&grid), LikelihoodKind::Exact, 0).expect("a likelihood");
    let log_prob = log_prob.to_kind(Kind::Double);
    assert_close_f64(log_prob.exp().sum(Kind::Double).double_value(&[]) * cell, 1.0, 0.0, 0.01);
    let samples = model.sample(&SampleRequest::new(3000, 3)).expect("samples");
    let of_samples = density.log_likelihood(&Batch::of(&samples), LikelihoodKind::Exact, 0).expect("a likelihood");
    let error = of_samples.std(true).double_value(&[]) / 3000f64.sqrt();
    let of_density = (log_prob.exp() * &log_prob).nan_to_num(0.0, 0.0, 0.0).sum(Kind::Double) * cell;
    let of_samples = of_samples.mean(Kind::Double).double_value(&[]);
    assert_close_f64(of_samples, of_density.double_value(&[]), 0.0, 4.5 * error + 0.01);
    let latent = model.latent().expect("latents");
    let latents = latent.encode(&samples, 0).expect("latents").expect("latents");
    assert_close(&latent.decode(&latents).expect("points"), &samples, 1e-3, 1e-3);
}
