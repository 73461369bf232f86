//! The folder in which a run is trained: a new one, or the folder of a run to continue.

use std::path::PathBuf;

use anyhow::{Context, bail};
use gen_core::config::to_table;
use gen_core::model::GenerativeModel;
use gen_core::train::{Budget, Trainer};
use gen_run::{EarlierBudget, RunConfig, RunFolder, RunInfo};
use toml::{Table, Value};

use super::args::Args;
use crate::progress::Progress;
use crate::settings::SettingsFile;
use crate::{catalog, checkpoint, output};

/// A folder and what is trained in it: by the options, otherwise by the configuration of the run there.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The run to continue.
    run: Option<RunFolder>,
    /// Whether `--resume` was given, even for a run that has saved nothing.
    resumes: bool,
    pub(super) model: String,
    pub(super) dataset: String,
    pub(super) budget: Budget,
    pub(super) seed: u64,
}

impl Place {
    pub(super) fn of(args: &Args, file: &SettingsFile) -> anyhow::Result<Self> {
        // In `--resume MODEL --out RUN` the model is parsed as the value of `--resume`.
        let (model, named) = match (&args.model, args.resume.clone().flatten(), &args.out) {
            (None, Some(model), Some(_)) => (Some(model.to_string_lossy().into_owned()), None),
            (model, named, _) => (model.clone(), named),
        };
        let Some(path) = named.clone().or_else(|| args.out.clone()) else {
            bail!("--resume needs the folder of a run: --resume RUN, or --resume with --out RUN");
        };
        if let (Some(named), Some(out)) = (&named, &args.out)
            && named != out
        {
            bail!("--resume names {} and --out {}: give only one run", named.display(), out.display());
        }
        let run = args.resume.is_some().then(|| RunFolder::open(&path)).transpose()?;
        let before = run.as_ref().map(|run| &run.config().run);
        let in_file = &file.run;
        let given = |what: &str, key: &str| match args.config {
            Some(_) => format!("give {what}, or `{key}` in the section [run] of --config"),
            None => format!("only --resume and --config allow to leave out {what}"),
        };
        let dataset = match (&args.data, before) {
            (Some(data), _) => catalog::full_name(data)?,
            (None, Some(run)) => run.dataset.clone(),
            (None, None) => in_file.dataset.clone().with_context(|| given("--data", "dataset"))?,
        };
        let model = model.or_else(|| before.map(|run| run.model.clone())).or_else(|| in_file.model.clone());
        let budget = args.budget.or(before.map(|run| run.budget)).or(in_file.budget);
        Ok(Place {
            model: model.with_context(|| given("the model", "model"))?,
            dataset,
            budget: budget.with_context(|| given("--budget", "budget"))?,
            seed: args.seed.or(before.map(|run| run.seed)).or(in_file.seed).unwrap_or(0),
            resumes: run.is_some(),
            // A run that has saved nothing starts again, with the settings that are given this time.
            run: run.filter(|run| run.has_saved() || args.model.is_none()),
            path,
        })
    }

    /// The configuration of the run to continue.
    pub(super) fn before(&self) -> Option<&RunConfig> {
        self.run.as_ref().map(RunFolder::config)
    }

    /// Checks the folder against the configuration.
    ///
    /// # Errors
    /// When the folder holds another run, or nothing can be written there.
    pub(super) fn check(&self, config: &RunConfig) -> anyhow::Result<()> {
        output::check_folder(&self.path)?;
        let Some(run) = &self.run else { return Ok(RunFolder::check_free(&self.path)?) };
        let differing = differing_settings(run.config(), config)?;
        if differing.is_empty() {
            return Ok(run.check_data(&config.data)?);
        }
        bail!(
            "{} was started with other settings: {}; resume with the same settings, or choose another folder",
            self.path.display(),
            differing.join(", ")
        );
    }

