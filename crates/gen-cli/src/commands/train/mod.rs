//! `gen train`: trains a new run, or continues one.

mod args;
mod place;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Context;
use gen_core::data::{Dataset, Shape, Split};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::registry::BuildContext;
use gen_core::train::{Budget, TrainEvent, Trainer};
use gen_run::{LIBTORCH_VERSION, RunConfig, RunFolder, RunInfo};

use crate::device;
use crate::interrupt::{Interrupted, Signals};
use crate::progress::Progress;
use crate::settings::{Settings, SettingsFile, with_precision};
use crate::{catalog, message, pictures, registry};
pub(crate) use args::Args;
use place::Place;

/// The number of samples in each grid that a run saves.
const GRID: usize = 64;
/// The number of values in each histogram that a run of one-dimensional data saves.
const HISTOGRAM: usize = 2000;
/// The number of parts of the budget. A grid and a checkpoint are saved after each.
const PARTS: f64 = 10.0;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let file = SettingsFile::read(args.config.as_deref())?;
    let place = Place::of(args, &file)?;
    let device = args.compute.or(file.run.device.as_deref(), file.run.threads)?.start()?;
    let mut progress = Progress::new(args.progress);
    let entry = registry::find(&place.model)?;
    file.check_model(entry.name)?;
    let raw = match args.data {
        Some(_) => catalog::load(&place.dataset)?,
        None => catalog::load_of_run(&place.dataset, &place.path)?,
    };
    let set = with_precision(&args.set, args.precision);
    let settings = match place.before() {
        Some(before) => Settings::of_run(&entry, before, &set, &file)?,
        None => Settings::resolve(&entry, &raw, &set, &file)?,
    };
    let data = raw.with_options(&settings.options)?.to_device(device);
    file.check_data(&data.spec)?;
    let config = RunConfig {
        run: RunInfo {
            model: entry.name.to_owned(),
            family: entry.family.to_owned(),
            dataset: place.dataset.clone(),
            budget: place.budget,
            seed: place.seed,
            device: device::name(device).to_owned(),
            threads: tch::get_num_threads(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch_version: LIBTORCH_VERSION.to_owned(),
            earlier_budgets: Vec::new(),
        },
        model: settings.model,
        training: settings.training,
        sampling: settings.sampling,
        data: data.spec.clone(),
    };
    let context = BuildContext { data: data.spec.clone(), device, seed: place.seed };
    let mut model = entry.build(&config.model, &context)?;
    model.set_sampling_options(&config.sampling)?;
    if model.density().is_some() {
        catalog::tell_of_discrete_columns(&data)?;
    }
    // Everything is checked before the folder is touched.
    let mut trainer = Trainer::new(model.as_mut(), &data, config.training.clone(), place.budget, place.seed)?;
    place.check(&config)?;
    if args.dry_run {
        return Ok(std::io::stdout().lock().write_all(config.to_toml()?.as_bytes())?);
    }
    // Signals are caught before the folder is made, so that none leaves an unfinished folder behind.
    let signals = Signals::catch().context("cannot catch Ctrl-C")?;
    let folder = place.open(config, &mut trainer, &progress)?;
    let run = Run { folder: &folder, data: &data, seed: place.seed, checkpoint_every: args.checkpoint_every };
    run.train(trainer, &signals, &mut progress)
}

/// The parts of a training besides the trainer.
struct Run<'a> {
    folder: &'a RunFolder,
    data: &'a Dataset,
    seed: u64,
    checkpoint_every: Budget,
}

