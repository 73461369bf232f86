//! The settings of a training run: the defaults of the model, then those of a file, then `--set`.

mod file;
mod sections;

use gen_core::data::{DataOptions, Dataset};
use gen_core::registry::ModelEntry;
use gen_core::train::TrainConfig;
use gen_core::{Precision, config};
use gen_run::RunConfig;
use toml::Table;

pub(crate) use file::SettingsFile;
use sections::{section, sections};

/// Hyperparameters, training settings, sampling options and data options after all overrides.
pub(crate) struct Settings {
    pub(crate) model: Table,
    pub(crate) training: TrainConfig,
    pub(crate) sampling: Table,
    pub(crate) options: DataOptions,
}

impl Settings {
    /// The settings of an existing run of `entry`, then those of `file`, then the assignments of `set`.
    pub(crate) fn of_run(
        entry: &ModelEntry,
        config: &RunConfig,
        set: &[String],
        file: &SettingsFile,
    ) -> anyhow::Result<Self> {
        let data = config::to_table(&config.data.options)?;
        let training = config::to_table(&config.training)?;
        let mut sampling = entry.default_sampling(&config.data)?;
        config::overlay(&mut sampling, &config.sampling, |table| entry.complete_sampling(table))?;
        let mut table = sections([config.model.clone(), training, sampling, data]);
        config::overlay(&mut table, &file.changes(), |table| complete(entry, table))?;
        set.iter().try_for_each(|assignment| config::set(&mut table, assignment, |table| complete(entry, table)))?;
        Self::read(&table)
    }

    /// The defaults of `entry` for `data`, then the settings of `file`, then the assignments of `set`.
    pub(crate) fn resolve(
        entry: &ModelEntry,
        data: &Dataset,
        set: &[String],
        file: &SettingsFile,
    ) -> anyhow::Result<Self> {
        // The options of the data come first: they change its shape, and the defaults of a model depend on it.
        let mut options = config::to_table(&DataOptions::default())?;
        config::overlay(&mut options, &file.options(), |table| Ok(table.clone()))?;
        let (for_data, rest): (Vec<&String>, Vec<&String>) = set.iter().partition(|set| is_option(set, &options));
        for assignment in &for_data {
            config::set(&mut options, assignment.strip_prefix("data.").unwrap_or(assignment), |table| {
                Ok(table.clone())
            })?;
        }
        let spec = data.spec_with(&config::from_table(&options)?)?;
        let training = config::to_table(&entry.default_training(&spec))?;
        let sampling = entry.default_sampling(&spec)?;
        let mut table = sections([entry.default_config(&spec)?, training, sampling, options.clone()]);
        let complete = |table: &Table| complete(entry, table);
        config::overlay(&mut table, &file.changes(), complete)?;
        for assignment in rest {
            config::set(&mut table, assignment, complete)?;
        }
        for assignment in for_data {
            // An option whose name a model has too is ambiguous; otherwise it is set to what it has already.
            config::set(&mut table, assignment, complete)?;
        }
        Self::read(&table)
    }

    fn read(table: &Table) -> anyhow::Result<Self> {
        Ok(Settings {
            model: section(table, "model"),
            training: config::from_table(&section(table, "training"))?,
            sampling: section(table, "sampling"),
            options: config::from_table(&section(table, "data"))?,
        })
    }
}

/// Fills in the defaults of the choices of a model and of its sampling.
fn complete(entry: &ModelEntry, table: &Table) -> gen_core::Result<Table> {
    let mut table = table.clone();
    let model = entry.complete(&section(&table, "model"))?;
    let sampling = entry.complete_sampling(&section(&table, "sampling"))?;
    table.insert("model".to_owned(), model.into());
    table.insert("sampling".to_owned(), sampling.into());
    Ok(table)
}

/// Whether `key=value` sets an option of the data.
fn is_option(assignment: &str, options: &Table) -> bool {
    let key = assignment.split('=').next().unwrap_or_default().trim();
    key.starts_with("data.") || options.contains_key(key)
}

/// The assignments of `--set`, followed by the one that `--precision` stands for.
pub(crate) fn with_precision(set: &[String], precision: Option<Precision>) -> Vec<String> {
    set.iter().cloned().chain(precision.map(|precision| format!("training.precision={precision}"))).collect()
}
