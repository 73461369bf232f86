//! `gen train`: a run, from its start or from where it was left.

mod place;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use anyhow::Context;
use gen_core::Precision;
use gen_core::data::{Dataset, Shape, Split};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::registry::BuildContext;
use gen_core::train::{Budget, TrainEvent, Trainer};
use gen_run::{LIBTORCH_VERSION, RunConfig, RunFolder, RunInfo};

use crate::device::{self, Compute};
use crate::interrupt::{Interrupted, Signals};
use crate::progress::{Progress, Style};
use crate::settings::{Settings, with_precision};
use crate::{arguments, catalog, pictures, registry};
use place::Place;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model; `gen list` shows them
    #[arg(required_unless_present = "resume")]
    model: Option<String>,

    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH (`gen data --help` has their options); with
    /// --resume where it lies now
    #[arg(long, required_unless_present = "resume")]
    data: Option<String>,

    /// How long: 90s, 5m, 20000steps, 1Mimages, 10epochs. With --resume all of it, what is used included
    #[arg(long, required_unless_present = "resume", allow_hyphen_values = true)]
    budget: Option<Budget>,

    /// The seed of all that is random [default: 0]
    #[arg(long, value_parser = arguments::seed)]
    seed: Option<u64>,

    /// The run folder
    #[arg(long, required_unless_present = "resume")]
    out: Option<PathBuf>,

    /// Change a setting of the model, the training or the data; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// A TOML file of settings, as a run's config.toml has them
    #[arg(long)]
    config: Option<PathBuf>,

    /// Continue the run in --out, or in RUN, from its latest checkpoint. What is not given is as it was. A longer --budget
    /// makes it go on beyond its end: the learning rate is then where the schedule of the longer budget has it
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,

    /// Save a checkpoint this often, besides after each tenth of the budget and each validation: 60s, 500steps, 2epochs
    #[arg(long, value_name = "INTERVAL", default_value = "5m")]
    checkpoint_every: Budget,

    /// Check the settings, write nothing and stop
    #[arg(long)]
    dry_run: bool,

    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    progress: Style,

    /// What convolutions and linear layers multiply in: f32, or bf16, which is faster and a little less exact
    #[arg(long)]
    precision: Option<Precision>,

    #[command(flatten)]
    compute: Compute,
}

/// Samples in each grid that a run saves, of images and of points.
const GRID: usize = 64;
/// Numbers in each histogram that a run saves, of samples and of data.
const HISTOGRAM: usize = 2000;
/// Parts of the budget after each of which a grid and a checkpoint are saved.
const PARTS: f64 = 10.0;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let place = Place::of(args)?;
    let device = args.compute.start()?;
    let mut progress = Progress::new(args.progress);
    let entry = registry::find(&place.model)?;
    let raw = match args.data {
        Some(_) => catalog::load(&place.dataset)?,
        None => catalog::load_of_run(&place.dataset, &place.path)?,
    };
    let set = with_precision(&args.set, args.precision);
    let settings = match place.before() {
        Some(before) => Settings::of_run(before, &set, args.config.as_deref())?,
        None => Settings::resolve(&entry, &raw, &set, args.config.as_deref())?,
    };
    let data = raw.with_options(&settings.options)?.to_device(device);
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
        data: data.spec.clone(),
    };
    let context = BuildContext { data: data.spec.clone(), device, seed: place.seed };
    let mut model = entry.build(&config.model, &context)?;
    if model.density().is_some() {
        catalog::tell_of_discrete_columns(&data)?;
    }
    // Whatever can be wrong is found before the folder is touched.
    let mut trainer = Trainer::new(model.as_mut(), &data, config.training.clone(), place.budget, place.seed)?;
    place.check(&config)?;
    if args.dry_run {
        return Ok(());
    }
    // Before there is a folder that a signal could leave behind, and before anyone is told that training begins.
    let signals = Signals::catch().context("cannot catch Ctrl-C")?;
    let folder = place.open(config, &mut trainer, &progress)?;
    let run = Run { folder: &folder, data: &data, seed: place.seed, checkpoint_every: args.checkpoint_every };
    run.train(trainer, &signals, &mut progress)
}