impl Run<'_> {
    fn train(
        &self,
        mut trainer: Trainer<'_, dyn GenerativeModel>,
        signals: &Signals,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        progress.begin();
        let result = self.until_done(&mut trainer, signals, progress);
        progress.finish();
        result?;
        if let Some(reason) = early_stop(&trainer) {
            progress.note(&reason);
        }
        let done = trainer.progress();
        progress.note(&format!(
            "{}: {} steps in {:.1} s of training, {}",
            self.folder.name(),
            done.step,
            done.seconds,
            self.folder.path().display()
        ));
        Ok(())
    }

    /// Trains to the end of the budget, until the patience is used up, or until the first signal.
    ///
    /// The work after a step depends on the step alone, so that a resumed run goes on as an uninterrupted one: first
    /// the row of the history, then the grid, then the validation, and last the checkpoint. After a validation that
    /// ends the run come the last row and grid.
    fn until_done<M: GenerativeModel + ?Sized>(
        &self,
        trainer: &mut Trainer<'_, M>,
        signals: &Signals,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let mut next_part = part(trainer) + 1.0;
        let mut saves = Saves { every: self.checkpoint_every, last: trainer.progress() };
        loop {
            let stretch = trainer.advance_until(|trainer| {
                progress.step(trainer.progress(), trainer.budget_used());
                signals.exit_code().is_some()
                    || part(trainer) >= next_part
                    || trainer.validation_is_due()
                    || saves.is_due(trainer)
            })?;
            match stretch {
                TrainEvent::Row(record) => {
                    self.folder.log(&record).with_context(|| not_saved(trainer, saves.last.step))?;
                    progress.show(&record);
                }
                TrainEvent::Paused => {}
                TrainEvent::Finished => return Ok(()),
            }
            let part_done = part(trainer) >= next_part;
            if part_done {
                next_part = part(trainer) + 1.0;
                self.save_grid(trainer, progress);
            }
            let validated = match self.folder.config().training.validate_every {
                0 => part_done,
                _ => trainer.validation_is_due(),
            };
            if validated {
                let _shown = progress.during("validation");
                validate(self.folder, trainer, saves.last.step)?;
            }
            if trainer.stopped_early() {
                if let TrainEvent::Row(record) = trainer.advance_until(|_| false)? {
                    self.folder.log(&record).with_context(|| not_saved(trainer, saves.last.step))?;
                    progress.show(&record);
                }
                if !part_done {
                    self.save_grid(trainer, progress);
                }
            }
            let interrupted = signals.exit_code().filter(|_| !trainer.finished());
            if part_done || validated || interrupted.is_some() || saves.is_due(trainer) {
                self.save(trainer, saves.last.step)?;
                saves.last = trainer.progress();
            }
            if let Some(exit_code) = interrupted {
                let message = format!(
                    "interrupted at step {} ({:.0} % of the budget), saved in {}; the same command with --resume \
                     continues the run",
                    trainer.progress().step,
                    100.0 * trainer.budget_used(),
                    self.folder.path().display()
                );
                return Err(Interrupted { exit_code, message }.into());
            }
        }
    }

    fn save<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>, last: u64) -> anyhow::Result<()> {
        self.folder.save(trainer).with_context(|| not_saved(trainer, last))
    }

    /// Saves a picture of samples with the current weights, for one-dimensional data beside training rows. An error or
    /// a panic is a warning: it must not end the run.
    fn save_grid<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>, progress: &Progress) {
        let _shown = progress.during("samples");
        let drawn = catch_unwind(AssertUnwindSafe(|| self.draw_grid(trainer)));
        let reason = match drawn {
            Ok(Ok(())) => return,
            Ok(Err(error)) => message::in_one_line(&error),
            Err(_) => "drawing it panicked".to_owned(),
        };
        let step = trainer.progress().step;
        progress.note(&format!("warning: there is no picture of step {step}, training goes on: {reason}"));
    }

    fn draw_grid<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>) -> anyhow::Result<()> {
        let is_one_dimensional = self.data.spec.shape == Shape::Points { dimension: 1 };
        let n = if is_one_dimensional { HISTOGRAM } else { GRID };
        let condition = trainer.model().card().conditioning.draw(&self.data.train, n, self.seed);
        let request = SampleRequest::new(n, self.seed).given(condition);
        let samples = trainer.averaged(|model| model.sample(&request))?;
        let step = trainer.progress().step;
        let path = self.folder.sample_path(&format!("step-{step:07}"));
        let rows = |split: &Split| split.x.narrow(0, 0, split.len().min(HISTOGRAM) as i64);
        let sets = [("samples", &samples), ("training rows", &rows(&self.data.train))];
        pictures::save_samples(&format!("{} at step {step}", trainer.model().card().name), &sets, &path, 8)
    }
}

/// The message for a training that ended before its budget.
fn early_stop<M: GenerativeModel + ?Sized>(trainer: &Trainer<'_, M>) -> Option<String> {
    if !trainer.stopped_early() {
        return None;
    }
    let found = match trainer.best() {
        Some(best) => format!(
            "was better than that of step {}, whose weights `sample --best` and `evaluate --best` use",
            best.step
        ),
        None => "gave a number".to_owned(),
    };
    Some(format!(
        "stopped early at step {} ({:.0} % of the budget): none of the last {} validations {found}",
        trainer.progress().step,
        100.0 * trainer.budget_used(),
        trainer.since_best()
    ))
}

/// The message for a step that cannot be saved; the last checkpoint is of step `last`, 0 if there is none.
fn not_saved<M: GenerativeModel + ?Sized>(trainer: &Trainer<'_, M>, last: u64) -> String {
    let step = trainer.progress().step;
    match last {
        0 => format!("step {step} cannot be saved, and there is no earlier checkpoint"),
        _ => format!(
            "step {step} cannot be saved; the checkpoint of step {last} is whole, and the same command with --resume \
             continues from it"
        ),
    }
}

/// Validates the weights, and saves them if they are the best so far. The last checkpoint is of step `last`.
fn validate<M: GenerativeModel + ?Sized>(
    folder: &RunFolder,
    trainer: &mut Trainer<'_, M>,
    last: u64,
) -> anyhow::Result<()> {
    let Some(record) = trainer.validate()? else { return Ok(()) };
    folder.log_validation(&record).with_context(|| not_saved(trainer, last))?;
    if record.is_best {
        folder.save_best(trainer).with_context(|| not_saved(trainer, last))?;
    }
    Ok(())
}

/// The number of whole parts of the budget that are used.
fn part<M: GenerativeModel + ?Sized>(trainer: &Trainer<'_, M>) -> f64 {
    (trainer.budget_used() * PARTS).floor()
}

/// The schedule of checkpoints besides those after each part.
struct Saves {
    every: Budget,
    last: gen_core::train::Progress,
}

impl Saves {
    fn is_due<M: GenerativeModel + ?Sized>(&self, trainer: &Trainer<'_, M>) -> bool {
        let now = trainer.progress();
        match (self.every, trainer.steps_in(self.every)) {
            (Budget::Seconds(seconds), _) => now.seconds - self.last.seconds >= seconds,
            (_, Some(steps)) => now.step - self.last.step >= steps,
            (_, None) => false,
        }
    }
}
