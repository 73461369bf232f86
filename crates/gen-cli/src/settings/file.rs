//! A file of settings in the form of a run's `config.toml`, of which any part may be missing.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::config;
use gen_core::data::DataSpec;
use gen_core::train::Budget;
use gen_run::{EarlierBudget, FORMAT_VERSION};
use serde::Deserialize;
use toml::Table;

use super::sections::{section, sections};

/// The settings of `--config`; empty without the option.
#[derive(Default)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    pub(crate) run: Run,
    model: Table,
    training: Table,
    sampling: Table,
    data: Table,
}

/// The section `[run]`: defaults of the options of `gen train`, and records.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) model: Option<String>,
    pub(crate) dataset: Option<String>,
    pub(crate) budget: Option<Budget>,
    pub(crate) seed: Option<u64>,
    pub(crate) device: Option<String>,
    pub(crate) threads: Option<i32>,
    earlier_budgets: Vec<EarlierBudget>,
    #[serde(rename = "family")]
    _family: Option<String>,
    #[serde(rename = "tool_version")]
    _tool_version: Option<String>,
    #[serde(rename = "libtorch_version")]
    _libtorch_version: Option<String>,
}

impl SettingsFile {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When the file is not TOML, is of another format, or has an unknown section or an unknown key in `[run]`.
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        Self::parse(path).with_context(|| path.display().to_string())
    }

    fn parse(path: &Path) -> anyhow::Result<Self> {
        let mut table: Table = toml::from_str(&std::fs::read_to_string(path)?)?;
        match table.remove("format_version") {
            None => {}
            Some(version) if version.as_integer() == Some(FORMAT_VERSION.into()) => {}
            Some(version) => bail!("settings of format {version}; this program reads format {FORMAT_VERSION}"),
        }
        let known = ["run", "model", "training", "sampling", "data"];
        if let Some(unknown) = table.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(gen_core::Error::unknown("section", unknown, known).into());
        }
        if let Some(wrong) = table.iter().find(|(_, value)| !value.is_table()) {
            bail!("`{}` should be a section: [{0}]", wrong.0);
        }
        let run: Run = config::from_table(&section(&table, "run"))?;
        if !run.earlier_budgets.is_empty() {
            bail!(
                "a run whose budget was changed on the way cannot be repeated: remove `earlier_budgets` to start one \
                   with its last budget"
            );
        }
        let [model, training, sampling, data] =
            ["model", "training", "sampling", "data"].map(|name| section(&table, name));
        Ok(SettingsFile { path: path.to_owned(), run, model, training, sampling, data })
    }

    /// The options of the data.
    pub(super) fn options(&self) -> Table {
        section(&self.data, "options")
    }

    /// The sections that `--set` changes.
    pub(super) fn changes(&self) -> Table {
        sections([self.model.clone(), self.training.clone(), self.sampling.clone(), self.options()])
    }

    /// Refuses settings of another model.
    ///
    /// # Errors
    /// When the file names another model.
    pub(crate) fn check_model(&self, model: &str) -> anyhow::Result<()> {
        match self.run.model.as_deref() {
            Some(named) if named != model => {
                bail!("{} has settings of `{named}`, not of `{model}`", self.path.display());
            }
            _ => Ok(()),
        }
    }

    /// Refuses settings for other data.
    ///
    /// # Errors
    /// When the section `[data]` of the file differs from `data`, or has an unknown key.
    pub(crate) fn check_data(&self, data: &DataSpec) -> anyhow::Result<()> {
        let found = config::to_table(data)?;
        let is_unchanged = self.data.get("options").is_none_or(|options| Some(options) == found.get("options"));
        for (key, expected) in self.data.iter().filter(|(key, _)| *key != "options" && *key != "name") {
            match found.get(key) {
                None => {
                    let known = found.keys().map(String::as_str);
                    return Err(gen_core::Error::unknown("key of [data]", key, known).into());
                }
                Some(found) if found != expected && (is_unchanged || key == "sha256") => bail!(
                    "{} has settings for other data: `{key}` of `{}` is {found}, not {expected}; without [data], but \
                     for [data.options], it goes with any",
                    self.path.display(),
                    data.name
                ),
                Some(_) => {}
            }
        }
        Ok(())
    }
}
