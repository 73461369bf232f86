//! The model as its users see it.

use gen_core::data::{Batch, Binarise, DataOptions, Dataset, Values};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, SampleRequest, Step};
use gen_core::registry::{BuildContext, ModelEntry};
use gen_core::rng::{Generator, Purpose, torch_seed};
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_flow::{AffineSteps, ImageConfig, MultiScale, QUICK_FLOW, RealNvp, RealNvpConfig, TabularConfig};
use tch::{Device, Kind, Tensor};

const ENTROPY_OF_MOONS: f64 = 2.3939;

fn moons(n: i64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let angle = Tensor::rand([n], options) * std::f64::consts::PI;
    let upper = Tensor::rand([n], options).lt(0.5);
    let x = angle.cos().where_self(&upper, &(1f64 - angle.cos()));
    let y = angle.sin().where_self(&upper, &(0.5f64 - angle.sin()));
    let noise = Tensor::randn([n, 2], options) * 0.1;
    (Tensor::stack(&[x, y], 1) + noise) * 2.0 + Tensor::from_slice(&[-1f32, -0.2])
}

fn tabular_data() -> Dataset {
    tch::manual_seed(torch_seed(7, Purpose::Data, 0));
    Dataset::from_tensor("moons", moons(20_000)).unwrap()
}

/// Squares of random place and brightness on a dark ground: `u8 [n, 1, 8, 8]`.
fn image_data(n: i64) -> Dataset {
    tch::manual_seed(torch_seed(7, Purpose::Data, 0));
    let index = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    let corner = || Tensor::randint(5, [n, 1], (Kind::Int64, Device::Cpu));
    let inside = |corner: Tensor| index.ge_tensor(&corner).logical_and(&index.lt_tensor(&(corner + 4)));
    let square = inside(corner()).unsqueeze(2).logical_and(&inside(corner()).unsqueeze(1));
    let brightness = Tensor::randint_low(100, 256, [n, 1, 1], (Kind::Int64, Device::Cpu));
    let x = (square.to_kind(Kind::Int64) * brightness).to_kind(Kind::Uint8).unsqueeze(1);
    Dataset::from_tensor("squares", x).unwrap()
}

fn context(data: &Dataset, seed: u64) -> BuildContext {
    BuildContext { data: data.spec.clone(), device: Device::Cpu, seed }
}

fn build(data: &Dataset, seed: u64) -> RealNvp {
    tch::set_num_threads(1);
    QUICK_FLOW.build(QUICK_FLOW.config(&data.spec), &context(data, seed)).unwrap()
}

/// A model for 8 x 8 images that is small enough for tests.
fn build_small(data: &Dataset, seed: u64) -> RealNvp {
    tch::set_num_threads(1);
    let steps = AffineSteps { couplings: 2, width: 8, ..AffineSteps::default() };
    let config = ImageConfig { steps, ..ImageConfig::default() };
    QUICK_FLOW.build(RealNvpConfig::Images(config), &context(data, seed)).unwrap()
}

fn train(model: &mut RealNvp, data: &Dataset, config: TrainConfig, steps: u64) {
    let mut trainer = Trainer::new(model, data, config, Budget::Steps(steps), 1).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
}

