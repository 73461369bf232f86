//! The randomness of a run follows from its seed, whatever else the process draws.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gen_core::data::{Batch, DataOptions, Dataset};
use gen_core::model::{GenerativeModel, LikelihoodKind, SampleRequest};
use gen_core::registry::{BuildContext, ModelEntry};
use gen_core::rng::Generator;
use gen_core::train::{Budget, TrainConfig, Trainer};
use tch::{Device, Kind, Tensor};

const STEPS: u64 = 5;

fn entries() -> Vec<ModelEntry> {
    [gen_gan::MODELS, gen_vae::MODELS, gen_flow::MODELS, gen_diffusion::MODELS].concat()
}

/// Images with random batches.
fn images(dequantise: bool) -> Dataset {
    let bytes = Generator::seeded(1).randint(0, 256, [48, 1, 8, 8], (Kind::Uint8, Device::Cpu));
    let options = DataOptions { flip: true, dequantise, ..DataOptions::default() };
    Dataset::from_tensor("noise", bytes).unwrap().with_options(&options).unwrap()
}

fn points() -> Dataset {
    let x = Generator::seeded(2).randn([64, 2], (Kind::Float, Device::Cpu));
    Dataset::from_tensor("points", x).unwrap()
}

/// A small model for this data; `None` if the model does not support its kind.
fn build(entry: &ModelEntry, data: &Dataset) -> Option<Box<dyn GenerativeModel>> {
    let mut config = entry.default_config(&data.spec).unwrap();
    let network = config.get_mut("network").and_then(toml::Value::as_table_mut);
    if let Some(dropout) = network.and_then(|network| network.get_mut("dropout")) {
        *dropout = toml::Value::Float(0.2);
    }
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 3 };
    match entry.build(&config, &context) {
        Err(error) if error.to_string().contains("is a model of") => None,
        built => Some(built.unwrap()),
    }
}

fn trainer<'a>(model: &'a mut dyn GenerativeModel, data: &'a Dataset) -> Trainer<'a, dyn GenerativeModel + 'a> {
    let config = TrainConfig { batch_size: 16, ema_decay: 0.9, log_every: 2, ..TrainConfig::default() };
    Trainer::new(model, data, config, Budget::Steps(STEPS), 4).unwrap()
}

/// All tensors of a run: its state, and the samples and estimates of its model.
fn outcome(trainer: &mut Trainer<'_, dyn GenerativeModel + '_>, data: &Dataset) -> Vec<(String, Tensor)> {
    let mut all: Vec<(String, Tensor)> = trainer.state().snapshot().into_iter().collect();
    let model = trainer.model();
    all.push(("samples".to_owned(), model.sample(&SampleRequest::new(9, 5)).unwrap()));
    if let Some(density) = model.density() {
        let x = data.train.narrow(0, 7).to_batch(&data.spec, &Generator::seeded(6)).x;
        for kind in density.kinds() {
            let kind = match kind {
                LikelihoodKind::Importance(_) => LikelihoodKind::Importance(3),
                kind => kind,
            };
            all.push((format!("log-likelihood {kind}"), density.log_likelihood(&Batch::of(&x), kind, 7).unwrap()));
        }
    }
    all
}

/// Other work of a process between two steps.
fn disturb(i: i64) {
    let options = (Kind::Float, Device::Cpu);
    tch::manual_seed(i);
    let _ = (Tensor::rand([3 + i], options), Tensor::randn([100], options), Tensor::randperm(5, options));
}

/// Both tests use the generator that the process shares, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn other_draws_in_the_process_change_no_byte() {
    let _turn = turn();
    tch::set_num_threads(1);
    for entry in entries() {
        for data in [images(false), images(true), points()] {
            disturb(1);
            let Some(mut model) = build(&entry, &data) else { continue };
            let mut alone = trainer(model.as_mut(), &data);
            while alone.advance().unwrap().is_some() {}
            let expected = outcome(&mut alone, &data);

            disturb(2);
            let [mut model, mut neighbour] = [0, 1].map(|_| build(&entry, &data).unwrap());
            let (mut run, mut other) = (trainer(model.as_mut(), &data), trainer(neighbour.as_mut(), &data));
            for i in 0..STEPS {
                let _ = run.advance_until(|_| true).unwrap();
                disturb(i.cast_signed());
                if i % 2 == 0 {
                    let _ = other.advance_until(|_| true).unwrap();
                }
            }
            let found = outcome(&mut run, &data);
            assert_eq!(found.len(), expected.len());
            for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{} on {}: {name}", entry.name, data.spec.name);
            }
        }
    }
}

/// Conversely, a run does not change the generator that the process shares.
#[test]
fn a_run_takes_nothing_from_the_process() {
    let _turn = turn();
    for entry in entries() {
        let data = [points(), images(false)].into_iter().find(|data| build(&entry, data).is_some()).unwrap();
        let options = (Kind::Float, Device::Cpu);
        tch::manual_seed(11);
        let expected = Tensor::rand([4], options);
        tch::manual_seed(11);
        let mut model = build(&entry, &data).unwrap();
        let mut run = trainer(model.as_mut(), &data);
        while run.advance().unwrap().is_some() {}
        let _ = outcome(&mut run, &data);
        assert_eq!(Tensor::rand([4], options), expected, "{}", entry.name);
    }
}
