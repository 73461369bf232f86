//! The models as their users meet them: built, trained, sampled and asked for likelihoods through gen-core's traits.

mod likelihoods;

use std::sync::{Mutex, MutexGuard, PoisonError};

use gen_core::data::{Batch, Binarise, DataOptions, Dataset, Shape, Values};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, SampleRequest, Step};
use gen_core::params::NamedTensors;
use gen_core::registry::BuildContext;
use gen_core::rng::Generator;
use gen_core::testing::assert_close;
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_vae::{AE, Ae, FlowPrior, Likelihood, MODELS, NetworkKind, PriorConfig, QUICK_VAE, Vae, VaeConfig};
use tch::{Device, Kind, Tensor};

/// libtorch has one generator for the whole process: tests that depend on its numbers take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `u8 [n, channels, height, width]`, a bright block on a dark ground.
fn images(n: i64, channels: i64, height: i64, width: i64) -> Dataset {
    tch::manual_seed(3);
    let x = Tensor::randint_low(0, 40, [n, channels, height, width], (Kind::Uint8, Device::Cpu));
    let _ = x.narrow(2, height / 4, (height + 1) / 2).g_add_scalar_(150);
    Dataset::from_tensor("blocks", x).unwrap()
}

/// Points of a correlated Gaussian far from the origin, with scales far from 1.
fn points(n: i64) -> Dataset {
    tch::manual_seed(4);
    let noise = Tensor::randn([n, 2], (Kind::Float, Device::Cpu));
    let (a, b) = (noise.narrow(1, 0, 1), noise.narrow(1, 1, 1));
    Dataset::from_tensor("points", Tensor::cat(&[&a * 3.0 + 10.0, &a * 0.1 + b * 0.2 - 2.0], 1)).unwrap()
}

fn with(data: Dataset, binarise: Binarise, dequantise: bool) -> Dataset {
    data.with_options(&DataOptions { binarise, dequantise, ..Default::default() }).unwrap()
}

fn flow_prior(layers: usize) -> PriorConfig {
    PriorConfig::Flow(FlowPrior { layers })
}

fn context(data: &Dataset, seed: u64) -> BuildContext {
    BuildContext { data: data.spec.clone(), device: Device::Cpu, seed }
}

fn small(data: &Dataset) -> VaeConfig {
    let widths = if data.spec.shape.is_image() { vec![4, 6] } else { vec![16] };
    VaeConfig { latent_dim: 3, widths, prior: flow_prior(2), ..QUICK_VAE.config(&data.spec) }
}

fn vae(data: &Dataset) -> Vae {
    QUICK_VAE.build(small(data), &context(data, 0)).unwrap()
}

fn settings() -> TrainConfig {
    TrainConfig { batch_size: 16, ema_decay: 0.9, warmup_steps: 2, log_every: 1, ..TrainConfig::default() }
}

fn finite(x: &Tensor) -> bool {
    bool::try_from(x.isfinite().all()).unwrap()
}

fn every_kind_of_data() -> Vec<Dataset> {
    vec![
        images(40, 1, 28, 28),
        images(40, 3, 32, 32),
        images(40, 1, 8, 8),
        images(40, 2, 7, 10),
        with(images(40, 1, 8, 8), Binarise::Dynamic, false),
        with(images(40, 1, 8, 8), Binarise::Static, false),
        with(images(40, 1, 8, 8), Binarise::None, true),
        points(200),
    ]
}

#[test]
fn every_model_trains_and_samples_on_every_kind_of_data() {
    let _turn = alone();
    for data in every_kind_of_data() {
        for entry in MODELS {
            let table = entry.default_config(&data.spec).unwrap();
            let mut model = entry.build(&table, &context(&data, 0)).unwrap();
            let before = model.weights().snapshot();
            let mut trainer = Trainer::new(&mut *model, &data, settings(), Budget::Steps(2), 0).unwrap();
            while let Some(record) = trainer.advance().unwrap() {
                assert!(record.losses.iter().any(|(name, _)| *name == "grad_norm"));
            }
            trainer.finish().unwrap();
            for ((name, weight), (_, old)) in model.weights().iter().zip(before.iter()) {
                let of_data = name.starts_with("standardise.");
                assert_eq!(weight == old, of_data, "{}: `{name}` was not trained", entry.name);
            }

            let x = model.sample(&SampleRequest::new(5, 0)).unwrap();
            assert_eq!(x.size(), data.spec.shape.batch(5), "{} on {}", entry.name, data.spec.name);
            assert!(finite(&x));
            if data.spec.shape.is_image() {
                assert!(x.abs().max().double_value(&[]) <= 1.0);
            }
            assert_eq!(model.sample(&SampleRequest::new(0, 0)).unwrap().size(), data.spec.shape.batch(0));
            assert_eq!(model.sampling(&SampleRequest::new(5, 0)).unwrap().evaluations, 1);
        }
    }
}

