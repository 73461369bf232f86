//! The model `quick-diffusion` through the interface that every program uses.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gen_core::Result;
use gen_core::config;
use gen_core::data::{Batch, Binarise, DataOptions, Dataset, Values};
use gen_core::model::{GenerativeModel, LikelihoodKind, SampleRequest, Step};
use gen_core::registry::BuildContext;
use gen_core::rng::Generator;
use gen_core::testing::assert_close;
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_diffusion::network::{MlpConfig, NetworkConfig};
use gen_diffusion::prediction::{EdmScaling, Prediction};
use gen_diffusion::schedule::{DiscreteConfig, NoiseSchedule, ProcessConfig};
use gen_diffusion::unet::UNetConfig;
use gen_diffusion::weighting::Weighting;
use gen_diffusion::{Diffusion, DiffusionConfig, MODELS, QUICK_DIFFUSION};
use tch::{Device, Kind, Tensor};
use toml::Table;

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

/// libtorch has one generator for all threads: tests that draw from it take turns.
fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn images(channels: i64, side: i64) -> Dataset {
    let place = Tensor::arange(12 * channels * side * side, (Kind::Int64, Device::Cpu));
    let bytes = (place.square() * 7).fmod(256).to_kind(Kind::Uint8).view([12, channels, side, side]);
    Dataset::from_tensor("images", bytes).unwrap()
}

/// Two round clusters, far from the origin and of different sizes in the two coordinates.
fn points() -> Dataset {
    tch::manual_seed(1);
    let side = Tensor::randint(2, [2000, 1], (Kind::Float, Device::Cpu)) * 2.0 - 1.0;
    let centre = Tensor::cat(&[&side * 6.0 + 10.0, &side * -0.3 - 5.0], 1);
    let noise = Tensor::randn([2000, 2], (Kind::Float, Device::Cpu)) * Tensor::from_slice(&[1.0f32, 0.05]);
    Dataset::from_tensor("points", centre + noise).unwrap()
}

fn edm(sigma_data: f64) -> Weighting {
    Weighting::Edm(EdmScaling { sigma_data })
}

fn in_timesteps(timesteps: usize, schedule: NoiseSchedule) -> ProcessConfig {
    ProcessConfig::VariancePreserving(DiscreteConfig { timesteps, schedule })
}

fn small(data: &Dataset) -> DiffusionConfig {
    let network = match NetworkConfig::of(data.spec.shape) {
        NetworkConfig::Unet(unet) => {
            let channels = if unet.channels.len() > 1 { vec![8, 16] } else { vec![8] };
            NetworkConfig::Unet(UNetConfig { channels, ..unet })
        }
        NetworkConfig::Mlp(_) => NetworkConfig::Mlp(MlpConfig { width: 32, blocks: 2 }),
    };
    DiffusionConfig { network, bound_evaluations: 3, ..QUICK_DIFFUSION.config(&data.spec) }
}

fn build(config: DiffusionConfig, data: &Dataset, seed: u64) -> Result<Diffusion> {
    QUICK_DIFFUSION.build(config, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed })
}

fn train<'a>(model: &'a mut Diffusion, data: &'a Dataset, steps: u64) -> Trainer<'a, Diffusion> {
    let settings = TrainConfig { batch_size: 8, ema_decay: 0.9, log_every: 1, ..TrainConfig::default() };
    let mut trainer = Trainer::new(model, data, settings, Budget::Steps(10), 0).unwrap();
    for _ in 0..steps {
        trainer.advance().unwrap().unwrap();
    }
    trainer
}

