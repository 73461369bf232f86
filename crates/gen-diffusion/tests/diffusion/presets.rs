//! The models by name: each trains, resumes and samples, and those of papers have the settings of the papers.

use gen_core::config;
use gen_core::data::{Batch, Dataset};
use gen_core::model::{Density, GenerativeModel, LikelihoodKind, SampleRequest};
use gen_core::registry::{BuildContext, ModelEntry, Origin, Preset};
use gen_core::rng::Generator;
use gen_core::train::{Budget, TrainConfig, Trainer};
use gen_diffusion::network::{MlpConfig, NetworkConfig};
use gen_diffusion::schedule::{Level, ProcessConfig, Spacing};
use gen_diffusion::{DDPM, Diffusion, DiffusionConfig, EDM, MODELS, QUICK_DIFFUSION, RECTIFIED_FLOW};
use tch::{Device, Kind, Tensor};

fn images(side: i64) -> Dataset {
    let place = Tensor::arange(12 * side * side, (Kind::Int64, Device::Cpu));
    let bytes = (place.square() * 7).fmod(256).to_kind(Kind::Uint8).view([12, 1, side, side]);
    Dataset::from_tensor("images", bytes).unwrap()
}

fn points() -> Dataset {
    Dataset::from_tensor("points", Generator::seeded(0).randn([64, 2], (Kind::Double, Device::Cpu)) * 3.0).unwrap()
}

fn build(entry: &ModelEntry, data: &Dataset, seed: u64) -> Box<dyn GenerativeModel> {
    let mut table = entry.default_config(&data.spec).unwrap();
    let small = if data.spec.shape.is_image() { ["channels=[4,8]", "blocks=1"] } else { ["width=8", "blocks=1"] };
    for change in small.into_iter().chain(["bound_evaluations=3"]) {
        config::set(&mut table, change, |table| entry.complete(table)).unwrap();
    }
    entry.build(&table, &BuildContext { data: data.spec.clone(), device: Device::Cpu, seed }).unwrap()
}

fn trainer<'a>(
    entry: &ModelEntry,
    model: &'a mut dyn GenerativeModel,
    data: &'a Dataset,
) -> Trainer<'a, dyn GenerativeModel + 'a> {
    let settings = TrainConfig { batch_size: 8, log_every: 1, ..entry.default_training(&data.spec) };
    Trainer::new(model, data, settings, Budget::Steps(6), 0).unwrap()
}

#[test]
fn every_preset_trains_resumes_samples_and_has_a_likelihood() {
    tch::set_num_threads(1);
    for entry in MODELS {
        for data in [images(8), points()] {
            let mut whole = build(entry, &data, 0);
            let mut run = trainer(entry, &mut *whole, &data);
            while run.advance().unwrap().is_some() {}
            let expected = run.state().snapshot();

            let mut first = build(entry, &data, 0);
            let mut half = trainer(entry, &mut *first, &data);
            for _ in 0..3 {
                half.advance().unwrap().unwrap();
            }
            let (state, progress) = (half.state().snapshot(), half.progress());
            let mut second = build(entry, &data, 9);
            let mut resumed = trainer(entry, &mut *second, &data);
            resumed.restore(&state, progress).unwrap();
            while resumed.advance().unwrap().is_some() {}
            for (name, tensor) in resumed.state().iter() {
                assert_eq!(Some(tensor), expected.get(name), "{}: {name}", entry.name);
            }
            resumed.finish().unwrap();

            for sampler in entry.capabilities.samplers {
                let request = SampleRequest::new(3, 1).with("sampler", *sampler).with("sampler.steps", 4);
                let samples = second.sample(&request).unwrap();
                assert_eq!(samples.size(), data.spec.shape.batch(3));
                assert!(bool::try_from(samples.isfinite().all()).unwrap(), "{} {sampler}", entry.name);
                let frames = second.trajectory(&request, 3).unwrap().unwrap().frames;
                assert_eq!((frames.len(), &frames[2].state), (3, &samples), "{} {sampler}", entry.name);
                assert!(frames.iter().all(|frame| frame.state.size() == samples.size()));
            }
            let own = second.sampling(&SampleRequest::new(1, 0)).unwrap();
            assert_eq!(own.sampler, Some(entry.capabilities.samplers[0]), "{}", entry.name);

            let x = data.train.to_batch(&data.spec, &Generator::seeded(0)).x;
            let density = second.density().unwrap();
            for kind in density.kinds() {
                let nats = density.log_likelihood(&Batch::of(&x), kind, 0).unwrap();
                assert!(bool::try_from(nats.isfinite().all()).unwrap(), "{} {kind}", entry.name);
            }
            assert_eq!(density.kinds()[0], LikelihoodKind::LowerBound);
            let latent = second.latent().unwrap();
            let latents = latent.prior(3, 1).unwrap();
            let decoded = latent.decode(&latents).unwrap();
            assert_eq!(decoded.size(), data.spec.shape.batch(3));
            assert_eq!(latent.encode(&decoded, 0).unwrap().unwrap().size(), latents.size());
        }
    }
}

