use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use tch::{Device, Tensor};

use super::budget::Budget;
use super::clock::{RunningClock, cpu_seconds, rss_mib};
use super::config::TrainConfig;
use super::record::{LogRecord, OpenRow, Progress, Row, TrainEvent};
use super::validation::{self, Validated, Validation, ValidationRecord};
use crate::data::{Batches, Dataset};
use crate::error::{Error, Result};
use crate::model::{GenerativeModel, Step};
use crate::optim::Ema;
use crate::params::NamedTensors;
use crate::rng::{Purpose, stream};

/// Trains one model on one data set, a row of the history at a time.
///
/// The caller decides what happens between rows: printing, sampling, saving. The clock of the budget stands still then,
/// and while the process is stopped or the machine sleeps.
///
/// ```no_run
/// use gen_core::train::{Budget, TrainConfig, Trainer};
/// # use gen_core::{Result, data::Dataset, model::GenerativeModel};
/// # fn train(model: &mut dyn GenerativeModel, data: &Dataset) -> Result<()> {
///
/// let mut trainer = Trainer::new(model, data, TrainConfig::default(), Budget::Epochs(5), 0)?;
/// while let Some(record) = trainer.advance()? {
///     println!("{} {:?}", record.progress.step, record.losses);
/// }
/// trainer.finish()
/// # }
/// ```
pub struct Trainer<'a, M: GenerativeModel + ?Sized> {
    model: &'a mut M,
    batches: Batches<'a>,
    device: Device,
    config: TrainConfig,
    budget: Budget,
    seed: u64,
    clock: RunningClock,
    progress: Progress,
    row: Row,
    losses: Vec<&'static str>,
    weights: NamedTensors,
    ema: Option<Ema>,
    last_checkpoint: Option<u64>,
    validation: Option<Validation>,
    best: Option<Validated>,
    since_best: usize,
}

impl<'a, M: GenerativeModel + ?Sized> Trainer<'a, M> {
    /// A run at its start. `seed` determines all its randomness.
    ///
    /// # Errors
    /// When the data is empty or differs from what the model was built for, or a setting is out of range.
    pub fn new(model: &'a mut M, data: &'a Dataset, config: TrainConfig, budget: Budget, seed: u64) -> Result<Self> {
        let expected = &model.card().data;
        if data.spec.shape != expected.shape || data.spec.values != expected.values {
            return Err(Error::invalid(format!(
                "`{}` was built for {:?} {:?}, `{}` has {:?} {:?}",
                model.card().name,
                expected.values,
                expected.shape,
                data.spec.name,
                data.spec.values,
                data.spec.shape
            )));
        }
        config.check()?;
        budget.check()?;
        config.precision.check(data.train.x.device())?;
        let validation = Validation::new(data, config.validation_rows, seed);
        match &validation {
            Some(validation) => validation.check(model)?,
            None => validation::check_unused(&config, data)?,
        }
        let (weights, losses) = (model.weights(), model.losses());
        let ema = (config.ema_decay > 0.0).then(|| Ema::new(model.weights(), config.ema_decay));
        Ok(Trainer {
            batches: Batches::new(&data.train, &data.spec, config.batch_size, seed),
            device: data.train.x.device(),
            model,
            config,
            budget,
            seed,
            clock: RunningClock::start(),
            progress: Progress::default(),
            row: Row::default(),
            losses,
            weights,
            ema,
            last_checkpoint: None,
            validation,
            best: None,
            since_best: 0,
        })
    }

    /// Trains up to the next row of the history; `None` when the training has ended.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a loss is infinite or not a number, and those of the model's step.
    pub fn advance(&mut self) -> Result<Option<LogRecord>> {
        match self.advance_until(|_| false)? {
            TrainEvent::Row(record) => Ok(Some(record)),
            TrainEvent::Paused | TrainEvent::Finished => Ok(None),
        }
    }

    /// As [`Trainer::advance`], but asks after every step whether to `pause`. It takes at least one step.
    ///
    /// Pauses do not affect the rows of the history: the next call continues an unfinished row, and another process
    /// does so after [`Trainer::restore_row`].
    ///
    /// # Errors
    /// As [`Trainer::advance`].
    pub fn advance_until(&mut self, mut pause: impl FnMut(&Self) -> bool) -> Result<TrainEvent> {
        let start = self.progress;
        let (wall, cpu) = (self.clock.seconds(), cpu_seconds());
        while !self.finished() {
            self.train_step()?;
            self.progress.seconds = start.seconds + self.clock.seconds() - wall;
            if self.row_is_full() || pause(self) {
                break;
            }
        }
        if self.progress.step == self.row.since.step {
            return Ok(TrainEvent::Finished);
        }
        self.check_finite(self.row.sums())?;
        self.progress.seconds = start.seconds + self.clock.seconds() - wall;
        self.progress.cpu_seconds = start.cpu_seconds + cpu_seconds() - cpu;
        if self.row_is_full() || self.finished() {
            Ok(TrainEvent::Row(self.close_row()))
        } else {
            Ok(TrainEvent::Paused)
        }
    }