#[test]
fn every_kind_of_data() {
    let _generator = generator();
    let with = |options: DataOptions| images(1, 8).with_options(&options).unwrap();
    let sets = [
        images(1, 28),
        images(3, 32),
        images(1, 8),
        images(1, 9),
        with(DataOptions { dequantise: true, ..Default::default() }),
        with(DataOptions { binarise: Binarise::Dynamic, ..Default::default() }),
        points(),
    ];
    for data in sets {
        let mut model = build(small(&data), &data, 0).unwrap();
        let record = train(&mut model, &data, 2).advance().unwrap().unwrap();
        let names: Vec<&str> = record.losses.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["loss", "loss_q1", "loss_q2", "loss_q3", "loss_q4", "grad_norm"]);
        let quarters = record.losses[1..5].iter().map(|(_, loss)| loss).sum::<f64>() / 4.0;
        assert!((quarters - record.losses[0].1).abs() < 1e-6, "the quarters are equal parts of the loss");

        let samples = model.sample(&SampleRequest::new(5, 0)).unwrap();
        assert_eq!(samples.size(), data.spec.shape.batch(5));
        assert!(bool::try_from(samples.isfinite().all()).unwrap());
        if data.spec.shape.is_image() {
            assert!(samples.abs().max().double_value(&[]) <= 1.0);
        }

        let x = data.train.narrow(0, 7).to_batch(&data.spec, &Generator::shared()).x;
        let density = model.density().unwrap();
        // Black and white have no density that a flow of probability could follow.
        let bound = LikelihoodKind::LowerBound;
        let kinds = match data.spec.values {
            Values::Binary => vec![bound],
            Values::Continuous => vec![bound, LikelihoodKind::Ode],
            Values::Bytes | Values::Dequantised => vec![bound, LikelihoodKind::DequantisedOde],
        };
        assert_eq!(density.kinds(), kinds);
        let log_p = density.log_likelihood(&Batch::of(&x), LikelihoodKind::LowerBound, 0).unwrap();
        assert_eq!(log_p.size(), [7]);
        assert!(bool::try_from(log_p.isfinite().all()).unwrap());
        assert!(density.log_likelihood(&Batch::of(&x), LikelihoodKind::Exact, 0).is_err());
    }
}

#[test]
fn no_samples_are_an_empty_tensor() {
    let _generator = generator();
    let data = images(1, 8);
    let model = build(small(&data), &data, 0).unwrap();
    assert_eq!(model.sample(&SampleRequest::new(0, 0)).unwrap().size(), [0, 1, 8, 8]);
}

#[test]
fn the_same_seed_gives_the_same_model_and_samples() {
    let _generator = generator();
    let data = points();
    let run = |seed: u64| {
        let mut model = build(small(&data), &data, seed).unwrap();
        train(&mut model, &data, 5).finish().unwrap();
        model.sample(&SampleRequest::new(300, 3)).unwrap()
    };
    assert_eq!(run(0), run(0));
    assert_ne!(run(0), run(1));
}

#[test]
fn samples_depend_on_the_weights_alone() {
    let _generator = generator();
    let data = images(1, 8);
    let mut trained = build(small(&data), &data, 0).unwrap();
    train(&mut trained, &data, 4).finish().unwrap();
    let fresh = build(small(&data), &data, 1).unwrap();
    for name in ["ddim", "ancestral"] {
        let request = SampleRequest::new(3, 5).with("sampler", name).with("sampler.steps", 4);
        assert_ne!(fresh.sample(&request).unwrap(), trained.sample(&request).unwrap());
    }
    fresh.weights().assign(&trained.weights()).unwrap();
    let x = data.train.to_batch(&data.spec, &Generator::shared()).x;
    let log_p = |model: &Diffusion| {
        model.density().unwrap().log_likelihood(&Batch::of(&x), LikelihoodKind::LowerBound, 2).unwrap()
    };
    assert_eq!(log_p(&fresh), log_p(&trained));
    for name in ["ddim", "ancestral"] {
        let request = SampleRequest::new(3, 5).with("sampler", name).with("sampler.steps", 4);
        assert_eq!(fresh.sample(&request).unwrap(), trained.sample(&request).unwrap());
    }
}

#[test]
fn a_resumed_run_is_the_same_run() {
    let _generator = generator();
    for data in [points(), images(1, 8)] {
        let mut whole = build(small(&data), &data, 0).unwrap();
        let expected = train(&mut whole, &data, 10).state().snapshot();

        let mut first = build(small(&data), &data, 0).unwrap();
        let half = train(&mut first, &data, 5);
        let (state, progress) = (half.state().snapshot(), half.progress());
        let mut second = build(small(&data), &data, 9).unwrap();
        let mut resumed = train(&mut second, &data, 0);
        resumed.restore(&state, progress).unwrap();
        while resumed.advance().unwrap().is_some() {}
        for (name, tensor) in resumed.state().iter() {
            assert_eq!(Some(tensor), expected.get(name), "{name}");
        }
    }
}