/// Numbers of two kinds, N(8, 1) and N(16, 1). The optimizer is the quick one, as 600 steps are few.
#[test]
fn every_preset_learns_points() {
    tch::set_num_threads(1);
    let rng = Generator::seeded(0);
    let side = rng.randint(0, 2, [4000, 1], (Kind::Int64, Device::Cpu)).to_kind(Kind::Double);
    let data =
        Dataset::from_tensor("two", side * 8.0 + 8.0 + rng.randn([4000, 1], (Kind::Double, Device::Cpu))).unwrap();
    for preset in [&QUICK_DIFFUSION, &DDPM, &EDM, &RECTIFIED_FLOW] {
        let config = DiffusionConfig {
            network: NetworkConfig::Mlp(MlpConfig { width: 48, blocks: 2 }),
            optimizer: QUICK_DIFFUSION.config(&data.spec).optimizer,
            ..preset.config(&data.spec)
        };
        let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
        let mut model = preset.build(config, &context).unwrap();
        let settings = TrainConfig { batch_size: 256, log_every: 600, ..QUICK_DIFFUSION.training(&data.spec) };
        let mut trainer = Trainer::new(&mut model, &data, settings, Budget::Steps(600), 0).unwrap();
        while trainer.advance().unwrap().is_some() {}
        trainer.finish().unwrap();

        let x = model.sample(&SampleRequest::new(1000, 0)).unwrap();
        let near = |place: f64| (&x - place).abs().lt(3.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!(near(8.0) > 0.4 && near(16.0) > 0.4 && near(8.0) + near(16.0) > 0.95, "{}", preset.name);
        // ln 2 more than the entropy of N(0, 1).
        let entropy = 0.5 * (std::f64::consts::TAU * std::f64::consts::E).ln() + 2f64.ln();
        let rows = Batch::of(&data.train.x.narrow(0, 0, 1000));
        let nats = -model.log_likelihood(&rows, LikelihoodKind::Ode, 0).unwrap().mean(Kind::Double).double_value(&[]);
        assert!((nats - entropy).abs() < 0.12, "{}: {nats} nats, the entropy is {entropy}", preset.name);
    }
}

#[test]
fn presets_of_papers_name_their_sources_and_what_differs() {
    for entry in MODELS {
        assert!(!entry.citation.is_empty() && !entry.summary.is_empty());
        assert_eq!(entry.origin == Origin::Paper, entry.name != "quick-diffusion", "{}", entry.name);
        assert_eq!(entry.departures.is_empty(), entry.origin == Origin::House, "{}", entry.name);
        assert!(entry.departures.iter().all(|sentence| sentence.ends_with('.')), "{}", entry.name);
    }
}

/// The settings of a preset as `gen` writes them.
fn settings(preset: &'static Preset<Diffusion>, data: &Dataset) -> (String, String, TrainConfig) {
    let entry = ModelEntry::of(preset);
    let config = config::assignments(&entry.default_config(&data.spec).unwrap());
    let sampling = config::assignments(&entry.default_sampling(&data.spec).unwrap());
    (config, sampling, entry.default_training(&data.spec))
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(format!(" {text} ").contains(&format!(" {part} ")), "no `{part}` in `{text}`");
    }
}

/// Ho et al. (2020), section 4 and appendix B.
#[test]
fn ddpm_has_the_settings_of_its_paper() {
    let (config, sampling, training) = settings(&DDPM, &images(28));
    assert_has(&config, &["process=variance-preserving", "process.schedule=linear", "process.timesteps=1000"]);
    assert_has(&config, &["prediction=epsilon", "weighting=uniform", "noise=uniform", "network.dropout=0.1"]);
    assert_has(&config, &["bound=discrete", "bound.variance=fixed-large", "network.blocks=2", "network.patch=1"]);
    assert_has(&config, &["optimizer.learning_rate=0.0002", "optimizer.beta1=0.9", "optimizer.clip_norm=1.0"]);
    assert_has(&sampling, &["sampler=ancestral", "sampler.steps=1000", "sampler.variance=fixed-large", "clip=true"]);
    assert_eq!((training.batch_size, training.warmup_steps, training.ema_decay), (128, 5000, 0.9999));
    assert_eq!(training.schedule, gen_core::optim::Schedule::Constant);
    let ProcessConfig::VariancePreserving(_) = DDPM.config(&images(28).spec).process else { panic!("another process") };
}