#[test]
fn latents_lead_to_samples_and_back_to_reconstructions() {
    let _turn = alone();
    for data in [images(40, 1, 8, 8), points(200)] {
        let mut model = QUICK_VAE.build(small(&data), &context(&data, 0)).unwrap();
        model.set_sampling_options(&toml::toml! { noise = false }).unwrap();
        let mut trainer = Trainer::new(&mut model, &data, settings(), Budget::Steps(5), 0).unwrap();
        while trainer.advance().unwrap().is_some() {}
        trainer.finish().unwrap();
        let latent = model.latent().unwrap();
        let latents = latent.prior(6, 1).unwrap();
        assert_eq!((latents.size(), latent.latent_shape()), (vec![6, 3], vec![3]));
        assert_eq!(latent.decode(&latents).unwrap(), model.sample(&SampleRequest::new(6, 1)).unwrap());

        // The learned prior leads back to the mean of q(z | x).
        let x = data.train.narrow(0, 9).to_batch(&data.spec, &Generator::seeded(0)).x;
        let there = latent.encode(&x, 0).unwrap().unwrap();
        let mean = tch::no_grad(|| model.encode(&x)).unwrap().mean;
        assert_close(&latent.decode(&there).unwrap(), &tch::no_grad(|| model.decode(&mean)), 1e-4, 1e-4);
        assert!(!there.allclose(&mean, 1e-3, 1e-3, false), "a trained prior is not the identity");
        assert!(!there.requires_grad());
        let wrong = latent.decode(&latents.narrow(1, 0, 2)).unwrap_err().to_string();
        assert_eq!(wrong, "latents should be [n] of [3], found [6, 2]");
    }
}

#[test]
fn an_autoencoder_decodes_what_it_encodes() {
    let _turn = alone();
    let data = points(200);
    let model = AE.build(AE.config(&data.spec), &context(&data, 0)).unwrap();
    let latent = model.latent().unwrap();
    let latents = latent.prior(5, 2).unwrap();
    assert_eq!(latent.decode(&latents).unwrap(), model.sample(&SampleRequest::new(5, 2)).unwrap());
    let x = data.train.narrow(0, 9).to_batch(&data.spec, &Generator::seeded(0)).x;
    let there = latent.encode(&x, 0).unwrap().unwrap();
    assert_eq!(there, tch::no_grad(|| model.encode(&x)).unwrap());
    assert!(model.trajectory(&SampleRequest::new(2, 0), 5).unwrap().is_none());
}

#[test]
fn samples_follow_from_weights_and_seed() {
    let _turn = alone();
    for entry in MODELS {
        let data = images(40, 1, 8, 8);
        let table = entry.default_config(&data.spec).unwrap();
        let mut trained = entry.build(&table, &context(&data, 0)).unwrap();
        let mut trainer = Trainer::new(&mut *trained, &data, settings(), Budget::Steps(3), 0).unwrap();
        while trainer.advance().unwrap().is_some() {}

        let request = SampleRequest::new(4, 9);
        let expected = trained.sample(&request).unwrap();
        let _ = Tensor::randn([10], (Kind::Float, Device::Cpu));
        assert_eq!(trained.sample(&request).unwrap(), expected);
        assert_ne!(trained.sample(&SampleRequest::new(4, 10)).unwrap(), expected);

        let fresh = entry.build(&table, &context(&data, 77)).unwrap();
        assert_ne!(fresh.sample(&request).unwrap(), expected);
        fresh.weights().assign(&trained.weights().snapshot()).unwrap();
        assert_eq!(fresh.sample(&request).unwrap(), expected);
        let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
        assert_eq!(nats(&*fresh, &x), nats(&*trained, &x));
    }
}