#[test]
fn requests() {
    let _generator = generator();
    let data = points();
    let mut model = build(small(&data), &data, 0).unwrap();
    model.set_sampling_options(&toml::toml! { sampler = { steps = 3 } }).unwrap();
    let request = SampleRequest::new(2, 0);
    let named = |name: &str| request.clone().with("sampler", name);
    let in_steps = |steps: u32| request.clone().with("sampler.steps", steps);
    let warm = |temperature: f64, name: &str| named(name).with("temperature", temperature);

    let evaluations = |request: &SampleRequest| model.sampling(request).unwrap().evaluations;
    assert_eq!(evaluations(&request), 3);
    assert_eq!(evaluations(&in_steps(17)), 17);
    assert_eq!(evaluations(&named("ancestral")), 1000);

    assert_eq!(model.sampling(&named("ancestral")).unwrap().sampler, Some("ancestral"));

    let refused = |request: &SampleRequest| {
        let message = model.sample(request).unwrap_err().to_string();
        assert!(model.sampling(request).is_err(), "{message}");
        message
    };
    assert_eq!(refused(&named("dimm")), "unknown value `sampler=dimm`: did you mean `sampler=ddim`?");
    assert!(refused(&request.clone().with("sampler.eta", 1.5)).contains("`sampler.eta`"));
    assert!(refused(&named("ancestral").with("sampler.eta", 1.0)).contains("unknown sampling option `sampler.eta`"));
    assert!(refused(&request.clone().with("clip", true)).contains("`clip`"));
    assert!(refused(&in_steps(0)).contains("1 to 1000 steps"));
    assert!(refused(&in_steps(1001)).contains("1 to 1000 steps"));
    assert!(refused(&warm(0.5, "ancestral")).contains("temperature"));
    assert!(refused(&warm(-1.0, "ddim")).contains("temperature"));

    // All start at the origin, and a deterministic sampler takes them the same way.
    let cold = model.sample(&warm(0.0, "ddim")).unwrap();
    assert_eq!(cold.get(0), cold.get(1));
    assert_ne!(model.sample(&warm(1.0, "ddim")).unwrap(), model.sample(&warm(0.9, "ddim")).unwrap());
    assert_eq!(model.sample(&warm(1.0, "ddim")).unwrap(), model.sample(&request).unwrap());

    let mut noisy = build(small(&data), &data, 0).unwrap();
    noisy.set_sampling_options(&toml::toml! { sampler = { eta = 0.5 } }).unwrap();
    assert!(noisy.sample(&warm(0.5, "ddim")).is_err());
    assert_ne!(noisy.sample(&request).unwrap(), model.sample(&request).unwrap());
}

