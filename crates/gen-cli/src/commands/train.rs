use std::path::PathBuf;

use anyhow::bail;
use gen_core::data::Dataset;
use gen_core::model::{BuildContext, GenerativeModel, SampleRequest};
use gen_core::run::{LIBTORCH_VERSION, RunConfig, RunFolder, RunInfo, grid};
use gen_core::train::{Budget, Trainer};
use tch::Device;

use crate::device::{self, Compute};
use crate::progress::{Progress, Style};
use crate::settings::Settings;
use crate::{catalog, registry};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model; `gen list` shows them
    model: String,

    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH
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

    /// Continue the run in the folder
    #[arg(long)]
    resume: bool,

    /// Check the settings, write nothing and stop
    #[arg(long)]
    dry_run: bool,

    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    progress: Style,

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
    let settings = Settings::resolve(&entry, &raw, &args.set, args.config.as_deref())?;
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
    if args.dry_run {
        return Ok(());
    }
    let folder = open(args, run_config)?;
    train(args, &folder, model.as_mut(), &data, progress)
}

/// A new run folder, or with `--resume` the present one, if it is of the same run.
fn open(args: &Args, config: RunConfig) -> anyhow::Result<RunFolder> {
    if !args.resume {
        return Ok(RunFolder::create(&args.out, config)?);
    }
    let folder = RunFolder::open(&args.out)?;
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

fn train(
    args: &Args,
    folder: &RunFolder,
    model: &mut dyn GenerativeModel,
    data: &Dataset,
    mut progress: Progress,
) -> anyhow::Result<()> {
    let training = folder.config().training.clone();
    let mut trainer = Trainer::new(model, data, training, args.budget, args.seed)?;
    if args.resume {
        let step = match folder.checkpoint()? {
            Some(checkpoint) => {
                trainer.restore(&checkpoint.state, checkpoint.progress)?;
                checkpoint.progress.step
            }
            None => 0,
        };
        folder.rewind_history(step)?;
        progress.note(&format!("resuming at step {step}"));
    }
    let mut next_part = (trainer.budget_used() * PARTS).floor() + 1.0;
    let result = loop {
        match trainer.advance() {
            Ok(Some(record)) => {
                folder.log(&record)?;
                progress.show(&record);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if trainer.budget_used() * PARTS >= next_part {
            next_part = (trainer.budget_used() * PARTS).floor() + 1.0;
            let request = SampleRequest::new(GRID, args.seed);
            let samples = trainer.averaged(|model| model.sample(&request))?;
            let name = format!("step-{:07}", trainer.progress().step);
            grid::save_grid(&samples.to_device(Device::Cpu), &folder.sample_path(&name), 8)?;
            folder.save(&mut trainer)?;
        }
    };
    progress.finish();
    result?;
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