fn nats(model: &dyn GenerativeModel, x: &Tensor) -> Option<Tensor> {
    model.density().map(|density| density.log_likelihood(&Batch::of(x), LikelihoodKind::LowerBound, 0).unwrap())
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let _turn = alone();
    for entry in MODELS {
        let data = with(images(40, 1, 8, 8), Binarise::Dynamic, false);
        let table = entry.default_config(&data.spec).unwrap();
        let build = |seed| entry.build(&table, &context(&data, seed)).unwrap();
        let budget = Budget::Steps(6);

        let mut whole = build(0);
        let mut trainer = Trainer::new(&mut *whole, &data, settings(), budget, 5).unwrap();
        let mut saved: Option<(NamedTensors, _)> = None;
        while let Some(record) = trainer.advance().unwrap() {
            if record.progress.step == 3 {
                saved = Some((trainer.state().snapshot(), record.progress));
            }
        }
        let expected = trainer.state().snapshot();

        let mut resumed = build(1);
        let mut trainer = Trainer::new(&mut *resumed, &data, settings(), budget, 5).unwrap();
        let (state, progress) = saved.unwrap();
        trainer.restore(&state, progress).unwrap();
        while trainer.advance().unwrap().is_some() {}
        for ((name, ours), (_, theirs)) in trainer.state().iter().zip(expected.iter()) {
            assert_eq!(ours, theirs, "{}: `{name}` differs", entry.name);
        }
    }
}

