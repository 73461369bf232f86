//! The training loop and run folders, on a model of two parameters: a Gaussian fitted by maximum likelihood.
#![allow(clippy::unwrap_used)]

use gen_core::data::{Batch, DataSpec, Dataset, Split};
use gen_core::model::{
    BuildContext, Buildable, Family, GenerativeModel, Losses, ModelCard, ModelEntry, SampleRequest, Step,
    ValidationLoss,
};
use gen_core::optim::{Adam, AdamConfig, Schedule};
use gen_core::params::{Init, NamedTensors, Params};
use gen_core::rng::{Purpose, stream, torch_seed};
use gen_core::run::{LIBTORCH_VERSION, RunConfig, RunFolder, RunInfo};
use gen_core::train::{Budget, LogRecord, Stretch, TrainConfig, Trainer, Validated};
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

struct Gaussian {
    card: ModelCard,
    params: Params,
    mean: Tensor,
    log_std: Tensor,
    adam: Adam,
    fail_at: u64,
}

#[derive(Serialize, Deserialize)]
struct Config {
    learning_rate: f64,
    /// The step whose loss becomes NaN; 0 is none.
    fail_at: u64,
}

impl Buildable for Gaussian {
    type Config = Config;
    const NAME: &'static str = "gaussian";
    const SUMMARY: &'static str = "one Gaussian";
    const FAMILY: Family = Family::Baseline;

    fn default_config(_: &DataSpec) -> Config {
        Config { learning_rate: 0.05, fail_at: 0 }
    }

    fn default_training(_: &DataSpec) -> TrainConfig {
        TrainConfig {
            batch_size: 16,
            schedule: Schedule::Cosine,
            warmup_steps: 5,
            ema_decay: 0.9,
            log_every: 4,
            ..TrainConfig::default()
        }
    }

    fn build(config: Config, context: &BuildContext) -> Result<Self> {
        let params = Params::drawn_from(stream(context.seed, Purpose::Init, 0), Kind::Float, context.device);
        let dimension = context.data.shape.dimensions();
        let mean = params.root().parameter("mean", &[dimension], Init::Normal { mean: 0.0, std: 1.0 });
        let log_std = params.root().parameter("log_std", &[dimension], Init::ZEROS);
        let adam =
            Adam::new(&params, AdamConfig { learning_rate: config.learning_rate, ..Default::default() })?;
        let card = ModelCard {
            name: "gaussian",
            family: Family::Baseline,
            data: context.data.clone(),
            citation: "Gauss 1809",
            parameters: params.count(),
            sampling_parameters: params.count(),
        };
        Ok(Gaussian { card, params, mean, log_std, adam, fail_at: config.fail_at })
    }
}

impl GenerativeModel for Gaussian {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn train_step(&mut self, batch: &Batch, step: &Step) -> Result<Losses> {
        // Noise on the data, so that the test sees whether randomness is resumed too.
        let x = &batch.x + step.rng.randn_like(&batch.x) * 0.01;
        let z = (&x - &self.mean) * (-&self.log_std).exp();
        let nll = (&z * &z * 0.5 + &self.log_std).sum_dim_intlist(-1, false, Kind::Float).mean(Kind::Float);
        let nll = if step.index + 1 == self.fail_at { nll * f64::NAN } else { nll };
        let grad_norm = self.adam.step(&nll, step.lr_scale)?;
        Ok(Losses::new().with("nll", &nll).with("grad_norm", &grad_norm))
    }

    fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        request.require_one_pass("gaussian")?;
        let _no_grad = tch::no_grad_guard();
        let rng = stream(request.seed, Purpose::Sample, 0);
        let z = rng.randn([request.n as i64, self.mean.size()[0]], (Kind::Float, self.mean.device()));
        Ok(z * self.log_std.exp() + &self.mean)
    }

    fn validation_loss(&self, x: &Tensor, _seed: u64) -> Result<Option<ValidationLoss>> {
        let _no_grad = tch::no_grad_guard();
        let rows = (x - &self.mean).square().sum_dim_intlist(1, false, Kind::Float);
        Ok(Some(ValidationLoss { objective: "squared-distance".to_owned(), rows }))
    }

    fn weights(&self) -> NamedTensors {
        self.params.all()
    }

    fn training_state(&self) -> NamedTensors {
        self.adam.state()
    }
}

