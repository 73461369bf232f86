//! What the trainer, the program and a user rely on.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use gen_core::data::{Batch, Dataset};
use gen_core::model::{BuildContext, Buildable, GenerativeModel, SampleRequest, Step};
use gen_core::optim::Schedule;
use gen_core::params::Params;
use gen_core::rng::{Generator, Purpose, torch_seed};
use gen_core::testing::assert_close;
use gen_core::train::{Budget, Progress, TrainConfig, Trainer};
use gen_core::{Error, Result};
use gen_gan::networks::{ConvGenerator, Mode, Pyramid};
use gen_gan::{Dcgan, DcganConfig, MODELS};
use tch::{Device, Kind, Tensor};

/// libtorch has one random generator a process: tests that draw from it take turns. Networks as small as theirs
/// lose more to a second thread than they gain.
fn turn() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    tch::set_num_threads(1);
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bright discs on black, `u8 [n, channels, height, width]`.
fn discs(n: i64, [channels, height, width]: [i64; 3]) -> Dataset {
    tch::manual_seed(torch_seed(0, Purpose::Data, 0));
    let line = |length: i64| Tensor::linspace(-1.0, 1.0, length, (Kind::Float, Device::Cpu));
    let centre = || Tensor::rand([n, 1, 1, 1], (Kind::Float, Device::Cpu)) - 0.5;
    let (x, y) = (line(width) - centre(), line(height).unsqueeze(1) - centre());
    let disc = (x.square() + y.square()).lt(0.2).to_kind(Kind::Uint8) * 230;
    let images = disc.expand([n, channels, height, width], false).contiguous();
    Dataset::from_tensor("discs", images).unwrap()
}

/// Eight narrow Gaussians on a ring far from the origin, and the ring's centres.
fn ring(n: i64) -> (Dataset, Tensor) {
    tch::manual_seed(torch_seed(0, Purpose::Data, 0));
    let angle = Tensor::arange(8, (Kind::Float, Device::Cpu)) * (std::f64::consts::PI / 4.0);
    let centres = Tensor::stack(&[angle.cos() * 4.0 + 10.0, angle.sin() * 4.0 - 3.0], 1);
    let which = Tensor::randint(8, [n], (Kind::Int64, Device::Cpu));
    let noise = Tensor::randn([n, 2], (Kind::Float, Device::Cpu)) * 0.5;
    (Dataset::from_tensor("ring", centres.index_select(0, &which) + noise).unwrap(), centres)
}

/// The default configuration at a size that tests can afford.
fn small(data: &Dataset) -> DcganConfig {
    DcganConfig { latent: 8, generator_width: 8, discriminator_width: 8, ..Dcgan::default_config(&data.spec) }
}

fn build(data: &Dataset, config: DcganConfig, seed: u64) -> Result<Dcgan> {
    Dcgan::build(config, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed })
}

fn training(data: &Dataset) -> TrainConfig {
    TrainConfig { batch_size: 16, log_every: 4, ..Dcgan::default_training(&data.spec) }
}

fn train(model: &mut Dcgan, data: &Dataset, config: TrainConfig, steps: u64) {
    let mut trainer = Trainer::new(model, data, config, Budget::Steps(steps), 0).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
}

fn samples(model: &Dcgan, n: usize) -> Tensor {
    model.sample(&SampleRequest::new(n, 1)).unwrap()
}

#[test]
fn every_kind_of_data_is_trained_and_sampled() {
    let _turn = turn();
    let images = [[1, 28, 28], [3, 32, 32], [1, 8, 8], [2, 12, 24]];
    for data in images.into_iter().map(|shape| discs(32, shape)).chain([ring(32).0]) {
        let mut model = build(&data, small(&data), 0).unwrap();
        train(&mut model, &data, training(&data), 2);
        let x = samples(&model, 5);
        assert_eq!(x.size(), data.spec.shape.batch(5));
        assert!(bool::try_from(x.isfinite().all()).unwrap());
        assert!(!data.spec.shape.is_image() || x.abs().max().double_value(&[]) <= 1.0);
        assert_eq!(samples(&model, 0).size(), data.spec.shape.batch(0));
    }
}

#[test]
fn the_default_configurations_build() {
    let _turn = turn();
    for data in [discs(4, [1, 28, 28]), discs(4, [3, 32, 32]), discs(4, [1, 8, 8]), ring(4).0] {
        for entry in MODELS {
            let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
            let model = entry.build(&entry.default_config(&data.spec).unwrap(), &context).unwrap();
            let card = model.card();
            assert_eq!((card.name, card.family), (entry.name, entry.family));
            let trainable: usize =
                model.weights().iter().filter(|(_, t)| t.requires_grad()).map(|(_, t)| t.numel()).sum();
            assert_eq!(card.sampling_parameters, trainable);
            assert!(card.parameters > card.sampling_parameters);
        }
    }
}

