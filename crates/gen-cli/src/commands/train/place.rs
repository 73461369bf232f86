//! Where a run is trained: a new folder, or one that holds a run, which goes on.

use std::path::PathBuf;

use anyhow::{Context, bail};
use gen_core::config::to_table;
use gen_core::model::GenerativeModel;
use gen_core::train::{Budget, Trainer};
use gen_run::{EarlierBudget, RunConfig, RunFolder, RunInfo};
use toml::{Table, Value};

use super::Args;
use crate::progress::Progress;
use crate::{catalog, checkpoint, output};

/// A folder, and what is trained in it: as it was asked for, or else as the run there has it.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The run that goes on.
    run: Option<RunFolder>,
    /// Whether the run there is to go on even if it has not saved anything.
    resumes: bool,
    pub(super) model: String,
    pub(super) dataset: String,
    pub(super) budget: Budget,
    pub(super) seed: u64,
}

impl Place {
    pub(super) fn of(args: &Args) -> anyhow::Result<Self> {
        // `--resume MODEL` before the model, where --out says which run is meant.
        let (model, named) = match (&args.model, args.resume.clone().flatten(), &args.out) {
            (None, Some(model), Some(_)) => (Some(model.to_string_lossy().into_owned()), None),
            (model, named, _) => (model.clone(), named),
        };
        let Some(path) = named.clone().or_else(|| args.out.clone()) else {
            bail!("--resume continues the run of a folder: --resume RUN, or --resume with --out RUN");
        };
        if let (Some(named), Some(out)) = (&named, &args.out)
            && named != out
        {
            bail!("--resume says {} and --out {}: one run at a time", named.display(), out.display());
        }
        let run = args.resume.is_some().then(|| RunFolder::open(&path)).transpose()?;
        let before = run.as_ref().map(|run| &run.config().run);
        let given = |what: &str| format!("--resume is the only way to leave out {what}");
        let dataset = match &args.data {
            Some(data) => catalog::full_name(data)?,
            None => before.map(|run| run.dataset.clone()).with_context(|| given("--data"))?,
        };
        Ok(Place {
            model: model
                .or_else(|| before.map(|run| run.model.clone()))
                .with_context(|| given("the model"))?,
            dataset,
            budget: args
                .budget
                .or_else(|| before.map(|run| run.budget))
                .with_context(|| given("--budget"))?,
            seed: args.seed.or_else(|| before.map(|run| run.seed)).unwrap_or(0),
            resumes: run.is_some(),
            // A run that has not saved anything begins anew, with whatever settings are given for it now.
            run: run.filter(|run| run.has_saved() || args.model.is_none()),
            path,
        })
    }

    /// What the run was started with, if one goes on.
    pub(super) fn before(&self) -> Option<&RunConfig> {
        self.run.as_ref().map(RunFolder::config)
    }

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
            "{} was started with other settings: {}; resume with the same, or choose another folder",
            self.path.display(),
            differing.join(", ")
        );
    }

    /// The folder, which nobody else can train in from here on, and the trainer where the run was left.
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
                "warning: this run was started with {difference}: its last digits may change"
            ));
        }
        let damaged = folder.restore(trainer)?;
        let step = trainer.progress().step;
        for reason in damaged {
            progress.note(&checkpoint::warning(&reason, step));
        }
        progress.note(&format!("resuming at step {step}"));
        go_on_as_asked(&mut folder, config, trainer, progress)?;
        Ok(folder)
    }
}

/// Records another budget, and where the data lie now.
fn go_on_as_asked(
    folder: &mut RunFolder,
    asked: RunConfig,
    trainer: &Trainer<'_, dyn GenerativeModel + '_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut config = folder.config().clone();
    config.run.dataset = asked.run.dataset;
    let (before, now, step) = (config.run.budget, asked.run.budget, trainer.progress().step);
    if before != now {
        if trainer.budget_used() >= 1.0 {
            bail!(
                "the run has used up a budget of {now}: it is at step {step}, after {:.1} s; --budget is all that it gets, with \
                 what it has used",
                trainer.progress().seconds
            );
        }
        if trainer.finished() {
            bail!(
                "the run stopped early, since {} validations found nothing better: it would not use a longer budget",
                trainer.since_best()
            );
        }
        let used = 100.0 * trainer.budget_used();
        let schedule = trainer.learning_rate_scale();
        config.run.earlier_budgets.push(EarlierBudget { until_step: step, budget: before });
        config.run.budget = now;
        progress.note(&format!(
            "the budget was {before} and is {now} now, of which {used:.0} % are used: the learning rate goes on at {schedule:.3} \
             of its full height, where the schedule of the longer budget has it; the run is not what it would be with that \
             budget from the start"
        ));
    }
    if config != *folder.config() {
        folder.set_config(config)?;
    }
    Ok(())
}

/// The settings in which a run would differ from how it was started, and both values of each.
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

/// Adds what differs between two tables, as `key = value, now value`.
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
                let value = |value: Option<&Value>| value.map_or("not there".to_owned(), Value::to_string);
                differing.push(format!("{name} was {}, now {}", value(before), value(now)));
            }
        }
    }
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