fn data() -> Dataset {
    tch::manual_seed(torch_seed(0, Purpose::Data, 0));
    let x = Tensor::randn([200, 2], (Kind::Float, Device::Cpu)) * 0.5 + 2.0;
    Dataset::from_tensor("blob", x).unwrap()
}

fn build(data: &Dataset, config: Config) -> Gaussian {
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 1 };
    Gaussian::build(config, &context).unwrap()
}

fn default(data: &Dataset) -> (Gaussian, TrainConfig) {
    (build(data, Gaussian::default_config(&data.spec)), Gaussian::default_training(&data.spec))
}

fn run_to_end(trainer: &mut Trainer<'_, Gaussian>) -> Vec<LogRecord> {
    std::iter::from_fn(|| trainer.advance().unwrap()).collect()
}

#[test]
fn it_learns_and_counts_its_steps() {
    let data = data();
    let (mut model, training) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Epochs(50), 7).unwrap();
    let records = run_to_end(&mut trainer);
    let last = records.last().unwrap();
    assert_eq!(last.progress.step, 50 * (200 / 16));
    assert_eq!(last.progress.images_seen, last.progress.step * 16);
    assert!(records.iter().all(|r| r.progress.step % 4 == 0 || r.budget_used == 1.0));
    trainer.finish().unwrap();
    let samples = model.sample(&SampleRequest::new(4000, 0)).unwrap();
    assert!((samples.mean(Kind::Float).double_value(&[]) - 2.0).abs() < 0.05);
    assert!((samples.std(true).double_value(&[]) - 0.5).abs() < 0.05);
}

#[test]
fn a_time_budget_stops_the_run_and_counts_training_alone() {
    let data = data();
    let (mut model, training) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Seconds(0.2), 7).unwrap();
    let mut pauses = 0.0;
    while let Some(record) = trainer.advance().unwrap() {
        if pauses < 0.3 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            pauses += 0.03;
        }
        assert!(record.progress.seconds < 0.4);
    }
    assert!((0.2..0.4).contains(&trainer.progress().seconds), "{}", trainer.progress().seconds);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let data = data();
    let run = |seed: u64| {
        let (mut model, training) = default(&data);
        let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(20), seed).unwrap();
        let records = run_to_end(&mut trainer);
        records.into_iter().map(|r| r.losses).collect::<Vec<_>>()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

fn bytes(state: &NamedTensors) -> Vec<(String, Vec<f64>)> {
    let values = |t: &Tensor| Vec::<f64>::try_from(t.detach().to_kind(Kind::Double).reshape([-1])).unwrap();
    state.iter().map(|(name, tensor)| (name.to_owned(), values(tensor))).collect()
}

fn folder(path: &std::path::Path, data: &Dataset) -> RunFolder {
    let config = RunConfig {
        run: RunInfo {
            model: "gaussian".to_owned(),
            family: Family::Baseline,
            dataset: "blob".to_owned(),
            budget: Budget::Steps(40),
            seed: 7,
            device: "cpu".to_owned(),
            threads: 1,
            tool_version: "0".to_owned(),
            libtorch_version: LIBTORCH_VERSION.to_owned(),
        },
        model: gen_core::config::to_table(&Gaussian::default_config(&data.spec)).unwrap(),
        training: Gaussian::default_training(&data.spec),
        data: data.spec.clone(),
    };
    RunFolder::create(path, config).unwrap()
}