#[test]
fn a_step_reports_the_state_of_the_game() {
    let _turn = turn();
    let data = discs(16, [1, 8, 8]);
    let mut model = build(&data, small(&data), 0).unwrap();
    let losses = model
        .train_step(&data.train.to_batch(&data.spec, &Generator::shared()), &Step::new(0))
        .unwrap()
        .values();
    let value = |name: &str| losses.iter().find(|(known, _)| *known == name).unwrap().1;
    // Fresh networks with weights near zero know nothing: D is near 2 ln 2, G near ln 2.
    assert!((value("loss_d") - 4f64.ln()).abs() < 0.2, "{losses:?}");
    assert!((value("loss_g") - 2f64.ln()).abs() < 0.4, "{losses:?}");
    assert!((0.3..0.7).contains(&value("d_real")) && (0.3..0.7).contains(&value("d_fake")), "{losses:?}");
    assert!(value("grad_norm_d") > 0.0 && value("grad_norm_g") > 0.0, "{losses:?}");
}

#[test]
fn samples_follow_from_seed_and_weights_alone() {
    let _turn = turn();
    let data = discs(64, [1, 8, 8]);
    let mut trained = build(&data, small(&data), 0).unwrap();
    train(&mut trained, &data, training(&data), 10);
    let x = samples(&trained, 6);
    assert_eq!(samples(&trained, 6), x);
    assert_ne!(trained.sample(&SampleRequest::new(6, 2)).unwrap(), x);

    let other = build(&data, small(&data), 7).unwrap();
    assert_ne!(samples(&other, 6), x);
    other.weights().assign(&trained.weights()).unwrap();
    assert_eq!(samples(&other, 6), x);
}

#[test]
fn a_sample_does_not_depend_on_how_many_are_drawn_at_once() {
    let _turn = turn();
    let data = discs(4, [1, 8, 8]);
    let model = build(&data, small(&data), 0).unwrap();
    let x = samples(&model, 1003);
    assert_eq!(x.size()[0], 1003);
    let generator = Params::new(Kind::Float, Device::Cpu);
    let network = ConvGenerator::new(generator.root(), 8, 8, Pyramid::new([1, 8, 8]).unwrap());
    generator.all().assign(&model.weights()).unwrap();
    tch::manual_seed(torch_seed(1, Purpose::Sample, 0));
    let whole = network.forward(&Tensor::randn([1003, 8], (Kind::Float, Device::Cpu)), Mode::Sample);
    assert_close(&x, &whole, 0.0, 1e-5);
}

#[test]
fn codes_are_the_noise_of_samples() {
    let _turn = turn();
    for data in [discs(32, [1, 8, 8]), ring(32).0] {
        let model = build(&data, small(&data), 0).unwrap();
        let latent = model.latent().unwrap();
        let codes = latent.prior(7, 3).unwrap();
        assert_eq!((codes.size(), latent.code_shape()), (vec![7, 8], vec![8]));
        let decoded = latent.decode(&codes).unwrap();
        assert_eq!(decoded, model.sample(&SampleRequest::new(7, 3)).unwrap());
        assert!(!decoded.requires_grad());
        assert!(latent.encode(&decoded, 0).unwrap().is_none());
        let message = message(latent.decode(&codes.narrow(1, 0, 5)));
        assert_eq!(message, "codes should be [n] of [8], found [7, 5]");
        assert!(model.trajectory(&SampleRequest::new(2, 0), 5).unwrap().is_none());
    }
}

