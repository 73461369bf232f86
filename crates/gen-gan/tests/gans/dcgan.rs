//! The model as the trainer, the program and a user meet it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gen_core::data::{Batch, Dataset};
use gen_core::model::{GenerativeModel, SampleRequest, Step};
use gen_core::optim::Schedule;
use gen_core::params::{NamedTensors, Params};
use gen_core::registry::BuildContext;
use gen_core::rng::{Generator, Purpose, torch_seed};
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, Progress, TrainConfig, Trainer};
use gen_core::{Error, Result};
use gen_gan::networks::{ConvGenerator, Mode, Pyramid};
use gen_gan::penalty::{Penalty, R1};
use gen_gan::{Dcgan, DcganConfig, MODELS, QUICK_GAN};
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
    DcganConfig { latent_dim: 8, generator_width: 8, discriminator_width: 8, ..QUICK_GAN.config(&data.spec) }
}

fn build(data: &Dataset, config: DcganConfig, seed: u64) -> Result<Dcgan> {
    QUICK_GAN.build(config, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed })
}

fn training(data: &Dataset) -> TrainConfig {
    TrainConfig { batch_size: 16, log_every: 4, ..QUICK_GAN.training(&data.spec) }
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

/// The losses that a step should report, by the definitions and in double precision.
struct Expected {
    loss_d: f64,
    d_real: f64,
    d_fake: f64,
    r1: f64,
}

/// `fake` is the generator's output for the step's first noise; `discriminator` is the model's network, and
/// `squared_norms` gives ‖∇D‖² of each row.
fn expected(
    real: &Tensor,
    fake: &Tensor,
    gamma: f64,
    discriminator: &dyn Fn(&Tensor) -> Tensor,
    squared_norms: &dyn Fn(&Tensor) -> Tensor,
) -> Expected {
    let mean = |x: Tensor| x.mean(Kind::Double).double_value(&[]);
    let (real_logits, fake_logits) = (discriminator(real), discriminator(fake));
    let surprise = |p: Tensor| mean(-p.log());
    let (p_real, p_fake) = (real_logits.sigmoid(), fake_logits.sigmoid());
    Expected {
        loss_d: surprise(p_real.shallow_clone()) + surprise(1.0 - &p_fake),
        d_real: mean(p_real),
        d_fake: mean(p_fake),
        r1: gamma / 2.0 * mean(squared_norms(real)),
    }
}

#[track_caller]
fn assert_reported(losses: &[(&'static str, f64)], expected: &Expected) {
    let value = |name: &str| losses.iter().find(|(known, _)| *known == name).unwrap().1;
    assert_close_f64(value("loss_d"), expected.loss_d, 1e-5, 0.0);
    assert_close_f64(value("d_real"), expected.d_real, 1e-5, 0.0);
    assert_close_f64(value("d_fake"), expected.d_fake, 1e-5, 0.0);
    assert_close_f64(value("r1"), expected.r1, 2e-5, 0.0);
}

fn double(x: &Tensor) -> Tensor {
    x.detach().to_kind(Kind::Double)
}

/// Moves the model's weights away from their small start, so that every term of a step counts.
fn shake(model: &Dcgan, by: f64) {
    let rng = Generator::seeded(11);
    let _no_grad = tch::no_grad_guard();
    let (weights, state) = (model.weights(), model.training_state());
    let generator = weights.iter().filter(|(name, _)| !name.starts_with("standardise."));
    let discriminator = state.iter().filter(|(name, _)| name.starts_with("discriminator."));
    for (_, tensor) in generator.chain(discriminator) {
        let _ = tensor.shallow_clone().g_add_(&(rng.randn_like(tensor) * by));
    }
}

/// The first step from here draws its noise from this generator.
fn first_step() -> Step {
    Step { rng: Generator::seeded(5), ..Step::new(0) }
}

fn r1(gamma: f64) -> Penalty {
    Penalty::R1(R1 { gamma })
}

fn first_noise(rows: i64) -> Tensor {
    first_step().rng.randn([rows, 8], (Kind::Float, Device::Cpu))
}

/// The networks see standardised points, and so does the penalty. Its gradients are found by differences.
#[test]
fn a_step_on_points_reports_what_the_definitions_give() {
    let _turn = turn();
    let (data, _) = ring(50);
    let mut model = build(&data, DcganConfig { penalty: r1(0.7), ..small(&data) }, 0).unwrap();
    shake(&model, 0.3);
    let (weights, state) = (model.weights().snapshot(), model.training_state().snapshot());
    let mlp = |x: &Tensor, of: &dyn Fn(String) -> Tensor| {
        (0..4).fold(double(x), |x, i| {
            let x = if i == 0 { x } else { x.maximum(&(&x * 0.2)) };
            x.matmul(&of(format!("{i}.weight")).tr()) + of(format!("{i}.bias"))
        })
    };
    let discriminator =
        |x: &Tensor| mlp(x, &|name| double(state.get(&format!("discriminator.{name}")).unwrap())).squeeze_dim(1);
    let row = |values: &[f64]| Tensor::from_slice(values);
    let real = (double(&data.train.x) - row(&data.spec.mean)) / row(&data.spec.std);
    let fake = mlp(&first_noise(50), &|name| double(weights.get(&name).unwrap()));
    let squared_norms = |x: &Tensor| {
        let along = |i: i64| {
            let by = Tensor::eye(2, (Kind::Double, Device::Cpu)).get(i) * 1e-6;
            ((discriminator(&(x + &by)) - discriminator(&(x - by))) / 2e-6).square()
        };
        along(0) + along(1)
    };
    let expected = expected(&real, &fake, 0.7, &discriminator, &squared_norms);
    let batch = Batch::of(&data.train.x);
    let losses = model.train_step(&batch, &first_step()).unwrap().values();
    assert_reported(&losses, &expected);

    // Norms before clipping, which the first moments of a fresh optimizer hold.
    let value = |name: &str| losses.iter().find(|(known, _)| *known == name).unwrap().1;
    let state = model.training_state();
    for (player, name) in [("discriminator", "grad_norm_d"), ("generator", "grad_norm_g")] {
        let moments = state.iter().filter(|(name, _)| name.starts_with(&format!("{player}_optimizer.m.")));
        let squares = moments.map(|(_, m)| double(m).square().sum(Kind::Double).double_value(&[]));
        // 1 - β₁ of the gradient.
        assert_close_f64(value(name), squares.sum::<f64>().sqrt() / 0.5, 1e-5, 0.0);
    }
}

/// The discriminator of images without batch normalisation, by libtorch in double precision.
fn image_logits(state: &NamedTensors, x: &Tensor) -> Tensor {
    let of = |name: &str| state.get(&format!("discriminator.{name}")).map(double);
    let mut h = x.shallow_clone();
    for i in 0.. {
        let [weight, bias] = ["weight", "bias"].map(|part| of(&format!("stages.{i}.down.{part}")));
        let Some(weight) = weight else { break };
        let down = h.conv2d(&weight, bias, [2, 2], [1, 1], [1, 1], 1);
        h = down.maximum(&(&down * 0.2));
    }
    let [weight, bias] = ["head.weight", "head.bias"].map(|name| of(name).unwrap());
    (h.flatten(1, -1).matmul(&weight.tr()) + bias).squeeze_dim(1)
}

/// ‖∇D‖² of each row.
fn image_squared_norms(state: &NamedTensors, x: &Tensor) -> Tensor {
    let x = x.detach().set_requires_grad(true);
    let logits = image_logits(state, &x).sum(Kind::Double);
    let gradient = Tensor::run_backward(&[logits], &[&x], false, false).remove(0);
    gradient.square().flatten(1, -1).sum_dim_intlist(1, false, Kind::Double)
}

/// Convolutions are differentiated twice, with a batch that fills vectors and leaves a rest: the penalty has the value
/// that it is defined to have at every step of a training, and holds the gradients down.
#[test]
fn a_penalty_on_images_is_trained() {
    let _turn = turn();
    let data = discs(43, [1, 16, 16]);
    let x = double(&data.train.to_batch(&data.spec, &Generator::shared()).x);
    let norm_after = |penalty: Penalty, gamma: f64| {
        let config = DcganConfig { discriminator_batch_norm: false, penalty, ..small(&data) };
        let mut model = build(&data, config, 0).unwrap();
        shake(&model, 0.1);
        for index in 0..30 {
            let state = model.training_state().snapshot();
            let step = Step { rng: Generator::seeded(index), ..Step::new(index as u64) };
            let batch = data.train.to_batch(&data.spec, &Generator::shared());
            let losses = model.train_step(&batch, &step).unwrap().values();
            let r1 = losses.iter().find(|(name, _)| *name == "r1");
            assert_eq!(r1.is_some(), gamma > 0.0);
            if let Some((_, r1)) = r1 {
                let squared_norms = image_squared_norms(&state, &x).mean(Kind::Double).double_value(&[]);
                assert_close_f64(*r1, gamma / 2.0 * squared_norms, 2e-5, 0.0);
            }
        }
        image_squared_norms(&model.training_state(), &x).mean(Kind::Double).double_value(&[])
    };
    let (free, held) = (norm_after(Penalty::None, 0.0), norm_after(r1(20.0), 20.0));
    assert!(held < free / 4.0, "{held} with a penalty, {free} without");
}

#[test]
fn a_step_on_images_reports_what_the_definitions_give() {
    let _turn = turn();
    for rows in [5, 43] {
        let data = discs(rows, [1, 16, 16]);
        let config = DcganConfig { discriminator_batch_norm: false, penalty: r1(3.0), ..small(&data) };
        let mut model = build(&data, config, 0).unwrap();
        shake(&model, 0.1);
        let state = model.training_state().snapshot();
        let params = Params::new(Kind::Float, Device::Cpu);
        let generator = ConvGenerator::new(params.root(), 8, 8, Pyramid::new([1, 16, 16]).unwrap());
        params.all().assign(&model.weights()).unwrap();
        // By the statistics of the batch, as in training, though the running ones are others.
        let fake = tch::no_grad(|| generator.forward(&first_noise(rows), Mode::Frozen));
        let batch = data.train.to_batch(&data.spec, &Generator::shared());
        let real = double(&batch.x);
        let expected =
            expected(&real, &double(&fake), 3.0, &|x| image_logits(&state, x), &|x| image_squared_norms(&state, x));
        assert_reported(&model.train_step(&batch, &first_step()).unwrap().values(), &expected);
    }
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
fn latents_are_the_noise_of_samples() {
    let _turn = turn();
    for data in [discs(32, [1, 8, 8]), ring(32).0] {
        let model = build(&data, small(&data), 0).unwrap();
        let latent = model.latent().unwrap();
        let latents = latent.prior(7, 3).unwrap();
        assert_eq!((latents.size(), latent.latent_shape()), (vec![7, 8], vec![8]));
        let decoded = latent.decode(&latents).unwrap();
        assert_eq!(decoded, model.sample(&SampleRequest::new(7, 3)).unwrap());
        assert!(!decoded.requires_grad());
        assert!(latent.encode(&decoded, 0).unwrap().is_none());
        let message = message(latent.decode(&latents.narrow(1, 0, 5)));
        assert_eq!(message, "latents should be [n] of [8], found [7, 5]");
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
    let mut model = build(&data, QUICK_GAN.config(&data.spec), 0).unwrap();
    // The share of samples within 2.5 standard deviations of a centre, and the least crowded centre's share.
    let fit = |model: &Dcgan| {
        let (distance, which) = Tensor::cdist(&samples(model, 1000), &double(&centres), 2.0, None).min_dim(1, false);
        let near = distance.lt(1.25);
        let counts = which.masked_select(&near).bincount(None::<&Tensor>, 8);
        (near.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]), counts.min().int64_value(&[]) as f64 / 1e3)
    };
    let (near, fewest) = fit(&model);
    assert!(near < 0.3 && fewest < 0.02, "untrained: {near} near a centre, {fewest} near the emptiest");
    let training = TrainConfig { ema_decay: 0.98, schedule: Schedule::Constant, ..QUICK_GAN.training(&data.spec) };
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
        let mut config = QUICK_GAN.config(&data.spec);
        change(&mut config);
        message(build(data, config, 0))
    };
    assert_eq!(refused(&images, |c| c.latent_dim = 0), "`latent_dim` must be at least 1, found 0");
    assert_eq!(refused(&images, |c| c.penalty = r1(0.0)), "`penalty.gamma` must be a positive number, found 0");
    assert!(refused(&images, |c| c.penalty = r1(1.0)).ends_with("set discriminator_batch_norm=false"));
    assert!(refused(&points, |c| c.discriminator_batch_norm = true).ends_with("discriminator_batch_norm=false"));
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
    let unknown = "unknown sampling option `steps`: there are temperature";
    assert_eq!(model.sample(&request.clone().with("steps", 5)).unwrap_err().to_string(), unknown);
    let negative = "`temperature` must be a number from 0 up, found -1";
    assert_eq!(ask(request.clone().with("temperature", -1.0)), negative);
    let cold = model.sample(&request.clone().with("temperature", 0.0)).unwrap();
    model.set_sampling_options(&toml::toml! { temperature = 0.0 }).unwrap();
    assert_eq!(model.sample(&request).unwrap(), cold);
    assert_eq!(model.sampling_options(&request).unwrap(), toml::toml! { temperature = 0.0 });
    assert_eq!(cold.get(0), cold.get(1));

    let wrong = Batch::of(&Tensor::zeros([4, 3, 8, 8], (Kind::Float, Device::Cpu)));
    assert!(message(model.train_step(&wrong, &Step::new(0))).contains("found a tensor of [4, 3, 8, 8]"));
}