#[test]
fn a_resumed_run_ends_with_the_same_bytes_and_history() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let uninterrupted = folder(&temp.path().join("a"), &data);
    let interrupted = folder(&temp.path().join("b"), &data);

    let (mut model, training) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training.clone(), Budget::Steps(40), 7).unwrap();
    while let Some(record) = trainer.advance().unwrap() {
        uninterrupted.log(&record).unwrap();
    }
    let expected = bytes(&trainer.state());

    let (mut model, _) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training.clone(), Budget::Steps(40), 7).unwrap();
    for i in 0..6 {
        interrupted.log(&trainer.advance().unwrap().unwrap()).unwrap();
        if i == 3 {
            interrupted.save(&mut trainer).unwrap();
        }
    }
    drop(trainer);

    // Another process: a fresh model from the folder alone.
    let reopened = RunFolder::open(temp.path().join("b")).unwrap();
    let mut model = reopened.build([&ModelEntry::of::<Gaussian>()], Device::Cpu).unwrap();
    let mut trainer = Trainer::new(model.as_mut(), &data, training, Budget::Steps(40), 7).unwrap();
    let checkpoint = reopened.require_checkpoint().unwrap();
    assert_eq!(checkpoint.progress.step, 16);
    trainer.restore(&checkpoint.state, checkpoint.progress).unwrap();
    reopened.rewind_history(16).unwrap();
    while let Some(record) = trainer.advance().unwrap() {
        reopened.log(&record).unwrap();
    }
    assert_eq!(bytes(&trainer.state()), expected);

    let without_clocks = |name: &str| -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_path(temp.path().join(name).join("history.csv")).unwrap();
        let keep = [0, 1, 5, 7, 8];
        reader
            .records()
            .map(|row| row.unwrap())
            .map(|row| keep.iter().map(|i| row[*i].to_owned()).collect())
            .collect()
    };
    assert_eq!(without_clocks("a"), without_clocks("b"));
    assert_eq!(without_clocks("a").len(), 10);
}

#[test]
fn validation_finds_the_best_weights_and_changes_nothing() {
    let x = Tensor::randn([60, 2], (Kind::Float, Device::Cpu)) * 0.5 + 2.0;
    let part = |start, n| Split::unlabelled(x.narrow(0, start, n));
    let data = Dataset::from_splits("x", part(0, 40), Some(part(40, 20)), None, Vec::new()).unwrap();
    let run = |rows: usize| {
        let (mut model, training) = default(&data);
        let training = TrainConfig { validation_rows: rows, ..training };
        let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(24), 7).unwrap();
        let mut found = Vec::new();
        while trainer.advance().unwrap().is_some() {
            found.extend(trainer.validate().unwrap());
        }
        let best = trainer.best();
        (bytes(&trainer.state()), found, best)
    };
    let (plain, none, no_best) = run(0);
    assert!(none.is_empty() && no_best.is_none());
    let (state, found, best) = run(12);
    assert_eq!(state, plain);
    assert_eq!(found.iter().map(|record| record.progress.step).collect::<Vec<_>>(), [4, 8, 12, 16, 20, 24]);
    assert!(found.iter().all(|record| record.rows == 12 && record.objective == "squared-distance"));
    let least = found.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap();
    assert_eq!(best, Some(Validated { step: least.progress.step, loss: least.loss }));
    assert!(found.iter().filter(|record| record.is_best).all(|record| record.loss >= least.loss));
    assert_eq!(
        run(12).1.iter().map(|r| r.loss).collect::<Vec<_>>(),
        found.iter().map(|r| r.loss).collect::<Vec<_>>()
    );
    assert_eq!(run(99).1[0].rows, 20, "no more than there are");
}

/// The history is that of a run without pauses, and so is the end, wherever a process stops.
#[test]
fn a_run_may_pause_and_be_resumed_at_any_step() {
    let data = data();
    let losses = |records: &[LogRecord]| -> Vec<_> {
        records.iter().map(|record| (record.progress.step, record.lr_scale, record.losses.clone())).collect()
    };
    let (mut model, training) = default(&data);
    // The last row is shorter than the others.
    let mut whole = Trainer::new(&mut model, &data, training.clone(), Budget::Steps(18), 7).unwrap();
    let expected = losses(&run_to_end(&mut whole));
    assert_eq!(expected.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [4, 8, 12, 16, 18]);
    let end = bytes(&whole.state());

    for pause in 1..18 {
        let temp = tempfile::tempdir().unwrap();
        let (mut model, _) = default(&data);
        let mut first = Trainer::new(&mut model, &data, training.clone(), Budget::Steps(18), 7).unwrap();
        let run = folder(&temp.path().join("run"), &data);
        let mut records = Vec::new();
        while first.progress().step < pause {
            match first.advance_until(|trainer| trainer.progress().step == pause).unwrap() {
                Stretch::Row(record) => records.push(record),
                Stretch::Paused => assert_eq!(first.progress().step, pause),
                Stretch::Finished => unreachable!("the budget is 18 steps"),
            }
        }
        run.save(&mut first).unwrap();

        let (mut model, _) = default(&data);
        let mut second = Trainer::new(&mut model, &data, training.clone(), Budget::Steps(18), 7).unwrap();
        assert!(run.restore(&mut second).unwrap().is_empty());
        records.extend(run_to_end(&mut second));
        assert_eq!(losses(&records), expected, "a pause at step {pause}");
        assert_eq!(bytes(&second.state()), end, "a pause at step {pause}");
    }
}