/// What a training needs besides the trainer.
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
        if let Some(reason) = why_early(&trainer) {
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

    /// Trains to the end of the budget, or to where its patience is, or to the first signal.
    ///
    /// What a step is followed by depends on the step alone, so that a run resumed there goes on as one that was not
    /// interrupted: first the row of the history, then the grid, the validation, last the checkpoint. A validation that ends
    /// the run is followed by the last row and grid.
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
                    "interrupted at step {} ({:.0} % of the budget), saved in {}; the same command with --resume goes on",
                    trainer.progress().step,
                    100.0 * trainer.budget_used(),
                    self.folder.path().display()
                );
                return Err(Interrupted { exit_code, message }.into());
            }
        }
    }

    fn save<M: GenerativeModel + ?Sized>(
        &self,
        trainer: &mut Trainer<'_, M>,
        last: u64,
    ) -> anyhow::Result<()> {
        self.folder.save(trainer).with_context(|| not_saved(trainer, last))
    }

    /// Samples of the weights as they are now, in one picture, beside data where they are numbers. A picture that fails is no
    /// reason to lose a run.
    fn save_grid<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>, progress: &Progress) {
        let _shown = progress.during("samples");
        let drawn = catch_unwind(AssertUnwindSafe(|| self.draw_grid(trainer)));
        let reason = match drawn {
            Ok(Ok(())) => return,
            Ok(Err(error)) => crate::in_one_line(&error),
            Err(_) => "the program failed".to_owned(),
        };
        let step = trainer.progress().step;
        progress.note(&format!("warning: there is no picture of step {step}, training goes on: {reason}"));
    }

    fn draw_grid<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>) -> anyhow::Result<()> {
        let of_numbers = self.data.spec.shape == Shape::Points { dimension: 1 };
        let request = SampleRequest::new(if of_numbers { HISTOGRAM } else { GRID }, self.seed);
        let samples = trainer.averaged(|model| model.sample(&request))?;
        let step = trainer.progress().step;
        let path = self.folder.sample_path(&format!("step-{step:07}"));
        let rows = |split: &Split| split.x.narrow(0, 0, split.len().min(HISTOGRAM) as i64);
        let sets = [("samples", &samples), ("training rows", &rows(&self.data.train))];
        pictures::save_samples(&format!("{} at step {step}", trainer.model().card().name), &sets, &path, 8)
    }
}

/// What to say of a training that ended before its budget.
fn why_early<M: GenerativeModel + ?Sized>(trainer: &Trainer<'_, M>) -> Option<String> {
    if !trainer.stopped_early() {
        return None;
    }
    let found = match trainer.best() {
        Some(best) => format!(
            "was better than that of step {}, whose weights `sample --best` and `evaluate --best` use",
            best.step
        ),
        None => "came to a number".to_owned(),
    };
    Some(format!(
        "stopped early at step {} ({:.0} % of the budget): none of the last {} validations {found}",
        trainer.progress().step,
        100.0 * trainer.budget_used(),
        trainer.since_best()
    ))
}

/// What to say where a step cannot be saved: how much is lost, of a run whose last checkpoint is of step `last`.
fn not_saved<M: GenerativeModel + ?Sized>(trainer: &Trainer<'_, M>, last: u64) -> String {
    let step = trainer.progress().step;
    match last {
        0 => format!("step {step} cannot be saved, and nothing was before"),
        _ => format!(
            "step {step} cannot be saved; the checkpoint of step {last} is whole, and the same command with --resume goes on \
             from it"
        ),
    }
}

/// Judges the weights by held-out rows, and keeps them if they are the best so far. The last checkpoint is of step `last`.
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

/// How many parts of the budget are used up.
fn part<M: GenerativeModel + ?Sized>(trainer: &Trainer<'_, M>) -> f64 {
    (trainer.budget_used() * PARTS).floor()
}

/// When to save besides after each part.
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
