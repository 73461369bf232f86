use std::path::PathBuf;

use anyhow::{Context, bail};
use gen_core::Precision;
use gen_core::data::Dataset;
use gen_core::model::{BuildContext, GenerativeModel, SampleRequest};
use gen_core::run::{LIBTORCH_VERSION, RunConfig, RunFolder, RunInfo, grid};
use gen_core::train::{Budget, Stretch, Trainer};
use tch::Device;

use crate::device::{self, Compute};
use crate::interrupt::{Interrupted, Signals};
use crate::progress::{Progress, Style};
use crate::settings::{Settings, with_precision};
use crate::{catalog, checkpoint, registry};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model; `gen list` shows them
    model: String,

    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH; `gen data --help` has their options
    #[arg(long)]
    data: String,

    /// How long: 90s, 5m, 20000steps, 1Mimages, 10epochs
    #[arg(long, allow_hyphen_values = true)]
    budget: Budget,

    /// The seed of all that is random
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// The run folder
    #[arg(long)]
    out: PathBuf,

    /// Change a setting of the model, the training or the data; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// A TOML file of settings, as a run's config.toml has them
    #[arg(long)]
    config: Option<PathBuf>,

    /// Continue the run in the folder from its latest checkpoint
    #[arg(long)]
    resume: bool,

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

/// Samples in each grid that a run saves.
const GRID: usize = 64;
/// Parts of the budget after each of which a grid and a checkpoint are saved.
const PARTS: f64 = 10.0;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.compute.start()?;
    let entry = registry::find(&args.model)?;
    let progress = Progress::new(args.progress);
    let raw = catalog::load(&args.data)?;
    let settings =
        Settings::resolve(&entry, &raw, &with_precision(&args.set, args.precision), args.config.as_deref())?;
    let data = raw.with_options(&settings.options)?.to_device(device);
    let run_config = RunConfig {
        run: RunInfo {
            model: entry.name.to_owned(),
            family: entry.family,
            dataset: args.data.clone(),
            budget: args.budget,
            seed: args.seed,
            device: device::name(device).to_owned(),
            threads: tch::get_num_threads(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch_version: LIBTORCH_VERSION.to_owned(),
        },
        model: settings.model,
        training: settings.training,
        data: data.spec.clone(),
    };
    let context = BuildContext { data: data.spec.clone(), device, seed: args.seed };
    let mut model = entry.build(&run_config.model, &context)?;
    if model.density().is_some() {
        catalog::tell_of_discrete_columns(&data)?;
    }
    if args.dry_run {
        return Ok(());
    }
    let now = run_config.run.clone();
    let folder = open(args, run_config)?;
    for difference in differences(&folder.config().run, &now) {
        progress
            .note(&format!("warning: this run was started with {difference}: its last digits may change"));
    }
    train(args, &folder, model.as_mut(), &data, progress)
}

/// A new run folder, or with `--resume` the present one, if it is of the same run.
fn open(args: &Args, config: RunConfig) -> anyhow::Result<RunFolder> {
    if !args.resume {
        return Ok(RunFolder::create(&args.out, config)?);
    }
    let folder = RunFolder::resume(&args.out)?;
    let there = folder.config();
    let same_settings =
        there.model == config.model && there.training == config.training && there.data == config.data;
    let same_run = there.run.model == config.run.model
        && there.run.budget == config.run.budget
        && there.run.seed == config.run.seed;
    if !(same_settings && same_run) {
        bail!(
            "{} was started with other settings (see its config.toml): resume with the same, or choose another folder",
            args.out.display()
        );
    }
    Ok(folder)
}

/// What of the machine and the program differs from when the run was started, and could change its last digits.
fn differences(started: &RunInfo, now: &RunInfo) -> Vec<String> {
    let pairs = [
        ("--threads", started.threads.to_string(), now.threads.to_string()),
        ("--device", started.device.clone(), now.device.clone()),
        ("gen", started.tool_version.clone(), now.tool_version.clone()),
        ("libtorch", started.libtorch_version.clone(), now.libtorch_version.clone()),
    ];
    let differing = pairs.into_iter().filter(|(_, started, now)| started != now);
    differing.map(|(what, started, now)| format!("{what} {started}, now {now}")).collect()
}