    fn train_step(&mut self) -> Result<()> {
        let step = self.step();
        self.row.lr_scale = step.lr_scale;
        let batch = self.batches.get(step.index, &step.rng);
        let region = self.config.precision.region();
        let losses = self.model.train_step(&batch, &step)?;
        drop(region);
        if let Some((name, _)) = losses.iter().find(|(name, _)| !self.losses.contains(name)) {
            let model = self.model.card().name;
            return Err(Error::invalid(format!("`{model}` reports a loss `{name}` that it has not declared")));
        }
        if self.device == Device::Cpu {
            // On an accelerator this would wait for the device at every step; `advance_until` checks the sums instead.
            self.check_finite(losses.iter())?;
        }
        if let Some(ema) = &mut self.ema {
            ema.update()?;
        }
        self.row.add(losses.iter());
        self.progress.step += 1;
        self.progress.images_seen += batch.len() as u64;
        Ok(())
    }

    fn row_is_full(&self) -> bool {
        self.progress.step.is_multiple_of(self.config.log_every)
    }

    fn close_row(&mut self) -> LogRecord {
        let row = std::mem::replace(&mut self.row, Row::new(self.progress));
        let rows = (self.progress.images_seen - row.since.images_seen) as f64;
        LogRecord {
            progress: self.progress,
            budget_used: self.budget_used(),
            lr_scale: row.lr_scale,
            losses: row.means(&self.losses),
            names: self.losses.clone(),
            images_per_second: rows / (self.progress.seconds - row.since.seconds).max(1e-9),
            rss_mib: rss_mib(),
        }
    }

