use gen_core::data::DataSpec;
use gen_core::train::{Budget, TrainConfig};
use serde::{Deserialize, Serialize};

/// All that is needed to run a training again: `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What was run.
    pub run: RunInfo,
    /// The model's hyperparameters.
    pub model: toml::Table,
    /// The training settings.
    pub training: TrainConfig,
    /// The data.
    pub data: DataSpec,
}

/// The part of [`RunConfig`] that is neither the model's, the training's nor the data's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// The model's name in the registry.
    pub model: String,
    /// Its family, see [`ModelCard::family`](gen_core::model::ModelCard::family).
    pub family: String,
    /// The name of the data set, as it was asked for.
    pub dataset: String,
    /// How long it trains.
    pub budget: Budget,
    /// The seed of all that is random in it.
    pub seed: u64,
    /// `cpu` or `cuda`.
    pub device: String,
    /// Threads that libtorch uses.
    pub threads: i32,
    /// The version of this workspace.
    pub tool_version: String,
    /// The version of libtorch that `tch` was built for.
    pub libtorch_version: String,
    /// The budgets that the run had before, the first one first. The learning rate followed each of them while it was that of
    /// the run, so that such a run is not one that had its last budget from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_budgets: Vec<EarlierBudget>,
}

/// A budget that a run had, up to a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierBudget {
    /// The steps that were taken under it, and before it.
    pub until_step: u64,
    /// How long the run was to train.
    pub budget: Budget,
}

/// The libtorch release that `tch` 0.26 works with.
pub const LIBTORCH_VERSION: &str = "2.13.0";
