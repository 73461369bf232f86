//! Models by name: how a program that knows no model's type builds one from a table of settings.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Device;

use crate::config;
use crate::data::DataSpec;
use crate::error::Result;
use crate::model::GenerativeModel;
use crate::train::TrainConfig;

/// What a model needs to know when it is built.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The data that it will see.
    pub data: DataSpec,
    /// Where it lives.
    pub device: Device,
    /// The seed of its initial weights.
    pub seed: u64,
}

/// A model with a name and a configuration: what the registry needs of it.
pub trait Buildable: GenerativeModel + Sized + 'static {
    /// The hyperparameters.
    type Config: Serialize + DeserializeOwned;

    /// The name on the command line.
    const NAME: &'static str;
    /// One line for `gen list`.
    const SUMMARY: &'static str;
    /// The family, see [`ModelCard::family`](crate::model::ModelCard::family).
    const FAMILY: &'static str;

    /// Published hyperparameters for this kind of data.
    fn default_config(data: &DataSpec) -> Self::Config;

    /// Published training settings for this kind of data.
    fn default_training(data: &DataSpec) -> TrainConfig;

    /// Builds the model with fresh weights.
    ///
    /// # Errors
    /// When the configuration or the data shape is not possible; the message says what is.
    fn build(config: Self::Config, context: &BuildContext) -> Result<Self>;
}

/// A model in a registry: [`Buildable`] with its type erased.
///
/// Adding a model to the program is one such entry: `ModelEntry::of::<MyModel>()`.
#[derive(Clone, Copy)]
pub struct ModelEntry {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of description.
    pub summary: &'static str,
    /// The family.
    pub family: &'static str,
    default_config: fn(&DataSpec) -> Result<toml::Table>,
    default_training: fn(&DataSpec) -> TrainConfig,
    build: fn(&toml::Table, &BuildContext) -> Result<Box<dyn GenerativeModel>>,
}

impl ModelEntry {
    /// The entry of model `M`.
    pub const fn of<M: Buildable>() -> Self {
        ModelEntry {
            name: M::NAME,
            summary: M::SUMMARY,
            family: M::FAMILY,
            default_config: |data| config::to_table(&M::default_config(data)),
            default_training: M::default_training,
            build: |table, context| {
                let model = M::build(config::from_table(table)?, context)?;
                Ok(Box::new(model))
            },
        }
    }

    /// The default hyperparameters as a table.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML, which is a mistake in the model.
    pub fn default_config(&self, data: &DataSpec) -> Result<toml::Table> {
        (self.default_config)(data)
    }

    /// The default training settings.
    pub fn default_training(&self, data: &DataSpec) -> TrainConfig {
        (self.default_training)(data)
    }

    /// Builds the model from a full table of hyperparameters.
    ///
    /// # Errors
    /// When a key or a value is not possible.
    pub fn build(&self, table: &toml::Table, context: &BuildContext) -> Result<Box<dyn GenerativeModel>> {
        (self.build)(table, context)
    }
}