    /// Puts the averaged weights into the model, where an average is kept.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn finish(self) -> Result<()> {
        match &self.ema {
            Some(ema) => self.weights.assign(ema.average()),
            None => Ok(()),
        }
    }

    /// Whether the training has ended: the budget is used up, or it [stopped early](Trainer::stopped_early).
    pub fn finished(&self) -> bool {
        self.budget_used() >= 1.0 || self.is_out_of_patience()
    }

    /// Whether the training ended before its budget, after `patience` validations in a row without an improvement.
    pub fn stopped_early(&self) -> bool {
        self.budget_used() < 1.0 && self.is_out_of_patience()
    }

    fn is_out_of_patience(&self) -> bool {
        self.config.patience > 0 && self.since_best >= self.config.patience
    }

    /// The progress of the run.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The number of steps of a budget in this run; `None` for a budget of seconds.
    pub fn steps_in(&self, budget: Budget) -> Option<u64> {
        budget.steps(self.batches.batch_size(), self.batches.per_epoch())
    }

    /// The used share of the budget, in [0, 1].
    pub fn budget_used(&self) -> f64 {
        let used = match (self.budget, self.steps_in(self.budget)) {
            (Budget::Seconds(seconds), _) => self.progress.seconds / seconds,
            (_, Some(steps)) => self.progress.step as f64 / steps as f64,
            (_, None) => 1.0,
        };
        used.min(1.0)
    }

    /// Calls `f` on the model with its averaged weights, where an average is kept, then restores the live ones.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn averaged<T>(&mut self, f: impl FnOnce(&M) -> Result<T>) -> Result<T> {
        if let Some(ema) = &mut self.ema {
            ema.swap()?;
        }
        // The live weights return even if `f` panics.
        let result = panic::catch_unwind(AssertUnwindSafe(|| f(&*self.model)));
        if let Some(ema) = &mut self.ema {
            ema.swap()?;
        }
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// The model with its live weights.
    pub fn model(&self) -> &M {
        self.model
    }

    /// The averaged weights, where an average is kept.
    pub fn averaged_weights(&self) -> Option<&NamedTensors> {
        self.ema.as_ref().map(Ema::average)
    }

    /// Whether a validation is due after the current step, by `validate_every` or because the budget ends. Never due
    /// where `validate_every` is 0 and the caller chooses, or where the training stopped early.
    pub fn validation_is_due(&self) -> bool {
        let every = self.config.validate_every;
        let is_due = self.progress.step.is_multiple_of(every) || self.budget_used() >= 1.0;
        every > 0 && is_due && !self.stopped_early()
    }

    /// Computes the validation loss of the averaged weights on held-out rows; `None` where there are no rows or the
    /// model has no such loss. Rows and noise are the same at every call. A validation has no effect on training,
    /// except that `patience` may end it.
    ///
    /// # Errors
    /// Those of the model.
    pub fn validate(&mut self) -> Result<Option<ValidationRecord>> {
        let Some(validation) = self.validation.take() else { return Ok(None) };
        let start = Instant::now();
        let measured = self.averaged(|model| validation.measure(model));
        let rows = validation.rows();
        self.validation = Some(validation);
        let Some((objective, loss)) = measured? else { return Ok(None) };
        let now = Validated { step: self.progress.step, loss };
        // NaN is never the best.
        let is_best = !loss.is_nan() && self.best.is_none_or(|best| loss < best.loss);
        if is_best {
            self.best = Some(now);
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(Some(ValidationRecord { progress: self.progress, objective, rows, loss, seconds, is_best }))
    }

    /// The best validation so far.
    pub fn best(&self) -> Option<Validated> {
        self.best
    }

    /// The number of validations after the best one, which `patience` limits.
    pub fn since_best(&self) -> usize {
        self.since_best
    }

    /// Restores the results of [`Trainer::best`] and [`Trainer::since_best`], after [`Trainer::restore`].
    pub fn restore_best(&mut self, best: Option<Validated>, since_best: usize) {
        self.best = best;
        self.since_best = since_best;
    }

    /// Handles to weights, training state and average: all that a resumed run needs besides [`Progress`] and
    /// [`OpenRow`].
    pub fn state(&self) -> NamedTensors {
        let mut state = self.model.training_state().prefixed("training");
        state.extend("weights", self.model.weights());
        if let Some(ema) = &self.ema {
            state.extend("ema", ema.state());
        }
        state
    }

    /// The unfinished row of the history; empty after a complete row.
    pub fn open_row(&self) -> OpenRow {
        self.row.open()
    }

    /// Continues from the results of [`Trainer::state`] and [`Trainer::progress`], with a new row of the history.
    ///
    /// # Errors
    /// When the tensors do not fit the model; the run is unchanged then.
    pub fn restore(&mut self, state: &NamedTensors, progress: Progress) -> Result<()> {
        self.state().assign(state)?;
        self.progress = progress;
        self.row = Row::new(progress);
        self.last_checkpoint = Some(progress.step);
        Ok(())
    }

    /// Continues the row of [`Trainer::open_row`], after [`Trainer::restore`].
    ///
    /// # Errors
    /// When the row begins after the current step of the run.
    pub fn restore_row(&mut self, row: OpenRow) -> Result<()> {
        if row.since.step > self.progress.step || row.since.images_seen > self.progress.images_seen {
            return Err(Error::invalid(format!(
                "a row of the history that begins at step {} does not belong to a run at step {}",
                row.since.step, self.progress.step
            )));
        }
        self.row = Row::resume(row);
        Ok(())
    }

    /// Records that the current state is saved, so that errors can name the last checkpoint.
    pub fn saved(&mut self) {
        self.last_checkpoint = Some(self.progress.step);
    }

    /// The factor on the learning rate at the next step: warm-up times schedule.
    pub fn learning_rate_scale(&self) -> f64 {
        let warmup = (self.progress.step + 1) as f64 / self.config.warmup_steps.max(1) as f64;
        warmup.min(1.0) * self.config.schedule.factor(self.budget_used())
    }

    fn step(&self) -> Step {
        Step {
            index: self.progress.step,
            progress: self.budget_used(),
            lr_scale: self.learning_rate_scale(),
            rng: stream(self.seed, Purpose::Train, self.progress.step),
        }
    }

    fn check_finite<'t>(&self, losses: impl Iterator<Item = (&'static str, &'t Tensor)>) -> Result<()> {
        for (loss, value) in losses {
            let value = value.double_value(&[]);
            if !value.is_finite() {
                return Err(Error::NonFinite {
                    step: self.progress.step + 1,
                    loss: loss.to_owned(),
                    value,
                    checkpoint: self.last_checkpoint,
                });
            }
        }
        Ok(())
    }
}
