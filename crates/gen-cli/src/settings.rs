//! The settings of a training run: the defaults of the model, then those of a file, then `--set`.

use std::path::Path;

use anyhow::Context;
use gen_core::data::{DataOptions, Dataset};
use gen_core::registry::ModelEntry;
use gen_core::train::TrainConfig;
use gen_core::{Precision, config};
use gen_run::RunConfig;

/// Hyperparameters, training settings and data options after all overrides.
pub(crate) struct Settings {
    pub(crate) model: toml::Table,
    pub(crate) training: TrainConfig,
    pub(crate) options: DataOptions,
}

impl Settings {
    /// The settings of an existing run, then those of `file`, then the assignments of `set`.
    pub(crate) fn of_run(config: &RunConfig, set: &[String], file: Option<&Path>) -> anyhow::Result<Self> {
        let mut table = toml::Table::new();
        table.insert("model".to_owned(), config.model.clone().into());
        table.insert("training".to_owned(), config::to_table(&config.training)?.into());
        table.insert("data".to_owned(), config::to_table(&config.data.options)?.into());
        let file = file.map(read).transpose()?.unwrap_or_default();
        let mut changes = toml::Table::new();
        for name in ["model", "training"] {
            changes.insert(name.to_owned(), section(&file, name).into());
        }
        changes.insert("data".to_owned(), options_of(&file).into());
        config::overlay(&mut table, &changes)?;
        for assignment in set {
            config::set(&mut table, assignment)?;
        }
        Ok(Settings {
            model: section(&table, "model"),
            training: config::from_table(&section(&table, "training"))?,
            options: config::from_table(&section(&table, "data"))?,
        })
    }

    /// The defaults of `entry` for `data`, then the settings of `file`, then the assignments of `set`.
    pub(crate) fn resolve(
        entry: &ModelEntry,
        data: &Dataset,
        set: &[String],
        file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        // The options come first: they change the shape of the data, and the defaults of a model depend on it.
        let mut options = config::to_table(&DataOptions::default())?;
        let file = file.map(read).transpose()?.unwrap_or_default();
        config::overlay(&mut options, &options_of(&file))?;
        let (for_data, rest): (Vec<&String>, Vec<&String>) = set.iter().partition(|set| {
            let key = set.split('=').next().unwrap_or_default().trim();
            key.starts_with("data.") || options.contains_key(key)
        });
        for assignment in for_data {
            config::set(&mut options, assignment.strip_prefix("data.").unwrap_or(assignment))?;
        }
        let options: DataOptions = config::from_table(&options)?;

        let spec = data.spec_with(&options)?;
        let mut table = toml::Table::new();
        table.insert("model".to_owned(), entry.default_config(&spec)?.into());
        table.insert("training".to_owned(), config::to_table(&entry.default_training(&spec))?.into());
        let mut changes = toml::Table::new();
        changes.insert("model".to_owned(), section(&file, "model").into());
        changes.insert("training".to_owned(), section(&file, "training").into());
        config::overlay(&mut table, &changes)?;
        for assignment in rest {
            config::set(&mut table, assignment)?;
        }
        let training = config::from_table(&section(&table, "training"))?;
        Ok(Settings { model: section(&table, "model"), training, options })
    }
}

/// A table within a table; empty if it is missing.
fn section(table: &toml::Table, name: &str) -> toml::Table {
    table.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default()
}

/// The data options of a settings file.
fn options_of(file: &toml::Table) -> toml::Table {
    section(&section(file, "data"), "options")
}

/// The assignments of `--set`, followed by the one that `--precision` stands for.
pub(crate) fn with_precision(set: &[String], precision: Option<Precision>) -> Vec<String> {
    set.iter().cloned().chain(precision.map(|precision| format!("training.precision={precision}"))).collect()
}

/// Reads a settings file.
///
/// # Errors
/// When the file is not TOML or has an unknown section.
fn read(path: &Path) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let known = ["run", "model", "training", "data"];
    if let Some(unknown) = table.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(gen_core::Error::unknown("section", unknown, known).into());
    }
    Ok(table)
}