#[test]
fn a_torn_checkpoint_gives_way_to_the_one_before() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let folder = folder(&temp.path().join("run"), &data);
    assert!(folder.checkpoint().unwrap().is_none());
    let (mut model, training) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(40), 7).unwrap();
    for _ in 0..2 {
        trainer.advance().unwrap();
        folder.save(&mut trainer).unwrap();
    }
    assert_eq!(folder.require_checkpoint().unwrap().progress.step, 8);
    let weights = temp.path().join("run/checkpoint/latest/weights.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(folder.require_checkpoint().unwrap().progress.step, 4);
    std::fs::remove_dir_all(temp.path().join("run/checkpoint/previous")).unwrap();
    let message = folder.checkpoint().unwrap_err().to_string();
    assert!(
        message.contains("weights.safetensors") && message.contains("not a whole checkpoint"),
        "{message}"
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_with_its_name_and_step() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let folder = folder(&temp.path().join("run"), &data);
    let mut model = build(&data, Config { learning_rate: 0.05, fail_at: 10 });
    let training = Gaussian::default_training(&data.spec);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(40), 7).unwrap();
    trainer.advance().unwrap();
    folder.save(&mut trainer).unwrap();
    trainer.advance().unwrap();
    let error = trainer.advance().unwrap_err();
    assert!(
        matches!(&error, Error::NonFinite { step: 10, loss, checkpoint: Some(4), .. } if loss == "nll"),
        "{error}"
    );
    assert_eq!(error.to_string(), "the loss `nll` is NaN at step 10; the last good checkpoint is of step 4");
}

#[test]
fn a_folder_is_one_run() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let first = folder(temp.path(), &data);
    let config = first.config().clone();
    // Who trains holds the folder; who reads does not ask.
    for second in [RunFolder::create(temp.path(), config.clone()), RunFolder::resume(temp.path())] {
        let message = second.unwrap_err().to_string();
        assert!(message.contains("another process is training in"), "{message}");
    }
    assert_eq!(RunFolder::open(temp.path()).unwrap().config(), &config);
    drop(first);
    drop(RunFolder::resume(temp.path()).unwrap());
    let again = RunFolder::create(temp.path(), config).unwrap_err().to_string();
    assert!(again.contains("holds a run already"), "{again}");
    let none = RunFolder::open(temp.path().join("none")).unwrap_err().to_string();
    assert!(none.contains("there is no run in"), "{none}");
}

#[test]
fn data_of_another_shape_is_refused() {
    let data = data();
    let (mut model, training) = default(&data);
    let other = Dataset::from_tensor("other", Tensor::zeros([10, 3], (Kind::Float, Device::Cpu))).unwrap();
    assert!(Trainer::new(&mut model, &other, training, Budget::Steps(1), 0).is_err());
}

/// Training rows around 20, and validation rows around `validation`.
fn split_data(validation: f64) -> Dataset {
    let noise = data().train.x - 2.0;
    let part = |start, n, mean: f64| Split::unlabelled(noise.narrow(0, start, n) + mean);
    let (train, held_out) = (part(0, 160, 20.0), part(160, 40, validation));
    Dataset::from_splits("split", train, Some(held_out), None, Vec::new()).unwrap()
}

fn impatient(patience: usize) -> TrainConfig {
    let training = Gaussian::default_training(&data().spec);
    TrainConfig { validation_rows: 40, validate_every: 3, patience, ..training }
}

/// Trains to the end with all validations that are due; the step and the loss of each.
fn train_and_validate<M: GenerativeModel + ?Sized>(trainer: &mut Trainer<'_, M>) -> Vec<(u64, f64)> {
    let mut found = Vec::new();
    while trainer.advance_until(Trainer::validation_is_due).unwrap() != Stretch::Finished {
        if trainer.validation_is_due() {
            let record = trainer.validate().unwrap().unwrap();
            found.push((record.progress.step, record.loss));
        }
    }
    found
}