fn log_likelihood(model: &RealNvp, x: &Tensor) -> Tensor {
    model.log_likelihood(&Batch::of(x), model.kinds()[0], 0).unwrap()
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

#[test]
fn learns_the_moons_and_stays_a_density() {
    let data = tabular_data();
    let mut model = build(&data, 0);
    train(&mut model, &data, QUICK_FLOW.training(&data.spec), 1000);
    tch::manual_seed(torch_seed(8, Purpose::Data, 0));
    let test = moons(20_000);
    let gap = -mean(&log_likelihood(&model, &test)) - ENTROPY_OF_MOONS;
    assert!((-0.01..0.08).contains(&gap), "{gap} nats above the entropy");

    let (side, radius) = (601, 7.0);
    let axis = Tensor::linspace(-radius, radius, side, (Kind::Float, Device::Cpu));
    let grid = Tensor::stack(&[axis.repeat([side]), axis.repeat_interleave_self_int(side, 0, None)], 1);
    let cell = (2.0 * radius / (side - 1) as f64).powi(2);
    let integral = log_likelihood(&model, &grid).exp().sum(Kind::Double).double_value(&[]) * cell;
    assert_close_f64(integral, 1.0, 0.0, 0.01);
}

#[test]
fn tables_of_more_columns() {
    tch::manual_seed(torch_seed(9, Purpose::Data, 0));
    let z = Tensor::randn([5000, 5], (Kind::Float, Device::Cpu));
    // A correlated Gaussian whose entropy is known: x = z A, ln|det A| = 5 ln 3.
    let mixing =
        (Tensor::ones([5, 5], (Kind::Float, Device::Cpu)).triu(1) + Tensor::eye(5, (Kind::Float, Device::Cpu))) * 3.0;
    let data = Dataset::from_tensor("gaussian", z.matmul(&mixing) + 10.0).unwrap();
    let entropy = 2.5 * (1.0 + (2.0 * std::f64::consts::PI).ln()) + 5.0 * 3f64.ln();
    let mut model = build(&data, 0);
    train(&mut model, &data, QUICK_FLOW.training(&data.spec), 400);
    let gap = -mean(&log_likelihood(&model, &data.train.x)) - entropy;
    assert!((-0.1..0.15).contains(&gap), "{gap} nats above the entropy");
}

#[test]
fn learns_images() {
    let data = image_data(512);
    let mut model = build_small(&data, 0);
    let bits = |model: &RealNvp| {
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        Values::Bytes.bits_per_dim(mean(&log_likelihood(model, &x)), 64)
    };
    let untrained = bits(&model);
    let config = TrainConfig { batch_size: 64, ..QUICK_FLOW.training(&data.spec) };
    train(&mut model, &data, config, 150);
    let trained = bits(&model);
    assert!(trained < 4.5 && trained < untrained - 1.0, "{untrained} to {trained} bits per dimension");

    let samples = model.sample(&SampleRequest::new(600, 0)).unwrap();
    assert_eq!(samples.size(), [600, 1, 8, 8]);
    assert!(samples.abs().max().double_value(&[]) <= 1.0);
    let levels = (samples + 1.0) * 127.5;
    assert_close(&levels.round(), &levels, 0.0, 1e-3);
}

#[test]
fn bytes_and_dequantised_values_have_the_same_bits_per_dimension() {
    let bytes = image_data(64);
    let dequantised = image_data(64).with_options(&DataOptions { dequantise: true, ..Default::default() }).unwrap();
    let (one, other) = (build_small(&bytes, 5), build_small(&dequantised, 5));
    let x = bytes.train.to_batch(&bytes.spec, &Generator::shared()).x;
    let first = log_likelihood(&one, &x);
    // The noise that the model itself adds to bytes when its seed is 0.
    tch::manual_seed(torch_seed(0, Purpose::Evaluate, 0));
    let spread = ((&x + 1.0) * 127.5).round();
    let spread = (&spread + spread.rand_like()) / 128.0 - 1.0;
    let second = log_likelihood(&other, &spread);
    let bits = |values: Values, log: &Tensor| values.bits_per_dim(mean(log), 64);
    assert_close_f64(bits(Values::Bytes, &first), bits(Values::Dequantised, &second), 0.0, 1e-4);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let data = image_data(128);
    let run = |seed: u64| {
        let mut model = build_small(&data, seed);
        let config = TrainConfig { batch_size: 32, ..QUICK_FLOW.training(&data.spec) };
        train(&mut model, &data, config, 6);
        model.sample(&SampleRequest::new(4, 2)).unwrap()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn samples_and_densities_depend_on_the_weights_alone() {
    for data in [tabular_data(), image_data(128)] {
        let build = if data.spec.shape.is_image() { build_small } else { build };
        let mut trained = build(&data, 1);
        let config = TrainConfig { batch_size: 32, ..QUICK_FLOW.training(&data.spec) };
        train(&mut trained, &data, config, 5);
        let other = build(&data, 99);
        other.weights().assign(&trained.weights()).unwrap();
        let request = SampleRequest::new(5, 11);
        assert_eq!(trained.sample(&request).unwrap(), other.sample(&request).unwrap());
        let x = data.train.narrow(0, 7).to_batch(&data.spec, &Generator::shared()).x;
        assert_eq!(log_likelihood(&trained, &x), log_likelihood(&other, &x));
    }
}

#[test]
fn a_resumed_run_ends_where_an_unbroken_one_does() {
    for data in [tabular_data(), image_data(128)] {
        let build = if data.spec.shape.is_image() { build_small } else { build };
        let config = TrainConfig { batch_size: 32, log_every: 5, ema_decay: 0.9, ..QUICK_FLOW.training(&data.spec) };
        let budget = Budget::Steps(10);
        let mut unbroken = build(&data, 1);
        let mut trainer = Trainer::new(&mut unbroken, &data, config.clone(), budget, 1).unwrap();
        trainer.advance().unwrap();
        let (half_way, progress) = (trainer.state().snapshot(), trainer.progress());
        trainer.advance().unwrap();
        let expected = trainer.state().snapshot();

        let mut resumed = build(&data, 2);
        let mut trainer = Trainer::new(&mut resumed, &data, config, budget, 1).unwrap();
        trainer.restore(&half_way, progress).unwrap();
        trainer.advance().unwrap();
        for (name, tensor) in trainer.state().iter() {
            assert_eq!(Some(tensor), expected.get(name), "`{name}`");
        }
    }
}

#[test]
fn sampling_does_not_initialise() {
    let data = image_data(64);
    let mut model = build_small(&data, 0);
    let before = model.weights().snapshot();
    let same = |model: &RealNvp| model.weights().iter().all(|(name, t)| before.get(name) == Some(t));
    let _ = model.sample(&SampleRequest::new(3, 0)).unwrap();
    let _ = log_likelihood(&model, &data.train.to_batch(&data.spec, &Generator::shared()).x);
    assert!(same(&model) && !model.flow().bijection().is_initialised());
    let _ = model.train_step(&data.train.to_batch(&data.spec, &Generator::shared()), &Step::new(0)).unwrap();
    assert!(model.flow().bijection().is_initialised());
}

#[test]
fn temperature_scales_the_latents() {
    let data = tabular_data();
    let model = build(&data, 0);
    let draw = |temperature: f64| {
        let request = SampleRequest::new(500, 1).with("temperature", temperature);
        model.sample(&request).unwrap()
    };
    // An untrained model is the Gaussian of the data's mean and scale.
    let (cold, warm) = (draw(0.0), draw(1.0));
    assert_eq!(cold.std_dim(0, false, false).max().double_value(&[]), 0.0);
    assert_close(&(draw(0.5) - &cold), &((warm - &cold) * 0.5), 1e-5, 1e-5);
}

#[test]
fn likelihoods_do_not_depend_on_how_rows_are_grouped() {
    let data = tabular_data();
    let model = build(&data, 0);
    let all = log_likelihood(&model, &data.train.x);
    assert_eq!(all.size(), [20_000]);
    assert_close(&log_likelihood(&model, &data.train.x.narrow(0, 15_000, 3)), &all.narrow(0, 15_000, 3), 1e-5, 1e-5);
    assert_eq!(log_likelihood(&model, &data.train.x.narrow(0, 0, 0)).size(), [0]);
    assert_eq!(model.sample(&SampleRequest::new(0, 0)).unwrap().size(), [0, 2]);
}

#[test]
fn latents_and_data_are_each_others_images() {
    let data = tabular_data();
    let mut model = build(&data, 0);
    train(&mut model, &data, TrainConfig { batch_size: 64, ..TrainConfig::default() }, 30);
    let latent = model.latent().unwrap();
    let latents = latent.prior(12_000, 5).unwrap();
    let x = latent.decode(&latents).unwrap();
    assert_close(&x, &model.sample(&SampleRequest::new(12_000, 5)).unwrap(), 1e-5, 1e-5);
    assert_close(&latent.encode(&x, 0).unwrap().unwrap(), &latents, 1e-3, 1e-3);
    assert!(latent.decode(&latents.narrow(1, 0, 1)).is_err() && latent.encode(&x.narrow(1, 0, 1), 0).is_err());
}

#[test]
fn bytes_come_back_from_their_latents() {
    let data = image_data(64);
    let mut model = build_small(&data, 0);
    train(&mut model, &data, TrainConfig { batch_size: 16, ..TrainConfig::default() }, 10);
    let latent = model.latent().unwrap();
    let bytes = |x: &Tensor| gen_core::data::signed_to_bytes(x);
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    let latents = latent.encode(&x, 1).unwrap().unwrap();
    assert_eq!((latents.size(), latent.latent_shape()), (vec![64, 64], vec![64]));
    // In f32 a value at the edge of its cell may come back on the other side.
    let other = bytes(&latent.decode(&latents).unwrap()).ne_tensor(&bytes(&x)).sum(Kind::Int64);
    assert!(other.int64_value(&[]) < 5, "{other:?} of 4096");

    // What decodes is continuous, and rounds to what samples are.
    let latents = latent.prior(9, 2).unwrap();
    let decoded = latent.decode(&latents).unwrap();
    assert_eq!(bytes(&decoded), bytes(&model.sample(&SampleRequest::new(9, 2)).unwrap()));
    let levels = (decoded + 1.0) * 127.5;
    let between = (&levels - levels.round()).abs().gt(0.01).to_kind(Kind::Double).mean(Kind::Double);
    assert!(between.double_value(&[]) > 0.1, "{between:?} of the values are between two grey levels");
}

#[test]
fn a_trajectory_ends_at_the_samples() {
    let points = tabular_data();
    let images = image_data(64);
    for (data, mut model) in [(&points, build(&points, 0)), (&images, build_small(&images, 0))] {
        train(&mut model, data, TrainConfig { batch_size: 16, ..TrainConfig::default() }, 10);
        let request = SampleRequest::new(5, 3).with("temperature", 0.7);
        let frames = model.trajectory(&request, 4).unwrap().unwrap().frames;
        assert_eq!(frames.len(), 4);
        let last = frames[3].label.rsplit('/').next().unwrap();
        assert_eq!((frames[0].label.clone(), &frames[3].label), (format!("0/{last}"), &format!("{last}/{last}")));
        for pair in frames.windows(2) {
            assert_eq!(pair[0].state.size(), data.spec.shape.batch(5));
            assert_ne!(pair[0].state, pair[1].state);
        }
        let (last, samples) = (&frames[3].state, model.sample(&request).unwrap());
        // Samples of bytes are rounded.
        let rounding = if data.spec.shape.is_image() { 1.01 / 255.0 } else { 1e-5 };
        assert_close(last, &samples, 0.0, rounding);
        assert!(model.trajectory(&request, 1).is_err());
        assert!(model.trajectory(&request.with("steps", 3), 4).is_err());
    }
}

#[test]
fn impossible_configurations_are_refused() {
    let (points, images) = (tabular_data(), image_data(8));
    let error = |config: RealNvpConfig, data: &Dataset| {
        QUICK_FLOW.build(config, &context(data, 0)).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let image = |config: ImageConfig| RealNvpConfig::Images(config);
    let default = ImageConfig::default();
    let multi_scale = |multi_scale: MultiScale| ImageConfig { multi_scale, ..ImageConfig::default() };
    let steps = |steps: AffineSteps| ImageConfig { steps, ..ImageConfig::default() };
    let odd = Tensor::zeros([4, 1, 27, 28], (Kind::Uint8, Device::Cpu));
    let odd = Dataset::from_tensor("odd", odd).unwrap();
    let line = Dataset::from_tensor("line", Tensor::randn([9, 1], (Kind::Float, Device::Cpu))).unwrap();
    let binary = image_data(8).with_options(&DataOptions { binarise: Binarise::Static, ..Default::default() }).unwrap();
    let cases = [
        (error(image(ImageConfig::default()), &odd), "27x28"),
        (error(image(ImageConfig::default()), &binary), "binary"),
        (error(image(ImageConfig::default()), &points), "for images"),
        (error(RealNvpConfig::Tabular(TabularConfig::default()), &images), "for tabular data"),
        (error(RealNvpConfig::Tabular(TabularConfig::default()), &line), "at least 2"),
        (error(image(multi_scale(MultiScale { alpha: 0.5, ..default.multi_scale })), &images), "alpha"),
        (error(image(steps(AffineSteps { couplings: 0, ..default.steps })), &images), "couplings"),
        (error(image(multi_scale(MultiScale { scales: 9, ..default.multi_scale })), &images), "scales"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "`{message}` should say `{expected}`");
    }

    let model = build(&points, 0);
    let refused = |request: SampleRequest| model.sample(&request).is_err();
    assert!(refused(SampleRequest::new(1, 0).with("steps", 4)));
    assert!(refused(SampleRequest::new(1, 0).with("sampler", "ddim")));
    assert!(refused(SampleRequest::new(1, 0).with("temperature", f64::NAN)));
    assert!(refused(SampleRequest::new(1, 0).with("temperature", -1.0)));
    let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    assert!(model.log_likelihood(&Batch::of(&x), LikelihoodKind::Exact, 0).is_err());
    assert!(model.log_likelihood(&Batch::of(&points.train.x), LikelihoodKind::LowerBound, 0).is_err());
    assert!(build(&points, 0).train_step(&Batch::of(&x), &Step::new(0)).is_err());
}

#[test]
fn configurations_are_tables_without_surprises() {
    let entry = ModelEntry::of(&QUICK_FLOW);
    for data in [tabular_data(), image_data(8)] {
        let table = entry.default_config(&data.spec).unwrap();
        let read: RealNvpConfig = gen_core::config::from_table(&table).unwrap();
        assert_eq!(read, QUICK_FLOW.config(&data.spec));
        let mut wrong = table.clone();
        wrong.insert("width_of_nothing".to_owned(), 3.into());
        assert!(entry.build(&wrong, &context(&data, 0)).is_err());
    }
}