/// A Gaussian cloud has a known entropy, which is the loss that no model beats.
#[test]
fn a_short_training_comes_near_the_entropy() {
    let _turn = alone();
    let data = points(4000);
    let mut model = QUICK_VAE.build(QUICK_VAE.config(&data.spec), &context(&data, 0)).unwrap();
    let settings = TrainConfig { log_every: 50, ..QUICK_VAE.training(&data.spec) };
    let mut trainer = Trainer::new(&mut model, &data, settings, Budget::Steps(400), 0).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
    let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
    let nll = -model
        .log_likelihood(&Batch::of(&x), LikelihoodKind::Importance(64), 0)
        .unwrap()
        .mean(Kind::Double)
        .double_value(&[]);
    // Of the rows themselves: no Gaussian gives them more than the one with their mean and covariance.
    let covariance = data.train.x.to_kind(Kind::Double).tr().cov(1, None::<&Tensor>, None::<&Tensor>);
    let best = (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + 0.5 * covariance.slogdet().1.double_value(&[]);
    assert!(nll - best < 0.05 && nll - best > -0.01, "{nll} against {best}");

    let samples = model.sample(&SampleRequest::new(4000, 0)).unwrap().to_kind(Kind::Double);
    let mean = samples.mean_dim(0, false, Kind::Double);
    let std = Tensor::from_slice(&data.spec.std);
    // Four standard errors of 4,000 samples, and as much again for the training.
    let error = 8.0 / 4000f64.sqrt();
    assert_close(&((mean - Tensor::from_slice(&data.spec.mean)) / &std), &std.zeros_like(), 0.0, error);
    let units = std.unsqueeze(1) * &std;
    let found = samples.tr().cov(1, None::<&Tensor>, None::<&Tensor>) / &units;
    assert_close(&found, &(covariance / &units), 0.0, error * 2f64.sqrt());
}

#[test]
fn an_autoencoder_reconstructs_and_has_no_density() {
    let _turn = alone();
    let data = images(60, 1, 8, 8);
    let mut model = AE.build(AE.config(&data.spec), &context(&data, 0)).unwrap();
    let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
    let error = |model: &Ae| {
        let _no_grad = tch::no_grad_guard();
        let back = model.decode(&model.encode(&x).unwrap());
        (back - &x).square().mean(Kind::Double).double_value(&[])
    };
    let before = error(&model);
    for step in 0..60 {
        let _ = model.train_step(&Batch::of(&x), &Step::new(step)).unwrap();
    }
    assert!(error(&model) < 0.05 * before, "{} after {before}", error(&model));
    assert!(model.density().is_none());
    assert_eq!(model.card().family, "baseline");
}

#[test]
fn temperature_scales_the_latents() {
    let _turn = alone();
    let data = points(100);
    let mut model = QUICK_VAE.build(small(&data), &context(&data, 0)).unwrap();
    model.set_sampling_options(&toml::toml! { noise = false }).unwrap();
    train(&mut model, &data, 5);
    let request = SampleRequest::new(50, 0);
    let sample = |temperature: f64| model.sample(&request.clone().with("temperature", temperature)).unwrap();
    let latent = model.latent().unwrap();
    let latents = latent.prior(50, 0).unwrap();
    assert_eq!(model.sample(&request).unwrap(), latent.decode(&latents).unwrap());
    for temperature in [0.0, 0.5, 1.0, 1.7] {
        let expected = latent.decode(&(&latents * temperature)).unwrap();
        assert_close(&sample(temperature), &expected, 1e-5, 1e-5);
    }
}

fn train(model: &mut Vae, data: &Dataset, steps: u64) {
    let mut trainer = Trainer::new(model, data, settings(), Budget::Steps(steps), 0).unwrap();
    while trainer.advance().unwrap().is_some() {}
    trainer.finish().unwrap();
}

fn moment(x: &Tensor, power: i32) -> f64 {
    x.to_kind(Kind::Double).pow_tensor_scalar(f64::from(power)).mean(Kind::Double).double_value(&[])
}

/// A draw from p(x | z) is its centre and noise of the distribution that the likelihood names, with the learned scale
/// of each value or of all together.
#[test]
fn sample_noise_is_that_of_the_likelihood() {
    let _turn = alone();
    let sample = |config: &VaeConfig, data: &Dataset, noise: bool, n| {
        let model = QUICK_VAE.build(config.clone(), &context(data, 0)).unwrap();
        (model.sample(&SampleRequest::new(n, 0).with("noise", noise)).unwrap(), model.weights().snapshot())
    };
    // The same seed draws the same latents: the difference is the noise of the values.
    let data = points(100);
    let config = VaeConfig { predict_scale: false, ..small(&data) };
    let (noisy, weights) = sample(&config, &data, true, 4000);
    let noise = (noisy - sample(&config, &data, false, 4000).0) / Tensor::from_slice(&data.spec.std);
    let noise = noise / weights.get("log_scale").unwrap().exp();
    // 8,000 numbers of N(0, 1): the standard errors of their moments are √(1, 2, 96) / √8000.
    let error = 8000f64.sqrt().recip();
    assert!(moment(&noise, 1).abs() < 4.0 * error);
    assert!((moment(&noise, 2) - 1.0).abs() < 4.0 * 2f64.sqrt() * error);
    assert!((moment(&noise, 4) - 3.0).abs() < 4.0 * 96f64.sqrt() * error);

    // Of the logistic distribution, away from the ends of the range where samples are clamped: its quartiles are ± ln
    // 3.
    let data = images(20, 1, 8, 8);
    let config = VaeConfig { likelihood: Likelihood::DiscretisedLogistic, ..small(&data) };
    let (noisy, weights) = sample(&config, &data, true, 100);
    let (centre, scale) = (sample(&config, &data, false, 100).0, weights.get("log_scale").unwrap().exp());
    let noise = (&noisy - &centre) / scale;
    let share = |of: Tensor| of.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    let error = (0.25f64 * 0.75 / 6400.0).sqrt();
    for share in [share(noise.lt(-3f64.ln())), share(noise.gt(3f64.ln()))] {
        assert!((share - 0.25).abs() < 4.0 * error, "{share} of the noise is beyond a quartile");
    }

    let data = with(images(20, 1, 8, 8), Binarise::Static, false);
    let config = small(&data);
    let noisy = sample(&config, &data, true, 400).0;
    assert_eq!(noisy.abs().min().double_value(&[]), 1.0, "binary data has binary samples");
    // The standardised sum of values that are independent given the latents.
    let mean = sample(&config, &data, false, 400).0;
    let deviation = (1f64 - mean.square()).sum(Kind::Double).sqrt();
    let off = ((noisy - &mean).sum(Kind::Double) / deviation).double_value(&[]);
    assert!(off.abs() < 4.0, "{off} standard errors");
    // Where the centre is bright, samples are.
    let agreement = ((sample(&config, &data, true, 400).0 - &mean) * &mean).sum(Kind::Double);
    let deviation = ((1f64 - mean.square()) * mean.square()).sum(Kind::Double).sqrt();
    let off = (agreement / deviation).double_value(&[]);
    assert!(off.abs() < 4.0, "{off} standard errors");
}

#[test]
fn requests_that_cannot_be_honoured_are_refused() {
    let _turn = alone();
    let data = points(20);
    for entry in MODELS {
        let model = entry.build(&entry.default_config(&data.spec).unwrap(), &context(&data, 0)).unwrap();
        let plain = SampleRequest::new(1, 0);
        for request in [
            plain.clone().with("steps", 5),
            plain.clone().with("sampler", "ddim"),
            plain.clone().with("temperature", -1.0),
            plain.with("temperature", f64::NAN),
        ] {
            assert!(model.sample(&request).is_err(), "{}: {request:?}", entry.name);
        }
    }
    let model = vae(&data);
    let x = Tensor::zeros([4, 3], (Kind::Float, Device::Cpu));
    let message = model.log_likelihood(&Batch::of(&x), LikelihoodKind::LowerBound, 0).unwrap_err().to_string();
    assert_eq!(message, "`quick-vae` was built for batches of [2], found a tensor of [4, 3]");
    for kind in [LikelihoodKind::Exact, LikelihoodKind::Importance(0)] {
        assert!(model.log_likelihood(&Batch::of(&x.narrow(1, 0, 2)), kind, 0).is_err());
    }
}

#[test]
fn impossible_configurations_are_explained() {
    let _turn = alone();
    let grey = images(20, 1, 8, 8);
    let binary = with(images(20, 1, 8, 8), Binarise::Static, false);
    let fine = small(&grey);
    let message = |data: &Dataset, config: VaeConfig| {
        let error = QUICK_VAE.build(config, &context(data, 0)).err().unwrap().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    assert_eq!(
        message(&grey, VaeConfig { likelihood: Likelihood::Bernoulli, ..fine.clone() }),
        "the likelihood `bernoulli` is no probability of Bytes values: use `discretised-logistic` or `gaussian`, \
         or binarise the data"
    );
    assert_eq!(
        message(&binary, fine.clone()),
        "the likelihood `discretised-logistic` is no probability of Binary values: use `bernoulli`"
    );
    assert!(message(&binary, VaeConfig { predict_scale: true, ..small(&binary) }).contains("predict_scale"));
    assert!(message(&grey, VaeConfig { latent_dim: 0, ..fine.clone() }).contains("latent_dim"));
    assert!(message(&grey, VaeConfig { latent_dim: 1, ..fine.clone() }).contains("prior=standard-normal"));
    assert!(message(&grey, VaeConfig { prior: flow_prior(0), ..fine.clone() }).contains("`prior.layers`"));
    assert!(message(&grey, VaeConfig { widths: vec![], ..fine.clone() }).contains("widths"));
    assert!(message(&grey, VaeConfig { beta: f64::NAN, ..fine.clone() }).contains("beta"));
    let points = points(20);
    let convolutional = VaeConfig { network: NetworkKind::Convolutional, ..small(&points) };
    assert!(message(&points, convolutional).contains("points need `mlp`"));

    let entry = MODELS.iter().find(|entry| entry.name == "quick-vae").unwrap();
    let mut table = entry.default_config(&grey.spec).unwrap();
    table.insert("latent".into(), toml::Value::Integer(3));
    assert!(entry.build(&table, &context(&grey, 0)).is_err(), "an unknown key must be refused");
}

#[test]
fn defaults_fit_their_data() {
    let _turn = alone();
    for data in every_kind_of_data() {
        let likelihood = QUICK_VAE.config(&data.spec).likelihood;
        let expected = match data.spec.values {
            Values::Bytes => Likelihood::DiscretisedLogistic,
            Values::Binary => Likelihood::Bernoulli,
            Values::Dequantised | Values::Continuous => Likelihood::Gaussian,
        };
        assert_eq!(likelihood, expected);
    }
    let card = vae(&images(20, 1, 8, 8)).card().clone();
    assert!(card.sampling_parameters > 0 && card.sampling_parameters < card.parameters);
    assert!(matches!(card.data.shape, Shape::Image { .. }));
}