#[test]
fn configurations() {
    let _generator = generator();
    let (set, grey) = (points(), images(1, 28));
    let message = |config: DiffusionConfig, data: &Dataset| match build(config, data, 0) {
        Ok(_) => panic!("this configuration is not possible"),
        Err(error) => error.to_string(),
    };
    let unet = |change: &dyn Fn(&mut UNetConfig)| {
        let mut config = UNetConfig::of(28, 28);
        change(&mut config);
        DiffusionConfig { network: NetworkConfig::Unet(config), ..small(&grey) }
    };
    for (config, data, expected) in [
        (
            DiffusionConfig { process: in_timesteps(0, NoiseSchedule::Cosine), ..small(&set) },
            &set,
            "at least 1 timestep",
        ),
        (DiffusionConfig { weighting: edm(-1.0), ..small(&set) }, &set, "`weighting.sigma_data`"),
        (DiffusionConfig { bound_evaluations: 1, ..small(&set) }, &set, "`bound_evaluations`"),
        (DiffusionConfig { network: NetworkConfig::of(grey.spec.shape), ..small(&set) }, &set, "\"mlp\""),
        (DiffusionConfig { network: NetworkConfig::of(set.spec.shape), ..small(&grey) }, &grey, "\"unet\""),
        (unet(&|c| c.channels = vec![8, 8, 8, 8]), &grey, "sides that 16 divides"),
        (unet(&|c| c.patch = 0), &grey, "`patch`"),
        (unet(&|c| c.channels = vec![10]), &grey, "multiples of 4"),
        (unet(&|c| c.heads = 3), &grey, "`heads`"),
        (unet(&|c| c.dropout = 1.0), &grey, "`dropout`"),
    ] {
        let message = message(config, data);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn published_settings_can_be_chosen() {
    let _generator = generator();
    let data = images(1, 8);
    let entry = &MODELS[0];
    let mut table = entry.default_config(&data.spec).unwrap();
    for change in [
        "schedule=linear",
        "prediction=epsilon",
        "patch=1",
        "channels=[8, 8, 8]",
        "blocks=2",
        "heads=2",
        "dropout=0.1",
        "learning_rate=2e-4",
        "timesteps=20",
        "bound=discrete",
        "bound.variance=fixed-large",
        "bound_evaluations=20",
    ] {
        config::set(&mut table, change, |table| entry.complete(table)).unwrap();
    }
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = entry.build(&table, &context).unwrap();
    let ancestral = toml::toml! { sampler = { kind = "ancestral", steps = 20, spacing = "leading" } };
    model.set_sampling_options(&ancestral).unwrap();
    assert!(model.set_sampling_options(&toml::toml! { sampler = { steps = 21 } }).is_err());
    let batch = Batch::of(&data.train.to_batch(&data.spec, &Generator::shared()).x);
    let _losses = model.train_step(&batch, &Step::new(0)).unwrap();
    assert_eq!(model.sampling(&SampleRequest::new(1, 0)).unwrap().evaluations, 20);
    assert_eq!(model.sample(&SampleRequest::new(1, 0)).unwrap().size(), [1, 1, 8, 8]);

    assert!(
        config::set(&mut table, "chanels=[8]", |table| entry.complete(table))
            .unwrap_err()
            .to_string()
            .contains("`channels`")
    );
    table.insert("unknown".into(), 1.into());
    assert!(entry.build(&table, &context).is_err());
    table.remove("unknown");
    table["network"].as_table_mut().unwrap().insert("unknown".into(), 1.into());
    assert!(entry.build(&table, &context).is_err());
}

#[test]
fn the_bound_can_be_chosen_and_runs_of_before_have_the_continuous_one() {
    let _generator = generator();
    let data = points();
    let entry = &MODELS[0];
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let x = data.train.x.narrow(0, 0, 50);
    let log_p = |bound: Option<&str>| {
        let mut table = entry.default_config(&data.spec).unwrap();
        table.remove("bound").unwrap();
        if let Some(bound) = bound {
            table.insert("bound".into(), bound.into());
        }
        let model = entry.build(&table, &context).unwrap();
        let found = model.density().unwrap().log_likelihood(&Batch::of(&x), LikelihoodKind::LowerBound, 0).unwrap();
        assert!(bool::try_from(found.isfinite().all()).unwrap(), "{bound:?}");
        found
    };
    let (continuous, discrete) = (log_p(Some("continuous")), log_p(Some("discrete")));
    assert_eq!(log_p(None), continuous);
    assert_ne!(continuous, discrete);
}

#[test]
fn batches_of_the_wrong_shape_are_refused() {
    let _generator = generator();
    let data = images(1, 8);
    let mut model = build(small(&data), &data, 0).unwrap();
    let wrong = Tensor::zeros([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    assert!(model.train_step(&Batch::of(&wrong), &Step::new(0)).is_err());
    assert!(model.density().unwrap().log_likelihood(&Batch::of(&wrong), LikelihoodKind::LowerBound, 0).is_err());
}

/// Two clusters: are they found, in the units of the data, and is the bound near the entropy?
#[test]
fn learns_points() {
    let _generator = generator();
    let data = points();
    let config = DiffusionConfig { bound_evaluations: 20, ..small(&data) };
    let mut model = build(config, &data, 0).unwrap();
    model.set_sampling_options(&toml::toml! { sampler = { steps = 50 } }).unwrap();
    let settings = TrainConfig { batch_size: 256, log_every: 100, ..QUICK_DIFFUSION.training(&data.spec) };
    let mut trainer = Trainer::new(&mut model, &data, settings, Budget::Steps(600), 0).unwrap();
    let mut history = Vec::new();
    while let Some(record) = trainer.advance().unwrap() {
        history.push(record.losses[0].1);
    }
    trainer.finish().unwrap();
    assert!(history[5] < 0.75 * history[0], "{history:?}");

    let x = model.sample(&SampleRequest::new(1000, 0)).unwrap();
    let side = x.select(1, 0) - 10.0;
    let near = |sign: f64| {
        let first = (&side * sign - 6.0).abs().lt(3.0);
        let second = (x.select(1, 1) + 5.0 + 0.3 * sign).abs().lt(0.2);
        first.logical_and(&second).to_kind(Kind::Float).mean(Kind::Float).double_value(&[])
    };
    let (right, left) = (near(1.0), near(-1.0));
    assert!(right > 0.35 && left > 0.35 && right + left > 0.9, "{right} {left}");

    // The entropy of these rows, by their true density.
    let centres = Tensor::from_slice(&[16.0, -5.3, 4.0, -4.7]).view([2, 2]);
    let std = Tensor::from_slice(&[1.0, 0.05]);
    let z = (data.train.x.to_kind(Kind::Double).unsqueeze(1) - centres) / &std;
    let each = (z.square() + (2.0 * std::f64::consts::PI).ln()).sum_dim_intlist(2, false, Kind::Double) * -0.5;
    let entropy = -(each.logsumexp(1, false) - 2f64.ln() - 0.05f64.ln()).mean(Kind::Double).double_value(&[]);
    let nats = |kind| {
        let log_p = model.density().unwrap().log_likelihood(&Batch::of(&data.train.x), kind, 0).unwrap();
        -log_p.mean(Kind::Double).double_value(&[])
    };
    let (flow, bound) = (nats(LikelihoodKind::Ode), nats(LikelihoodKind::LowerBound));
    assert!(flow > entropy - 0.02 && flow < entropy + 0.06, "{flow} nats, the entropy is {entropy}");
    assert!(bound > flow - 0.02 && bound < flow + 0.6, "{bound} nats above the {flow} of the flow");
}

/// The same points in other units: powers of 2, so that the network sees the same numbers.
#[test]
fn units_change_a_density_by_their_volume_and_samples_with_them() {
    let _generator = generator();
    let data = points();
    let units = Tensor::from_slice(&[4f32, 0.125]);
    let others = Dataset::from_tensor("others", &data.train.x * &units).unwrap();
    let mut model = build(small(&data), &data, 0).unwrap();
    train(&mut model, &data, 5).finish().unwrap();
    let other = build(small(&others), &others, 1).unwrap();
    let weights = model.weights();
    for (name, tensor) in other.weights().iter().filter(|(name, _)| !name.starts_with("standardise.")) {
        tch::no_grad(|| tensor.shallow_clone().copy_(weights.get(name).unwrap()));
    }
    let x = data.train.x.narrow(0, 0, 20);
    for kind in [LikelihoodKind::LowerBound, LikelihoodKind::Ode] {
        let of =
            |model: &Diffusion, x: &Tensor| model.density().unwrap().log_likelihood(&Batch::of(x), kind, 3).unwrap();
        // ln (4 / 8)
        assert_close(&(of(&model, &x) - of(&other, &(&x * &units))), &Tensor::full([20], 0.5f64.ln(), F64), 1e-5, 1e-4);
    }
    let request = SampleRequest::new(20, 1);
    let samples = model.sample(&request).unwrap() * &units;
    assert_close(&other.sample(&request).unwrap(), &samples, 1e-5, 1e-5);
}

/// Each setting changes the loss of a step, or samples.
#[test]
fn no_setting_is_ignored() {
    let _generator = generator();
    let data = images(1, 8);
    let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
    let observed = |config: DiffusionConfig, options: Table| {
        let mut model = build(config, &data, 0).unwrap();
        model.set_sampling_options(&toml::toml! { sampler = { steps = 5 } }).unwrap();
        model.set_sampling_options(&options).unwrap();
        let rng = Generator::seeded(8);
        for (_, tensor) in model.weights().iter() {
            let _ = tch::no_grad(|| tensor.shallow_clone().g_add_(&(rng.randn_like(tensor) * 0.2)));
        }
        let samples = model.sample(&SampleRequest::new(2, 0)).unwrap();
        let losses = model.train_step(&Batch::of(&x), &Step::new(0)).unwrap().values();
        (samples, losses[0].1)
    };
    let (default, none) = (small(&data), Table::new);
    let ancestral = || toml::toml! { sampler = { kind = "ancestral", steps = 5 } };
    let small_variance = || toml::toml! { sampler = { kind = "ancestral", steps = 5, variance = "fixed-small" } };
    let changes: [(&str, DiffusionConfig, Table, Table, [bool; 2]); 9] = [
        (
            "timesteps",
            DiffusionConfig { process: in_timesteps(500, NoiseSchedule::Cosine), ..default.clone() },
            none(),
            none(),
            [true, true],
        ),
        (
            "schedule",
            DiffusionConfig { process: in_timesteps(1000, NoiseSchedule::Linear), ..default.clone() },
            none(),
            none(),
            [true, true],
        ),
        (
            "prediction",
            DiffusionConfig { prediction: Prediction::Sample, ..default.clone() },
            none(),
            none(),
            [true, true],
        ),
        ("weighting", DiffusionConfig { weighting: edm(0.5), ..default.clone() }, none(), none(), [false, true]),
        ("eta", default.clone(), none(), toml::toml! { sampler = { eta = 1.0 } }, [true, false]),
        ("spacing", default.clone(), none(), toml::toml! { sampler = { spacing = "leading" } }, [true, false]),
        ("clip", default.clone(), none(), toml::toml! { clip = false }, [true, false]),
        ("variance", default.clone(), ancestral(), small_variance(), [true, false]),
        ("sampler", default.clone(), none(), ancestral(), [true, false]),
    ];
    for (name, config, against, options, expected) in changes {
        let (before, after) = (observed(default.clone(), against), observed(config, options));
        assert_eq!([before.0 != after.0, before.1 != after.1], expected, "`{name}`");
    }
}
