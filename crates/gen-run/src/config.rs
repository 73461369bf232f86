use gen_core::data::DataSpec;
use gen_core::train::{Budget, TrainConfig};
use serde::{Deserialize, Serialize};

/// The format of the files of a run. A change that older or newer programs would misread takes the next number.
pub const FORMAT_VERSION: u32 = 3;

/// The configuration of a run, enough to repeat it: `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The run.
    pub run: RunInfo,
    /// The hyperparameters of the model.
    pub model: toml::Table,
    /// The training settings.
    pub training: TrainConfig,
    /// The sampling options; those that are missing are the model's.
    #[serde(default)]
    pub sampling: toml::Table,
    /// The data.
    pub data: DataSpec,
}

impl RunConfig {
    /// The content of `config.toml`, which begins with [`FORMAT_VERSION`].
    ///
    /// # Errors
    /// When TOML cannot represent the configuration.
    pub fn to_toml(&self) -> std::result::Result<String, toml::ser::Error> {
        Ok(format!("format_version = {FORMAT_VERSION}\n\n{}", toml::to_string_pretty(self)?))
    }

    /// Reads the content of `config.toml`. The error is the rest of a sentence that begins with the path of the file.
    pub(crate) fn from_toml(text: &str) -> std::result::Result<Self, String> {
        let not_a_run = |error: &dyn std::fmt::Display| format!("not a run's configuration: {error}");
        let mut table: toml::Table =
            toml::from_str(text).map_err(|error: toml::de::Error| not_a_run(&error.message()))?;
        let version = match table.remove("format_version") {
            Some(version) => version.as_integer(),
            // Format 1 had no number.
            None => table.contains_key("run").then_some(1),
        };
        match version {
            Some(version) if version == i64::from(FORMAT_VERSION) => {
                gen_core::config::from_table(&table).map_err(|error| not_a_run(&error))
            }
            Some(version) => Err(format!(
                "the run has format {version}, which another version of this program wrote; this one reads format \
                 {FORMAT_VERSION}: train the model again, or use the other version"
            )),
            None => Err(not_a_run(&"`format_version` is missing")),
        }
    }
}

/// The part of [`RunConfig`] outside model, training and data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// The name of the model in the registry.
    pub model: String,
    /// Its family, see [`ModelCard::family`](gen_core::model::ModelCard::family).
    pub family: String,
    /// The name of the data set, as given by the user.
    pub dataset: String,
    /// The length of the training.
    pub budget: Budget,
    /// The seed of all randomness.
    pub seed: u64,
    /// `cpu` or `cuda`.
    pub device: String,
    /// The number of threads of libtorch.
    pub threads: i32,
    /// The version of this workspace.
    pub tool_version: String,
    /// The version of libtorch that `tch` was built for.
    pub libtorch_version: String,
    /// The earlier budgets of the run, in order. The learning rate followed each of them in its time, so the run
    /// differs from one that had the last budget from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_budgets: Vec<EarlierBudget>,
}

/// An earlier budget of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierBudget {
    /// The number of steps at which it was replaced.
    pub until_step: u64,
    /// The budget.
    pub budget: Budget,
}

/// The libtorch release that `tch` 0.26 requires.
pub const LIBTORCH_VERSION: &str = "2.13.0";