/// Karras et al. (2022), table 1 and appendix F.2.
#[test]
fn edm_has_the_settings_of_its_paper() {
    let (config, sampling, training) = settings(&EDM, &images(28));
    assert_has(&config, &["process=edm", "process.sigma_min=0.002", "process.sigma_max=80.0", "prediction=edm"]);
    assert_has(&config, &["prediction.sigma_data=0.5", "noise=lognormal", "noise.mean=-1.2", "noise.std=1.2"]);
    assert_has(&config, &["optimizer.learning_rate=0.001", "optimizer.clip_norm=0.0", "network.dropout=0.13"]);
    assert_has(&sampling, &["sampler=heun", "sampler.steps=18", "sampler.spacing=karras", "clip=false"]);
    assert_eq!(training.batch_size, 512);
    // 10 million images, and a half-life of half a million.
    assert!((training.warmup_steps as f64 * 512.0 / 1e7 - 1.0).abs() < 1e-3);
    assert!((training.ema_decay.powf(5e5 / 512.0) - 0.5).abs() < 0.01);
    let context = BuildContext { data: images(8).spec, device: Device::Cpu, seed: 0 };
    let model = EDM.build(EDM.config(&context.data), &context).unwrap();
    assert_eq!(model.sampling(&SampleRequest::new(1, 0)).unwrap().evaluations, 35);
}

/// Liu et al. (2023), appendix, and their code for CIFAR-10.
#[test]
fn rectified_flow_has_the_settings_of_its_paper() {
    let (config, sampling, training) = settings(&RECTIFIED_FLOW, &images(28));
    assert_has(&config, &["process=rectified-flow", "prediction=velocity", "weighting=uniform", "noise=uniform"]);
    assert_has(&config, &["optimizer.learning_rate=0.0002", "network.dropout=0.15", "network.blocks=4"]);
    assert_has(&sampling, &["sampler=euler", "sampler.steps=100", "clip=false"]);
    assert_eq!((training.batch_size, training.warmup_steps, training.ema_decay), (128, 5000, 0.999_999));
}

#[test]
fn unets_of_papers_have_the_resolutions_that_sides_allow() {
    let channels = |side: i64| match DDPM.config(&images(side).spec).network {
        NetworkConfig::Unet(unet) => unet.channels,
        NetworkConfig::Mlp(_) => panic!("images have a U-Net"),
    };
    assert_eq!(channels(32), [32, 64, 64, 64]);
    assert_eq!(channels(28), [32, 64, 64]);
    assert_eq!(channels(8), [32, 64]);
    assert_eq!(channels(9), [32]);
}

#[test]
fn pieces_that_do_not_fit_each_other_are_refused() {
    let data = points();
    let message = |entry: &ModelEntry, changes: &[&str]| {
        let mut table = entry.default_config(&data.spec).unwrap();
        for change in changes {
            config::set(&mut table, change, |table| entry.complete(table)).unwrap();
        }
        let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
        entry.build(&table, &context).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let flow = ModelEntry::of(&RECTIFIED_FLOW);
    assert!(message(&flow, &["prediction=v"]).contains("needs a variance-preserving process"));
    assert!(message(&flow, &["prediction=epsilon"]).contains("needs some signal"));
    assert!(message(&flow, &["bound=discrete"]).contains("needs a process of timesteps"));
    assert!(message(&flow, &["noise=lognormal", "noise.std=0"]).contains("`noise.std`"));
    assert!(message(&flow, &["prediction=edm", "prediction.sigma_data=-1"]).contains("`prediction.sigma_data`"));
    // These do.
    let quick = ModelEntry::of(&QUICK_DIFFUSION);
    for process in ["continuous", "variance-preserving"] {
        for prediction in ["epsilon", "sample", "v", "velocity", "edm"] {
            let changes = [
                format!("process={process}"),
                "process.schedule=linear".to_owned(),
                format!("prediction={prediction}"),
            ];
            assert_eq!(message(&quick, &changes.each_ref().map(String::as_str)), "");
        }
    }
    assert_eq!(message(&flow, &["prediction=edm", "weighting=edm", "noise=logit-normal"]), "");
    assert_eq!(
        Spacing::Karras.timesteps(10, 3).unwrap_err().to_string(),
        "the levels of `karras` are not those of timesteps"
    );
    assert_eq!(Level::CLEAN.spread(), 1.0);
}
