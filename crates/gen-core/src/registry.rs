//! Models by name, so that a program can build one from a table of settings without its type.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Device;

use crate::config;
use crate::data::DataSpec;
use crate::error::Result;
use crate::model::GenerativeModel;
use crate::train::TrainConfig;

/// The context in which a model is built.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// The data to train on.
    pub data: DataSpec,
    /// The device of its parameters.
    pub device: Device,
    /// The seed of the initial weights.
    pub seed: u64,
}

/// A model that can be built by its name from a configuration.
pub trait Buildable: GenerativeModel + Sized + 'static {
    /// The hyperparameters.
    type Config: Serialize + DeserializeOwned;

    /// The name on the command line.
    const NAME: &'static str;
    /// One line for `gen list`.
    const SUMMARY: &'static str;
    /// The family, see [`ModelCard::family`](crate::model::ModelCard::family).
    const FAMILY: &'static str;

    /// The published hyperparameters for this kind of data.
    fn default_config(data: &DataSpec) -> Self::Config;

    /// The published training settings for this kind of data.
    fn default_training(data: &DataSpec) -> TrainConfig;

    /// Builds the model with fresh weights.
    ///
    /// # Errors
    /// When the model does not support the configuration or the shape of the data; the message says what it supports.
    fn build(config: Self::Config, context: &BuildContext) -> Result<Self>;
}

/// A model in a registry: [`Buildable`] with its type erased.
///
/// `ModelEntry::of::<MyModel>()` adds a model to the program.
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
    complete: fn(&toml::Table) -> Result<toml::Table>,
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
            complete: config::complete::<M::Config>,
            build: |table, context| {
                let model = M::build(config::from_table(table)?, context)?;
                Ok(Box::new(model))
            },
        }
    }

    /// The default hyperparameters as a table.
    ///
    /// # Errors
    /// When TOML cannot represent the configuration, which is a bug of the model.
    pub fn default_config(&self, data: &DataSpec) -> Result<toml::Table> {
        (self.default_config)(data)
    }

    /// The default training settings.
    pub fn default_training(&self, data: &DataSpec) -> TrainConfig {
        (self.default_training)(data)
    }

    /// The table of hyperparameters with the defaults of each choice in it, see [`config::complete`].
    ///
    /// # Errors
    /// When a key is unknown, or one without a default is missing.
    pub fn complete(&self, table: &toml::Table) -> Result<toml::Table> {
        (self.complete)(table)
    }

    /// Builds the model from a table of hyperparameters. A key that the table lacks has its default for the data.
    ///
    /// # Errors
    /// When a key is unknown, or as [`Buildable::build`].
    pub fn build(&self, table: &toml::Table, context: &BuildContext) -> Result<Box<dyn GenerativeModel>> {
        let mut all = self.default_config(&context.data)?;
        config::overlay(&mut all, table, self.complete)?;
        (self.build)(&all, context)
    }
}