fn train(
    args: &Args,
    folder: &RunFolder,
    model: &mut dyn GenerativeModel,
    data: &Dataset,
    mut progress: Progress,
) -> anyhow::Result<()> {
    let training = folder.config().training.clone();
    let mut trainer = Trainer::new(model, data, training, args.budget, args.seed)?;
    let signals = Signals::catch().context("cannot catch Ctrl-C")?;
    if args.resume {
        let damaged = folder.restore(&mut trainer)?;
        let step = trainer.progress().step;
        for reason in damaged {
            progress.note(&checkpoint::warning(&reason, step));
        }
        progress.note(&format!("resuming at step {step}"));
    }
    let result = until_done(args, folder, &mut trainer, &signals, &mut progress);
    progress.finish();
    result?;
    if let Some(reason) = why_early(&trainer) {
        progress.note(&reason);
    }
    let done = trainer.progress();
    progress.note(&format!(
        "{}: {} steps in {:.1} s of training, {}",
        folder.name(),
        done.step,
        done.seconds,
        folder.path().display()
    ));
    Ok(())
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

/// Trains to the end of the budget, or to where its patience is, or to the first signal.
///
/// What a step is followed by depends on the step alone, so that a run resumed there goes on as one that was not
/// interrupted: first the row of the history, then the grid, the validation, last the checkpoint. A validation that ends
/// the run is followed by the last row and grid.
fn until_done<M: GenerativeModel + ?Sized>(
    args: &Args,
    folder: &RunFolder,
    trainer: &mut Trainer<'_, M>,
    signals: &Signals,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut next_part = part(trainer) + 1.0;
    let mut saves = Saves { every: args.checkpoint_every, last: trainer.progress() };
    loop {
        let stretch = trainer.advance_until(|trainer| {
            signals.exit_code().is_some()
                || part(trainer) >= next_part
                || trainer.validation_is_due()
                || saves.is_due(trainer)
        })?;
        match stretch {
            Stretch::Row(record) => {
                folder.log(&record)?;
                progress.show(&record);
            }
            Stretch::Paused => {}
            Stretch::Finished => return Ok(()),
        }
        let part_done = part(trainer) >= next_part;
        if part_done {
            next_part = part(trainer) + 1.0;
            save_grid(args, folder, trainer)?;
        }
        let validated = match folder.config().training.validate_every {
            0 => part_done,
            _ => trainer.validation_is_due(),
        };
        if validated {
            validate(folder, trainer)?;
        }
        if trainer.stopped_early() {
            if let Stretch::Row(record) = trainer.advance_until(|_| false)? {
                folder.log(&record)?;
                progress.show(&record);
            }
            if !part_done {
                save_grid(args, folder, trainer)?;
            }
        }
        let interrupted = signals.exit_code().filter(|_| !trainer.finished());
        if part_done || validated || interrupted.is_some() || saves.is_due(trainer) {
            folder.save(trainer)?;
            saves.last = trainer.progress();
        }
        if let Some(exit_code) = interrupted {
            let message = format!(
                "interrupted at step {} ({:.0} % of the budget), saved in {}; the same command with --resume goes on",
                trainer.progress().step,
                100.0 * trainer.budget_used(),
                folder.path().display()
            );
            return Err(Interrupted { exit_code, message }.into());
        }
    }
}

/// Samples of the weights as they are now, in one picture.
fn save_grid<M: GenerativeModel + ?Sized>(
    args: &Args,
    folder: &RunFolder,
    trainer: &mut Trainer<'_, M>,
) -> anyhow::Result<()> {
    let request = SampleRequest::new(GRID, args.seed);
    let samples = trainer.averaged(|model| model.sample(&request))?;
    let name = format!("step-{:07}", trainer.progress().step);
    grid::save_grid(&samples.to_device(Device::Cpu), &folder.sample_path(&name), 8)?;
    Ok(())
}

/// Judges the weights by held-out rows, and keeps them if they are the best so far.
fn validate<M: GenerativeModel + ?Sized>(
    folder: &RunFolder,
    trainer: &mut Trainer<'_, M>,
) -> anyhow::Result<()> {
    let Some(record) = trainer.validate()? else { return Ok(()) };
    folder.log_validation(&record)?;
    if record.is_best {
        folder.save_best(trainer)?;
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