#[test]
fn validations_that_get_worse_end_the_training() {
    // The further the mean comes on its way to 20, the further it is from -20.
    let data = split_data(-20.0);
    let run = |patience: usize| {
        let (mut model, _) = default(&data);
        let mut trainer = Trainer::new(&mut model, &data, impatient(patience), Budget::Steps(20), 7).unwrap();
        let found = train_and_validate(&mut trainer);
        assert!(trainer.finished());
        assert_eq!(trainer.best().unwrap().step, 3);
        assert_eq!(trainer.since_best(), found.len() - 1);
        let steps: Vec<u64> = found.iter().map(|(step, _)| *step).collect();
        (steps, trainer.stopped_early(), trainer.progress().step)
    };
    assert_eq!(run(1), (vec![3, 6], true, 6));
    assert_eq!(run(2), (vec![3, 6, 9], true, 9));
    // The last one is at the end of the budget.
    let all = vec![3, 6, 9, 12, 15, 18, 20];
    assert_eq!(run(0), (all.clone(), false, 20));
    assert_eq!(run(6), (all, false, 20), "the budget ends the run as the patience does");
}

#[test]
fn validations_that_get_better_do_not() {
    let data = split_data(20.0);
    let (mut model, _) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, impatient(1), Budget::Steps(20), 7).unwrap();
    let found = train_and_validate(&mut trainer);
    assert!(found.is_sorted_by(|(_, before), (_, after)| before > after), "{found:?}");
    assert_eq!((found.len(), trainer.since_best(), trainer.stopped_early()), (7, 0, false));
}

#[test]
fn a_run_that_is_resumed_at_any_step_stops_early_at_the_same() {
    let data = split_data(-20.0);
    let start = |model: &mut Gaussian, check: &mut dyn FnMut(&mut Trainer<'_, Gaussian>)| {
        let mut trainer = Trainer::new(model, &data, impatient(2), Budget::Steps(20), 7).unwrap();
        check(&mut trainer);
    };
    let mut expected = None;
    start(&mut default(&data).0, &mut |trainer| {
        train_and_validate(trainer);
        expected = Some((bytes(&trainer.state()), trainer.best(), trainer.progress().step));
    });
    let expected = expected.unwrap();
    assert_eq!(expected.2, 9);
    for pause in 1..=9 {
        let temp = tempfile::tempdir().unwrap();
        let run = folder(&temp.path().join("run"), &data);
        start(&mut default(&data).0, &mut |trainer| {
            while trainer.progress().step < pause {
                let stops = |trainer: &Trainer<'_, Gaussian>| {
                    trainer.validation_is_due() || trainer.progress().step == pause
                };
                trainer.advance_until(stops).unwrap();
                if trainer.validation_is_due() && trainer.validate().unwrap().unwrap().is_best {
                    run.save_best(trainer).unwrap();
                }
            }
            run.save(trainer).unwrap();
        });
        start(&mut default(&data).0, &mut |trainer| {
            assert!(run.restore(trainer).unwrap().is_empty());
            assert_eq!(trainer.finished(), pause == 9);
            train_and_validate(trainer);
            let found = (bytes(&trainer.state()), trainer.best(), trainer.progress().step);
            assert_eq!(found, expected, "a pause at step {pause}");
        });
    }
}

#[test]
fn patience_without_validations_is_refused() {
    let (whole, split) = (data(), split_data(20.0));
    let refused = |data: &Dataset, training: TrainConfig| {
        let (mut model, _) = default(data);
        Trainer::new(&mut model, data, training, Budget::Steps(20), 7).err().unwrap().to_string()
    };
    let none = TrainConfig { validation_rows: 0, ..impatient(2) };
    let message = refused(&split, none);
    assert!(message.contains("`patience` counts validations") && message.contains("is 0"), "{message}");
    let message = refused(&whole, impatient(0));
    assert!(message.contains("`validate_every`") && message.contains("`blob` has no"), "{message}");
}

#[test]
fn settings_from_before_there_was_patience_are_read() {
    let mut table = gen_core::config::to_table(&TrainConfig::default()).unwrap();
    for key in ["patience", "validate_every"] {
        assert!(table.remove(key).is_some());
    }
    assert_eq!(gen_core::config::from_table::<TrainConfig>(&table).unwrap(), TrainConfig::default());
}