    /// Opens the folder and locks it, and restores the trainer to the latest checkpoint.
    pub(super) fn open<'a>(
        &self,
        config: RunConfig,
        trainer: &mut Trainer<'_, dyn GenerativeModel + 'a>,
        progress: &Progress,
    ) -> anyhow::Result<RunFolder> {
        if self.run.is_none() {
            let folder = RunFolder::create(&self.path, config)?;
            if self.resumes {
                progress.note("resuming at step 0");
            }
            return Ok(folder);
        }
        let mut folder = RunFolder::resume(&self.path)?;
        for difference in differences(&folder.config().run, &config.run) {
            progress.note(&format!(
                "warning: this run was started with {difference}: the last digits of its numbers may change"
            ));
        }
        let damaged = folder.restore(trainer)?;
        let step = trainer.progress().step;
        for reason in damaged {
            progress.note(&format!("warning: {}", checkpoint::damage(&reason, step)));
        }
        progress.note(&format!("resuming at step {step}"));
        record_changes(&mut folder, config, trainer, progress)?;
        Ok(folder)
    }
}

/// Records the new budget, the new place of the data, and new sampling options.
fn record_changes(
    folder: &mut RunFolder,
    asked: RunConfig,
    trainer: &Trainer<'_, dyn GenerativeModel + '_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut config = folder.config().clone();
    config.run.dataset = asked.run.dataset;
    config.sampling = asked.sampling;
    let (before, now, step) = (config.run.budget, asked.run.budget, trainer.progress().step);
    if before != now {
        if trainer.budget_used() >= 1.0 {
            bail!(
                "the run has used up a budget of {now}: it is at step {step}, after {:.1} s; --budget is the whole \
                 budget, with the part that is used",
                trainer.progress().seconds
            );
        }
        if trainer.finished() {
            bail!(
                "the run stopped early, since {} validations found nothing better: a longer budget would not be used",
                trainer.since_best()
            );
        }
        let used = 100.0 * trainer.budget_used();
        let schedule = trainer.learning_rate_scale();
        config.run.earlier_budgets.push(EarlierBudget { until_step: step, budget: before });
        config.run.budget = now;
        progress.note(&format!(
            "the budget was {before} and is now {now}, of which {used:.0} % are used: the learning rate continues at \
             {schedule:.3} of its peak, by the schedule of the longer budget; the run differs from one with that \
             budget from the start"
        ));
    }
    if config != *folder.config() {
        folder.set_config(config)?;
    }
    Ok(())
}

/// The settings that differ from those of the start of the run, with both values.
fn differing_settings(before: &RunConfig, now: &RunConfig) -> anyhow::Result<Vec<String>> {
    let settings = |config: &RunConfig| -> anyhow::Result<Table> {
        let mut table = Table::new();
        table.insert("model".to_owned(), Value::String(config.run.model.clone()));
        table.insert("seed".to_owned(), Value::String(config.run.seed.to_string()));
        table.insert("model settings".to_owned(), config.model.clone().into());
        table.insert("training".to_owned(), to_table(&config.training)?.into());
        table.insert("data".to_owned(), to_table(&config.data.options)?.into());
        Ok(table)
    };
    let mut differing = Vec::new();
    compare("", &settings(before)?, &settings(now)?, &mut differing);
    Ok(differing)
}

/// Adds the differences between two tables to `differing`, as `key was value, now value`.
fn compare(within: &str, before: &Table, now: &Table, differing: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for key in keys {
        let name = match within {
            "" | "model settings" => key.clone(),
            _ => format!("{within}.{key}"),
        };
        match (before.get(key), now.get(key)) {
            (Some(Value::Table(before)), Some(Value::Table(now))) => compare(&name, before, now, differing),
            (before, now) if before == now => {}
            (before, now) => {
                let value = |value: Option<&Value>| value.map_or("missing".to_owned(), Value::to_string);
                differing.push(format!("{name} was {}, now {}", value(before), value(now)));
            }
        }
    }
}

/// The differences in machine and program since the start of the run that can change the last digits of its numbers.
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
