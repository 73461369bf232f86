//! Early stopping.

use gen_core::data::{Dataset, Split};
use gen_core::model::GenerativeModel;
use gen_core::train::{Budget, TrainConfig, TrainEvent, Trainer};

use crate::gaussian::{GAUSSIAN, Gaussian, data, default};
use crate::{bytes, folder};

/// Training rows around 20, and validation rows around `validation`.
fn split_data(validation: f64) -> Dataset {
    let noise = data().train.x - 2.0;
    let part = |start, n, mean: f64| Split::unlabelled(noise.narrow(0, start, n) + mean);
    let (train, held_out) = (part(0, 160, 20.0), part(160, 40, validation));
    Dataset::from_splits("split", train, Some(held_out), None, Vec::new()).unwrap()
}

fn impatient(patience: usize) -> TrainConfig {
    let training = GAUSSIAN.training(&data().spec);
    TrainConfig { validation_rows: 40, validate_every: 3, patience, ..training }
}

/// Trains to the end with all validations that are due; the step and the loss of each.
fn train_and_validate<M: GenerativeModel + ?Sized>(trainer: &mut Trainer<'_, M>) -> Vec<(u64, f64)> {
    let mut found = Vec::new();
    while trainer.advance_until(Trainer::validation_is_due).unwrap() != TrainEvent::Finished {
        if trainer.validation_is_due() {
            let record = trainer.validate().unwrap().unwrap();
            found.push((record.progress.step, record.loss));
        }
    }
    found
}

#[test]
fn validations_that_get_worse_end_the_training() {
    // The mean moves towards 20, away from -20.
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
                let stops =
                    |trainer: &Trainer<'_, Gaussian>| trainer.validation_is_due() || trainer.progress().step == pause;
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
fn configurations_without_patience_are_read() {
    let mut table = gen_core::config::to_table(&TrainConfig::default()).unwrap();
    for key in ["patience", "validate_every"] {
        assert!(table.remove(key).is_some());
    }
    assert_eq!(gen_core::config::from_table::<TrainConfig>(&table).unwrap(), TrainConfig::default());
}
