//! The training loop and run folders, on a model of two parameters: a Gaussian fitted by maximum likelihood.
#![allow(clippy::unwrap_used)]

mod early_stopping;
mod gaussian;

use gen_core::Error;
use gen_core::data::{Dataset, Split};
use gen_core::model::GenerativeModel;
use gen_core::params::NamedTensors;
use gen_core::registry::ModelEntry;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_core::train::{Budget, LogRecord, TrainConfig, TrainEvent, Trainer, Validated};
use gen_run::{LIBTORCH_VERSION, RunConfig, RunFolder, RunInfo};
use tch::{Device, Kind, Tensor};

use crate::gaussian::{Config, GAUSSIAN, Gaussian, build, data, default};

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
    // The maximum of the likelihood, up to the noise of the last steps.
    let weights = model.weights();
    let learned = |name: &str| weights.get(name).unwrap().shallow_clone();
    let of_data = |values: &[f64]| Tensor::from_slice(values);
    assert_close(&learned("mean"), &of_data(&data.spec.mean), 0.0, 0.02);
    assert_close(&learned("log_std").exp(), &of_data(&data.spec.std), 0.03, 0.0);
}

/// The learning rate rises over the first steps, falls with the budget, and is the length of the steps.
#[test]
fn the_learning_rate_follows_warmup_and_schedule() {
    let data = data();
    let (mut model, training) = default(&data);
    let training = TrainConfig { log_every: 1, ..training };
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(20), 7).unwrap();
    let records = run_to_end(&mut trainer);
    assert_eq!(records.len(), 20);
    for (step, record) in records.iter().enumerate() {
        let step = step as f64;
        let warmup = ((step + 1.0) / 5.0).min(1.0);
        let expected = warmup * (1.0 + (std::f64::consts::PI * step / 20.0).cos()) / 2.0;
        assert_close_f64(record.lr_scale, expected, 1e-12, 0.0);
    }
    // Adam's first step has the length of the learning rate, whatever the gradient.
    let moved = |warmup_steps: u64| {
        let (mut model, training) = default(&data);
        let before = model.weights().snapshot();
        let training = TrainConfig { warmup_steps, ema_decay: 0.0, ..training };
        let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(1), 7).unwrap();
        run_to_end(&mut trainer);
        trainer.finish().unwrap();
        (model.weights().get("mean").unwrap() - before.get("mean").unwrap()).abs().max().double_value(&[])
    };
    assert_close_f64(moved(0), 0.05, 1e-3, 0.0);
    assert_close_f64(moved(5), 0.01, 1e-3, 0.0);
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
            earlier_budgets: Vec::new(),
            model: "gaussian".to_owned(),
            family: "baseline".to_owned(),
            dataset: "blob".to_owned(),
            budget: Budget::Steps(40),
            seed: 7,
            device: "cpu".to_owned(),
            threads: 1,
            tool_version: "0".to_owned(),
            libtorch_version: LIBTORCH_VERSION.to_owned(),
        },
        model: gen_core::config::to_table(&GAUSSIAN.config(&data.spec)).unwrap(),
        training: GAUSSIAN.training(&data.spec),
        sampling: toml::Table::new(),
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

    // As in another process: a new model from the folder alone.
    let reopened = RunFolder::open(temp.path().join("b")).unwrap();
    let mut model = reopened.build([&ModelEntry::of(&GAUSSIAN)], Device::Cpu).unwrap();
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
        reader.records().map(|row| row.unwrap()).map(|row| keep.iter().map(|i| row[*i].to_owned()).collect()).collect()
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
    assert_eq!(run(12).1.iter().map(|r| r.loss).collect::<Vec<_>>(), found.iter().map(|r| r.loss).collect::<Vec<_>>());
    assert_eq!(run(99).1[0].rows, 20, "no more than there are");
}

/// A pause at any step changes neither the history nor the end of a run.
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
                TrainEvent::Row(record) => records.push(record),
                TrainEvent::Paused => assert_eq!(first.progress().step, pause),
                TrainEvent::Finished => unreachable!("the budget is 18 steps"),
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
    assert!(message.contains("weights.safetensors") && message.contains("not a whole checkpoint"), "{message}");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_with_its_name_and_step() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let folder = folder(&temp.path().join("run"), &data);
    let mut model = build(&data, Config { learning_rate: 0.05, fail_at: 10 });
    let training = GAUSSIAN.training(&data.spec);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(40), 7).unwrap();
    trainer.advance().unwrap();
    folder.save(&mut trainer).unwrap();
    trainer.advance().unwrap();
    let error = trainer.advance().unwrap_err();
    assert!(matches!(&error, Error::NonFinite { step: 10, loss, checkpoint: Some(4), .. } if loss == "nll"), "{error}");
    assert_eq!(error.to_string(), "the loss `nll` is NaN at step 10; the last good checkpoint is of step 4");
}

#[test]
fn a_folder_is_one_run() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let first = folder(temp.path(), &data);
    let config = first.config().clone();
    // Training holds the lock; reading does not need it.
    for second in [RunFolder::create(temp.path(), config.clone()), RunFolder::resume(temp.path())] {
        let message = second.unwrap_err().to_string();
        assert!(message.contains("another process is training in"), "{message}");
    }
    assert_eq!(RunFolder::open(temp.path()).unwrap().config(), &config);
    drop(first);
    drop(RunFolder::resume(temp.path()).unwrap());
    // A run that has saved nothing is replaced, with what a killed process was writing.
    let samples = temp.path().join("samples");
    std::fs::create_dir_all(&samples).unwrap();
    for name in ["step-0000016.png", "step-0000016.png.RSkri2.tmp"] {
        std::fs::write(samples.join(name), "a part").unwrap();
    }
    let again = RunFolder::create(temp.path(), config.clone()).unwrap();
    assert_eq!(std::fs::read_dir(&samples).unwrap().count(), 0);
    let (mut model, training) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(1), 0).unwrap();
    again.save(&mut trainer).unwrap();
    drop(again);
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

/// The loss `lazy` of the model is that of every sixth step, the number of the step; a row has four steps.
#[test]
fn a_lazy_loss_is_the_mean_over_its_own_steps_and_empty_where_there_are_none() {
    let data = data();
    let temp = tempfile::tempdir().unwrap();
    let run = folder(temp.path(), &data);
    let (mut model, training) = default(&data);
    let mut trainer = Trainer::new(&mut model, &data, training, Budget::Steps(26), 7).unwrap();
    while let Some(record) = trainer.advance().unwrap() {
        run.log(&record).unwrap();
    }
    let text = std::fs::read_to_string(temp.path().join("history.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let at = |name: &str| rows[0].iter().position(|column| *column == name).unwrap();
    let lazy: Vec<&str> = rows[1..].iter().map(|row| row[at("loss_lazy")]).collect();
    assert_eq!(lazy, ["0", "6", "", "12", "18", "", "24"]);
    // The losses beside it keep their columns.
    assert!(rows[1..].iter().all(|row| row[at("loss_grad_norm")].parse::<f64>().is_ok() && row.len() == rows[0].len()));
}
