//! TarFlow's blocks by their definition, and the model as its users see it.

mod block;

use std::f64::consts::{LN_2, TAU};

use gen_core::data::{Batch, Condition, DataOptions, Dataset, Split, Values};
use gen_core::model::{Conditioning, Density, GenerativeModel, LikelihoodKind, SampleRequest, Step};
use gen_core::registry::BuildContext;
use gen_core::rng::{Generator, Purpose, stream, torch_seed};
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_flow::tarflow::Noise;
use gen_flow::{TARFLOW, TarFlow, TarFlowConfig};
use tch::{Device, Kind, Tensor};

/// Squares of random place on a dark ground, the dark ones of class 0 and the bright ones of class 1: `u8 [n, 1, 8,
/// 8]`.
fn image_data(n: i64) -> Dataset {
    tch::manual_seed(torch_seed(7, Purpose::Data, 0));
    let index = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    let corner = || Tensor::randint(5, [n, 1], (Kind::Int64, Device::Cpu));
    let inside = |corner: Tensor| index.ge_tensor(&corner).logical_and(&index.lt_tensor(&(corner + 4)));
    let square = inside(corner()).unsqueeze(2).logical_and(&inside(corner()).unsqueeze(1));
    let labels = Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(2);
    let brightness = (&labels * 150 + 100).view([n, 1, 1]);
    let x = (square.to_kind(Kind::Int64) * brightness).to_kind(Kind::Uint8).unsqueeze(1);
    let split = Split::labelled(x, labels);
    Dataset::from_splits("squares", split, None, None, vec!["dark".to_owned(), "bright".to_owned()]).unwrap()
}

/// Rows on a noisy parabola.
fn tabular_data(n: i64) -> Dataset {
    tch::manual_seed(torch_seed(8, Purpose::Data, 0));
    let x = Tensor::randn([n], (Kind::Float, Device::Cpu));
    let y = x.square() + Tensor::randn([n], (Kind::Float, Device::Cpu)) * 0.2;
    Dataset::from_tensor("parabola", Tensor::stack(&[x, y], 1)).unwrap()
}

fn context(data: &Dataset, seed: u64) -> BuildContext {
    BuildContext { data: data.spec.clone(), device: Device::Cpu, seed }
}

/// A configuration for 8 x 8 images or points that is small enough for tests.
fn small(data: &Dataset) -> TarFlowConfig {
    let config = TARFLOW.config(&data.spec);
    let patch = if data.spec.shape.is_image() { 2 } else { 1 };
    TarFlowConfig { patch, layers: vec![1, 1], width: 16, heads: 2, ..config }
}

/// [`small`], for likelihoods of bytes.
fn uniform(data: &Dataset) -> TarFlowConfig {
    TarFlowConfig { noise: Noise::Uniform, ..small(data) }
}

fn build(config: TarFlowConfig, data: &Dataset, seed: u64) -> TarFlow {
    tch::set_num_threads(1);
    let denoise = config.noise == Noise::Gaussian;
    let mut model = TARFLOW.build(config, &context(data, seed)).unwrap();
    let options = SampleRequest::new(0, 0).with("guidance", 0.0).with("denoise", denoise).options;
    model.set_sampling_options(&options).unwrap();
    model
}

/// A model whose weights are all random, as if it had been trained.
fn random(config: TarFlowConfig, data: &Dataset) -> TarFlow {
    let model = build(config, data, 3);
    let rng = Generator::seeded(4);
    for (_, tensor) in model.weights().iter() {
        let _ = tch::no_grad(|| tensor.shallow_clone().g_add_(&(rng.randn_like(tensor) * 0.1)));
    }
    model
}

fn train(model: &mut TarFlow, data: &Dataset, steps: u64) -> Vec<f64> {
    let config = TrainConfig {
        batch_size: 32,
        log_every: 10,
        warmup_steps: 10,
        validation_rows: 0,
        ..TARFLOW.training(&data.spec)
    };
    let mut trainer = Trainer::new(model, data, config, Budget::Steps(steps), 1).unwrap();
    let mut losses = Vec::new();
    while let Some(record) = trainer.advance().unwrap() {
        losses.push(record.losses[0].1);
    }
    trainer.finish().unwrap();
    losses
}

