//! Every flow of points as its users see it: trained a little on the moons, it is a density, and its samples have it.
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

use gen_core::data::{Dataset, PointSet};
use gen_core::model::{BuildContext, GenerativeModel, LikelihoodKind, ModelEntry, SampleRequest, Step};
use gen_core::testing::assert_close_f64;
use gen_core::train::{Budget, Trainer};
use gen_flow::MODELS;
use tch::{Device, Kind, Tensor};

fn moons() -> Dataset {
    Dataset::from_tensor("moons", PointSet::Moons.sample(20_000, 1)).unwrap()
}

/// The models that take points of two coordinates, and after how many steps each is looked at.
fn models() -> Vec<(&'static ModelEntry, u64)> {
    let images = ["glow", "flow++"];
    let slow = ["ffjord", "residual-flow", "iaf", "tarflow"];
    let points = MODELS.iter().filter(|model| !images.contains(&model.name));
    points.map(|model| (model, if slow.contains(&model.name) { 100 } else { 300 })).collect()
}

fn build(model: &ModelEntry, data: &Dataset) -> Box<dyn GenerativeModel> {
    tch::set_num_threads(1);
    let config = model.default_config(&data.spec).unwrap();
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    model.build(&config, &context).unwrap()
}

fn trained(model: &ModelEntry, data: &Dataset, steps: u64) -> Box<dyn GenerativeModel> {
    let mut built = build(model, data);
    let config = model.default_training(&data.spec);
    let mut trainer = Trainer::new(built.as_mut(), data, config, Budget::Steps(steps), 1).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
    built
}

fn log_likelihood(model: &dyn GenerativeModel, x: &Tensor) -> Tensor {
    model.density().unwrap().log_likelihood(x, LikelihoodKind::Exact, 0).unwrap()
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// A grid over a square that holds all of the density of `model`, and the probability of each of its cells.
fn cells(model: &dyn GenerativeModel) -> (Tensor, Tensor) {
    let (side, radius) = (701, 9.0);
    let axis = Tensor::linspace(-radius, radius, side, (Kind::Float, Device::Cpu));
    let grid = Tensor::stack(&[axis.repeat([side]), axis.repeat_interleave_self_int(side, 0, None)], 1);
    let cell = (2.0 * radius / (side - 1) as f64).powi(2);
    let p = log_likelihood(model, &grid).to_kind(Kind::Double).exp() * cell;
    (grid.to_kind(Kind::Double), p)
}

#[test]
fn every_model_is_a_density_and_samples_it() {
    let data = moons();
    for (entry, steps) in models() {
        let model = trained(entry, &data, steps);
        let (grid, p) = cells(model.as_ref());
        assert_close_f64(p.sum(Kind::Double).double_value(&[]), 1.0, 0.0, 0.005);
        let test = PointSet::Moons.sample(10_000, 2);
        let gap = -mean(&log_likelihood(model.as_ref(), &test)) - PointSet::Moons.entropy();
        assert!((-0.02..0.8).contains(&gap), "{}: {gap} nats above the entropy", entry.name);
        // The means of x and x² by samples, and by the density.
        let samples = model.sample(&SampleRequest::new(20_000, 3)).unwrap().to_kind(Kind::Double);
        for power in [1.0, 2.0] {
            let of_samples = samples.pow_tensor_scalar(power).mean_dim(0, false, Kind::Double);
            let of_density =
                (grid.pow_tensor_scalar(power) * p.unsqueeze(1)).sum_dim_intlist(0, false, Kind::Double);
            let difference = (of_samples - of_density).abs().max().double_value(&[]);
            assert!(difference < 0.15, "{}: means of x^{power} differ by {difference}", entry.name);
        }
    }
}

#[test]
fn encode_and_decode_are_each_other_s_inverse_and_codes_are_gaussian() {
    let data = moons();
    let test = PointSet::Moons.sample(2000, 2);
    for (entry, steps) in models() {
        let model = trained(entry, &data, steps);
        let latent = model.latent().unwrap();
        let codes = latent.encode(&test, 0).unwrap().unwrap();
        let back = latent.decode(&codes).unwrap();
        let difference = (back - &test).abs().max().double_value(&[]);
        assert!(difference < 5e-3, "{}: {difference}", entry.name);
        assert!(mean(&codes).abs() < 0.3, "{}: codes of the mean {}", entry.name, mean(&codes));
        assert!((mean(&codes.square()) - 1.0).abs() < 0.6, "{}: codes are no Gaussian", entry.name);
    }
}

#[test]
fn temperature_narrows_the_samples_and_zero_leaves_one() {
    let data = moons();
    for (entry, _) in models() {
        let model = build(entry, &data);
        let spread = |temperature| {
            let request = SampleRequest { temperature: Some(temperature), ..SampleRequest::new(500, 1) };
            model.sample(&request).unwrap().std_dim(0, true, false).mean(Kind::Double).double_value(&[])
        };
        assert!(spread(0.0) < 1e-5 && spread(0.5) < spread(1.0), "{}", entry.name);
        let request = SampleRequest { temperature: Some(-1.0), ..SampleRequest::new(1, 1) };
        assert!(model.sample(&request).is_err(), "{}", entry.name);
    }
}

#[test]
fn what_is_not_finite_far_out_is_found_nowhere() {
    let data = moons();
    let far = Tensor::from_slice(&[1e6f32, -1e6, 1e3, 1e6, -1e2, 0.0]).view([3, 2]);
    for (entry, _) in models() {
        // An adaptive solver has no business there.
        if entry.name == "ffjord" {
            continue;
        }
        let model = trained(entry, &data, 20);
        let log_prob = log_likelihood(model.as_ref(), &far);
        assert!(log_prob.isnan().any().int64_value(&[]) == 0, "{}: {log_prob:?}", entry.name);
    }
}

#[test]
fn points_of_five_coordinates_and_a_batch_of_the_wrong_shape() {
    let z = Tensor::randn([2000, 5], (Kind::Float, Device::Cpu));
    let mixing = Tensor::ones([5, 5], (Kind::Float, Device::Cpu)).triu(0);
    let data = Dataset::from_tensor("gaussian", z.matmul(&mixing) + 10.0).unwrap();
    for (entry, _) in models() {
        let mut model = build(entry, &data);
        let batch = |x: Tensor| gen_core::data::Batch::unlabelled(x);
        let losses = model.train_step(&batch(data.train.x.narrow(0, 0, 64)), &Step::new(0)).unwrap();
        assert!(losses.values().iter().all(|(_, value)| value.is_finite()), "{}", entry.name);
        let samples = model.sample(&SampleRequest::new(7, 0)).unwrap();
        assert_eq!(samples.size(), [7, 5]);
        let error = model.train_step(&batch(samples.narrow(1, 0, 3)), &Step::new(1)).unwrap_err();
        assert!(error.to_string().contains("[5]"), "{}: {error}", entry.name);
    }
}
