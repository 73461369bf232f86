use gen_core::data::DataSpec;
use gen_core::train::{Budget, TrainConfig};
use serde::{Deserialize, Serialize};

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
    /// The data.
    pub data: DataSpec,
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