fn batch(data: &Dataset) -> Batch {
    data.train.to_batch(&data.spec, &Generator::seeded(0))
}

fn log_likelihood(model: &TarFlow, x: &Tensor) -> Tensor {
    model.log_likelihood(&Batch::of(x), model.kinds()[0], 0).unwrap()
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

#[test]
fn training_lowers_the_loss() {
    let (images, points) = (image_data(256), tabular_data(2000));
    let unlabelled = TarFlowConfig { condition: Conditioning::NONE, ..uniform(&images) };
    for (config, data) in
        [(small(&images), &images), (uniform(&images), &images), (unlabelled, &images), (small(&points), &points)]
    {
        let mut model = build(config, data, 0);
        let losses = train(&mut model, data, 60);
        assert!(losses[losses.len() - 1] < losses[0] - 0.3, "{losses:?}");
        let samples = model.sample(&SampleRequest::new(300, 0)).unwrap();
        assert_eq!(samples.size(), data.spec.shape.batch(300));
        assert_eq!(samples.isfinite().all().int64_value(&[]), 1);
        if data.spec.shape.is_image() {
            assert!(samples.abs().max().double_value(&[]) <= 1.0);
        }
    }
}

#[test]
fn tabular_data_stay_a_density() {
    let data = tabular_data(2000);
    let mut model = build(small(&data), &data, 0);
    train(&mut model, &data, 150);
    // The entropy of N(0, 1) and of N(0, 0.2²).
    let entropy = 1.0 + TAU.ln() + 0.2f64.ln();
    let gap = -mean(&log_likelihood(&model, &data.train.x)) - entropy;
    assert!((-0.1..0.6).contains(&gap), "{gap} nats above the entropy");
    let (side, low, high) = (301, -8.0, 16.0);
    let axis = Tensor::linspace(low, high, side, (Kind::Float, Device::Cpu));
    let grid = Tensor::stack(&[axis.repeat([side]), axis.repeat_interleave_self_int(side, 0, None)], 1);
    let cell = ((high - low) / (side - 1) as f64).powi(2);
    let integral = log_likelihood(&model, &grid).exp().sum(Kind::Double).double_value(&[]) * cell;
    assert_close_f64(integral, 1.0, 0.0, 0.02);
}

/// An untrained flow is the identity, so that what it sees of bytes has the density N(0, I).
#[test]
fn bits_of_an_untrained_model_are_those_of_a_normal_distribution() {
    let data = image_data(64);
    let model = build(uniform(&data), &data, 0);
    let x = batch(&data).x;
    let noise = stream(0, Purpose::Evaluate, 0).rand_like(&x);
    let seen = (((&x + 1.0) * 127.5).round() + noise) / 128.0 - 1.0;
    let nats = mean(&(seen.square() * 0.5)) + 0.5 * TAU.ln();
    let bits = Values::Bytes.bits_per_dim(mean(&log_likelihood(&model, &x)), 64);
    // A density on [-1, 1) in place of a probability of one of 256 grey levels: log2(128) bits more.
    assert_close_f64(bits, nats / LN_2 + 7.0, 1e-5, 0.0);

    // Data that are dequantised already have the same bits.
    let dequantised = image_data(64).with_options(&DataOptions { dequantise: true, ..Default::default() }).unwrap();
    let other = build(uniform(&dequantised), &dequantised, 0);
    let other = Values::Dequantised.bits_per_dim(mean(&log_likelihood(&other, &seen)), 64);
    assert_close_f64(other, bits, 1e-5, 0.0);
}

#[test]
fn the_loss_of_uniform_noise_is_the_likelihood() {
    let data = image_data(64);
    let config = TarFlowConfig { condition: Conditioning::NONE, ..uniform(&data) };
    let mut model = random(config, &data);
    let step = || Step { rng: stream(0, Purpose::Evaluate, 0), ..Step::new(0) };
    let bits = Values::Bytes.bits_per_dim(mean(&log_likelihood(&model, &batch(&data).x)), 64);
    let losses = model.train_step(&batch(&data), &step()).unwrap().values();
    assert_eq!(losses[0].0, "bits_per_dim");
    assert_close_f64(losses[0].1, bits, 1e-5, 0.0);
}

/// By Tweedie's formula the mean of x given y = x + σ ε, y ~ N(0, I), is (1 - σ²) y.
#[test]
fn denoising_follows_the_score() {
    let data = image_data(8);
    let draw = |denoise: bool| {
        let config = TarFlowConfig { sigma: 0.4, ..small(&data) };
        build(config, &data, 0).sample(&SampleRequest::new(70, 1).with("denoise", denoise)).unwrap()
    };
    let (noisy, clean) = (draw(false), draw(true));
    let inside = noisy.abs().lt(1.0);
    assert_close(&clean.masked_select(&inside), &(noisy.masked_select(&inside) * 0.84), 1e-5, 1e-5);
    assert!(clean.abs().max().double_value(&[]) <= 1.0);
}

#[test]
fn gaussian_noise_leaves_no_likelihood_of_bytes() {
    let data = image_data(32);
    let model = random(small(&data), &data);
    let x = batch(&data).x;
    assert!(model.density().is_none());
    assert!(model.log_likelihood(&Batch::of(&x), LikelihoodKind::Dequantised, 0).is_err());
    let loss = model.validation_loss(&Batch::of(&x), 0).unwrap().unwrap();
    assert_eq!((loss.objective.as_str(), loss.rows.size()), ("nll-noisy", vec![32]));
    let likely = random(uniform(&data), &data);
    let loss = likely.validation_loss(&Batch::of(&x), 0).unwrap().unwrap();
    assert_eq!(loss.objective, "nll-dequantised");
    assert_close(&loss.rows, &-log_likelihood(&likely, &x), 1e-6, 1e-4);
}

#[test]
fn samples_are_of_all_classes_and_a_likelihood_is_of_all_together() {
    let data = image_data(256);
    let mut model = build(TarFlowConfig { width: 32, ..uniform(&data) }, &data, 0);
    let losses = train(&mut model, &data, 250);
    let samples = model.sample(&SampleRequest::new(200, 0)).unwrap();
    // A quarter of an image is a square: on average -0.8 where it is dark, -0.5 where it is bright.
    let brightness = samples.mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
    let bright = mean(&brightness.gt(-0.65).to_kind(Kind::Double));
    assert!((0.3..0.7).contains(&bright), "{bright} of the samples are bright");
    // The loss is of images whose class is given: not knowing it costs at most 1 bit for all 64 values.
    let bits = Values::Bytes.bits_per_dim(mean(&log_likelihood(&model, &batch(&data).x)), 64);
    assert_close_f64(bits, losses[losses.len() - 1], 0.0, 0.1);
}

/// ln p(x) = ln Σ p(x | class) / classes, where the loss of one image with a class is -ln p(x | class), in bits.
#[test]
fn a_likelihood_is_the_mean_over_the_classes() {
    let data = image_data(3).with_options(&DataOptions { dequantise: true, ..Default::default() }).unwrap();
    let config = TarFlowConfig { label_dropout: 0.0, ..uniform(&data) };
    let x = batch(&data).x;
    let model = random(config.clone(), &data);
    let nats = |row: i64, class: i64| {
        let one = Batch { x: x.narrow(0, row, 1), condition: Condition::of_labels(Tensor::from_slice(&[class])) };
        let losses = random(config.clone(), &data).train_step(&one, &Step::new(0)).unwrap().values();
        // A density on [-1, 1) has log2(128) bits more than a probability of one of 256 grey levels.
        (7.0 - losses[0].1) * 64.0 * LN_2
    };
    let expected: Vec<f64> = (0..3)
        .map(|row| {
            let [dark, bright] = [0, 1].map(|class| nats(row, class));
            assert!((dark - bright).abs() > 0.1, "{dark} {bright}: the class should matter");
            dark.max(bright) + ((-(dark - bright).abs()).exp() / 2.0 + 0.5).ln()
        })
        .collect();
    assert_close(&log_likelihood(&model, &x), &Tensor::from_slice(&expected), 1e-5, 1e-3);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let data = image_data(128);
    let run = |seed: u64| {
        let mut model = build(small(&data), &data, seed);
        train(&mut model, &data, 6);
        model.sample(&SampleRequest::new(4, 2)).unwrap()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_resumed_run_ends_where_an_unbroken_one_does() {
    let data = image_data(128);
    let config = TrainConfig {
        batch_size: 16,
        log_every: 4,
        ema_decay: 0.9,
        validation_rows: 0,
        ..TARFLOW.training(&data.spec)
    };
    let budget = Budget::Steps(8);
    let mut unbroken = build(small(&data), &data, 1);
    let mut trainer = Trainer::new(&mut unbroken, &data, config.clone(), budget, 1).unwrap();
    trainer.advance().unwrap();
    let (half_way, progress) = (trainer.state().snapshot(), trainer.progress());
    trainer.advance().unwrap();
    let expected = trainer.state().snapshot();

    let mut resumed = build(small(&data), &data, 2);
    let mut trainer = Trainer::new(&mut resumed, &data, config, budget, 1).unwrap();
    trainer.restore(&half_way, progress).unwrap();
    trainer.advance().unwrap();
    for (name, tensor) in trainer.state().iter() {
        assert_eq!(Some(tensor), expected.get(name), "`{name}`");
    }
}

#[test]
fn latents_and_images_are_each_others_images() {
    let data = image_data(32);
    let model = random(TarFlowConfig { condition: Conditioning::NONE, ..uniform(&data) }, &data);
    let latent = model.latent().unwrap();
    let bytes = |x: &Tensor| gen_core::data::signed_to_bytes(x);
    let x = batch(&data).x;
    let latents = latent.encode(&x, 1).unwrap().unwrap();
    assert_eq!((latents.size(), latent.latent_shape()), (vec![32, 64], vec![64]));
    // In f32 a value at the edge of its cell may come back on the other side.
    let other = bytes(&latent.decode(&latents).unwrap()).ne_tensor(&bytes(&x)).sum(Kind::Int64);
    assert!(other.int64_value(&[]) < 5, "{other:?} of 2048");
    let latents = latent.prior(9, 2).unwrap();
    let samples = model.sample(&SampleRequest::new(9, 2)).unwrap();
    assert_eq!(bytes(&latent.decode(&latents).unwrap()), bytes(&samples));
    assert!(latent.decode(&latents.narrow(1, 0, 3)).is_err());
    // A latent says nothing of a class.
    assert!(random(uniform(&data), &data).latent().is_none());
}

#[test]
fn a_trajectory_ends_at_the_samples() {
    let (images, points) = (image_data(32), tabular_data(100));
    for (config, data) in [(small(&images), &images), (uniform(&images), &images), (small(&points), &points)] {
        let states = 3 + usize::from(config.noise == Noise::Gaussian);
        let model = random(config, data);
        let request = SampleRequest::new(5, 3).with("temperature", 0.7).with("guidance", 0.5);
        let frames = model.trajectory(&request, 9).unwrap().unwrap().frames;
        assert_eq!(frames.len(), states);
        assert_eq!((frames[0].label.as_str(), frames[1].label.split('/').count()), (&*format!("0/{}", states - 1), 2));
        for pair in frames.windows(2) {
            assert_eq!(pair[0].state.size(), data.spec.shape.batch(5));
            assert_ne!(pair[0].state, pair[1].state);
        }
        // Samples of bytes are rounded.
        let last = &frames[states - 1].state;
        assert_close(last, &model.sample(&request).unwrap(), 1e-5, 1.01 / 255.0);
        assert!(model.trajectory(&request, 1).is_err());
        assert!(model.trajectory(&request.with("steps", 3), 4).is_err());
    }
}

#[test]
fn nothing_is_asked_for_and_given() {
    let data = image_data(8);
    let model = random(TarFlowConfig { condition: Conditioning::NONE, ..uniform(&data) }, &data);
    let (none, request) = (batch(&data).x.narrow(0, 0, 0), SampleRequest::new(0, 0));
    assert_eq!(model.sample(&request).unwrap().size(), [0, 1, 8, 8]);
    assert_eq!(log_likelihood(&model, &none).size(), [0]);
    let latents = model.latent().unwrap().encode(&none, 0).unwrap().unwrap();
    assert_eq!(latents.size(), [0, 64]);
    assert_eq!(model.latent().unwrap().decode(&latents).unwrap().size(), [0, 1, 8, 8]);
    assert_eq!(model.trajectory(&request, 2).unwrap().unwrap().frames[1].state.size(), [0, 1, 8, 8]);
}

#[test]
fn the_cost_of_a_sample_counts_evaluations() {
    let data = image_data(8);
    let cost = |config: TarFlowConfig, guidance: f64| {
        let request = SampleRequest::new(1, 0).with("guidance", guidance);
        build(config, &data, 0).sampling(&request).unwrap().evaluations
    };
    // 16 patches of 2 x 2, of which the first needs no evaluation; and one to take the noise off.
    assert_eq!(cost(small(&data), 0.0), 16);
    assert_eq!(cost(small(&data), 1.0), 31);
    assert_eq!(cost(uniform(&data), 0.0), 15);
}

#[test]
fn impossible_configurations_are_refused() {
    let (images, points) = (image_data(8), tabular_data(9));
    let error = |config: TarFlowConfig, data: &Dataset| {
        TARFLOW.build(config, &context(data, 0)).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let of_images = small(&images);
    let of_points = small(&points);
    let cases = [
        (TarFlowConfig { patch: 3, ..of_images.clone() }, &images, "do not divide into several patches"),
        (TarFlowConfig { patch: 8, ..of_images.clone() }, &images, "do not divide into several patches"),
        (TarFlowConfig { noise: Noise::None, ..of_images.clone() }, &images, "`noise` must be"),
        (TarFlowConfig { layers: vec![], ..of_images.clone() }, &images, "`layers`"),
        (TarFlowConfig { layers: vec![1, 0], ..of_images.clone() }, &images, "`layers`"),
        (TarFlowConfig { heads: 3, ..of_images.clone() }, &images, "multiple of `heads`"),
        (TarFlowConfig { sigma: 0.0, ..of_images.clone() }, &images, "`sigma`"),
        (TarFlowConfig { label_dropout: 1.5, ..of_images.clone() }, &images, "`label_dropout`"),
        (
            TarFlowConfig { condition: Conditioning { labels: true, ..Conditioning::NONE }, ..of_points.clone() },
            &points,
            "has no classes",
        ),
        (TarFlowConfig { patch: 2, ..of_points.clone() }, &points, "has no patches"),
        (TarFlowConfig { noise: Noise::Gaussian, ..of_points }, &points, "takes no noise"),
    ];
    for (config, data, part) in cases {
        let found = error(config, data);
        assert!(found.contains(part), "{found:?} should have {part:?}");
    }
    for (config, option, part) in [
        (uniform(&images), toml::toml! { denoise = true }, "`denoise`"),
        (of_images.clone(), toml::toml! { guidance = -1.0 }, "`guidance`"),
        (of_images.clone(), toml::toml! { guidance_temperature = 0.0 }, "`guidance_temperature`"),
        (of_images.clone(), toml::toml! { steps = 3 }, "unknown sampling option `steps`"),
    ] {
        let found = build(config, &images, 0).set_sampling_options(&option).unwrap_err().to_string();
        assert!(found.contains(part), "{found:?} should have {part:?}");
    }
    let mut model = build(of_images, &images, 0);
    let labels = |labels| Batch { condition: Condition { labels, ..Condition::NONE }, ..batch(&images) };
    for (batch, part) in [
        (labels(None), "needs labels for each row"),
        (labels(Some(Tensor::from_slice(&[0i64, 1]))), "8 rows need a label for each of them, found [2]"),
        (labels(Some(Tensor::from_slice(&[2i64; 8]))), "is from 0 to 1, found 2 to 2"),
    ] {
        let found = model.train_step(&batch, &Step::new(0)).unwrap_err().to_string();
        assert!(found.contains(part), "{found:?} should have {part:?}");
    }
}