#[test]
fn the_same_seed_trains_the_same_model() {
    let _turn = turn();
    let data = discs(64, [1, 8, 8]);
    let run = |seed| {
        let mut model = build(&data, small(&data), seed).unwrap();
        train(&mut model, &data, training(&data), 5);
        samples(&model, 4)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let _turn = turn();
    for data in [discs(64, [1, 8, 8]), ring(64).0] {
        let config = TrainConfig { schedule: Schedule::Constant, ..training(&data) };
        let budget = Budget::Steps(16);
        let mut whole = build(&data, small(&data), 0).unwrap();
        let mut whole = Trainer::new(&mut whole, &data, config.clone(), budget, 0).unwrap();
        let mut saved = None;
        while whole.advance().unwrap().is_some() {
            if whole.progress().step == 8 {
                saved = Some((whole.state().snapshot(), whole.progress()));
            }
        }
        let (state, progress): (_, Progress) = saved.unwrap();
        // Another seed for the initial weights: all must come from the saved state.
        let mut resumed = build(&data, small(&data), 5).unwrap();
        let mut resumed = Trainer::new(&mut resumed, &data, config, budget, 0).unwrap();
        resumed.restore(&state, progress).unwrap();
        while resumed.advance().unwrap().is_some() {}
        for ((name, a), (_, b)) in whole.state().iter().zip(resumed.state().iter()) {
            assert_eq!(a, b, "{name}");
        }
    }
}

#[test]
fn points_move_to_the_data() {
    let _turn = turn();
    let (data, centres) = ring(4000);
    let mut model = build(&data, Dcgan::default_config(&data.spec), 0).unwrap();
    // The share of samples within 2.5 standard deviations of a centre, and the least crowded centre's share.
    let fit = |model: &Dcgan| {
        let (distance, which) = Tensor::cdist(&samples(model, 1000), &centres, 2.0, None).min_dim(1, false);
        let near = distance.lt(1.25);
        let counts = which.masked_select(&near).bincount(None::<&Tensor>, 8);
        (
            near.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]),
            counts.min().int64_value(&[]) as f64 / 1e3,
        )
    };
    let (near, fewest) = fit(&model);
    assert!(near < 0.3 && fewest < 0.02, "untrained: {near} near a centre, {fewest} near the emptiest");
    let training =
        TrainConfig { ema_decay: 0.98, schedule: Schedule::Constant, ..Dcgan::default_training(&data.spec) };
    train(&mut model, &data, training, 800);
    let (near, fewest) = fit(&model);
    assert!(near > 0.7 && fewest > 0.02, "trained: {near} near a centre, {fewest} near the emptiest");
}

#[test]
fn averaged_weights_and_averaged_statistics_belong_together() {
    let _turn = turn();
    let data = discs(256, [1, 8, 8]);
    let mut model = build(&data, small(&data), 0).unwrap();
    train(&mut model, &data, TrainConfig { batch_size: 64, ema_decay: 0.95, ..training(&data) }, 150);
    let x = samples(&model, 500);

    // The same weights with statistics measured on them.
    let params = Params::new(Kind::Float, Device::Cpu);
    let network = ConvGenerator::new(params.root(), 8, 8, Pyramid::new([1, 8, 8]).unwrap());
    params.all().assign(&model.weights()).unwrap();
    let _no_grad = tch::no_grad_guard();
    for _ in 0..60 {
        let _ = network.forward(&Tensor::randn([500, 8], (Kind::Float, Device::Cpu)), Mode::Train);
    }
    model.weights().assign(&params.all()).unwrap();
    let difference = (samples(&model, 500) - x).abs().mean(Kind::Float).double_value(&[]);
    assert!(difference < 0.01, "{difference}");
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Err(Error::Invalid(message)) => message,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn impossible_configurations_are_explained() {
    let _turn = turn();
    let (images, points) = (discs(4, [1, 8, 8]), ring(4).0);
    let refused = |data: &Dataset, change: fn(&mut DcganConfig)| {
        let mut config = Dcgan::default_config(&data.spec);
        change(&mut config);
        message(build(data, config, 0))
    };
    assert_eq!(refused(&images, |c| c.latent = 0), "`latent` must be at least 1, found 0");
    assert_eq!(refused(&images, |c| c.r1_gamma = -1.0), "`r1_gamma` must be at least 0, found -1");
    assert!(refused(&images, |c| c.r1_gamma = 1.0).ends_with("set discriminator_batch_norm=false"));
    assert!(
        refused(&points, |c| c.discriminator_batch_norm = true).ends_with("discriminator_batch_norm=false")
    );
    let odd = discs(4, [3, 30, 20]);
    assert_eq!(
        message(build(&odd, small(&odd), 0)),
        "images of 30x20 cannot be halved down to 4 to 7 pixels: pad or resize them, to 32x32 for example"
    );
}

#[test]
fn requests_that_cannot_be_honoured_are_refused() {
    let _turn = turn();
    let data = discs(4, [1, 8, 8]);
    let mut model = build(&data, small(&data), 0).unwrap();
    let request = SampleRequest::new(2, 0);
    let ask = |request: SampleRequest| message(model.sample(&request));
    assert!(ask(SampleRequest { steps: Some(5), ..request.clone() }).contains("one pass"));
    assert!(ask(SampleRequest { sampler: Some("ddim".to_owned()), ..request.clone() }).contains("one pass"));
    assert_eq!(
        ask(SampleRequest { temperature: Some(-1.0), ..request.clone() }),
        "the temperature must be at least 0, found -1"
    );
    let cold = model.sample(&SampleRequest { temperature: Some(0.0), ..request }).unwrap();
    assert_eq!(cold.get(0), cold.get(1));

    let wrong = Batch::unlabelled(Tensor::zeros([4, 3, 8, 8], (Kind::Float, Device::Cpu)));
    assert!(message(model.train_step(&wrong, &Step::new(0))).contains("found a batch of [4, 3, 8, 8]"));
}
