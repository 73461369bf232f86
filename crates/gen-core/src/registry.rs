//! Models by name, so that a program can build one from a table of settings without its type.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Device;

use crate::config::{self, Table};
use crate::data::{Condition, DataSpec, Shape};
use crate::error::{Error, Result};
use crate::model::{Conditioning, GenerativeModel};
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

/// The abilities of a model, known without building it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Whether it learns images.
    pub images: bool,
    /// Whether it learns tabular data.
    pub points: bool,
    /// Whether it learns from the labels of data that has them.
    pub labels: bool,
    /// Whether it learns from the other images of pairs.
    pub pairs: bool,
    /// Whether it learns from the columns that rows are given.
    pub context: bool,
    /// Whether it gives data a likelihood, or a bound on it, in some of its configurations.
    pub likelihood: bool,
    /// Whether it has latents, in some of its configurations.
    pub latents: bool,
    /// The names of its samplers, the default first; empty for a model that samples in one way.
    pub samplers: &'static [&'static str],
}

impl Capabilities {
    /// Of images and points, without conditions, likelihood, latents or a choice of samplers.
    pub const SAMPLES: Capabilities = Capabilities {
        images: true,
        points: true,
        labels: false,
        pairs: false,
        context: false,
        likelihood: false,
        latents: false,
        samplers: &[],
    };

    /// Refuses data whose rows are given what the model `name` cannot learn from. It may ignore labels.
    ///
    /// # Errors
    /// When the data has columns of context, or pairs, and the model takes none.
    pub fn check(&self, name: &str, data: &DataSpec) -> Result<()> {
        let Conditioning { image, context, .. } = Conditioning::needed_by(data);
        self.refuse(name, [("pairs of images", image && !self.pairs), ("a context", context && !self.context)])
    }

    /// Refuses a condition that the model `name` cannot learn from.
    ///
    /// # Errors
    /// When it has such a part.
    pub fn check_given(&self, name: &str, condition: &Condition) -> Result<()> {
        self.refuse(
            name,
            [
                ("labels", condition.labels.is_some() && !self.labels),
                ("pairs of images", condition.image.is_some() && !self.pairs),
                ("a context", condition.context.is_some() && !self.context),
            ],
        )
    }

    fn refuse<const N: usize>(&self, name: &str, parts: [(&str, bool); N]) -> Result<()> {
        match parts.into_iter().find(|(_, is_refused)| *is_refused) {
            Some((part, _)) => Err(Error::invalid(format!("`{name}` does not learn from {part}"))),
            None => Ok(()),
        }
    }

    /// Whether it learns data of this shape.
    pub fn learns(&self, shape: Shape) -> bool {
        if shape.is_image() { self.images } else { self.points }
    }
}

/// A model that can be built by its name from a configuration.
pub trait Buildable: GenerativeModel + Sized + 'static {
    /// The hyperparameters.
    type Config: Serialize + DeserializeOwned;
    /// The sampling options, apart from what training needs: the section `[sampling]`.
    type Sampling: Serialize + DeserializeOwned;

    /// The name on the command line.
    const NAME: &'static str;
    /// One line for `gen list`.
    const SUMMARY: &'static str;
    /// The family, see [`ModelCard::family`](crate::model::ModelCard::family).
    const FAMILY: &'static str;
    /// Author, year and title of the source.
    const CITATION: &'static str;
    /// Its abilities.
    const CAPABILITIES: Capabilities;

    /// The published hyperparameters for this kind of data.
    fn default_config(data: &DataSpec) -> Self::Config;

    /// The published training settings for this kind of data.
    fn default_training(data: &DataSpec) -> TrainConfig;

    /// The sampling options that a model of this kind of data has when it is built.
    fn default_sampling(data: &DataSpec) -> Self::Sampling;

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
    /// Author, year and title of the source.
    pub citation: &'static str,
    /// Its abilities.
    pub capabilities: Capabilities,
    default_config: fn(&DataSpec) -> Result<Table>,
    default_training: fn(&DataSpec) -> TrainConfig,
    default_sampling: fn(&DataSpec) -> Result<Table>,
    complete: fn(&Table) -> Result<Table>,
    complete_sampling: fn(&Table) -> Result<Table>,
    build: fn(&Table, &BuildContext) -> Result<Box<dyn GenerativeModel>>,
}

impl ModelEntry {
    /// The entry of model `M`.
    pub const fn of<M: Buildable>() -> Self {
        ModelEntry {
            name: M::NAME,
            summary: M::SUMMARY,
            family: M::FAMILY,
            citation: M::CITATION,
            capabilities: M::CAPABILITIES,
            default_config: |data| config::to_table(&M::default_config(data)),
            default_training: M::default_training,
            default_sampling: |data| config::to_table(&M::default_sampling(data)),
            complete: config::complete::<M::Config>,
            complete_sampling: config::complete::<M::Sampling>,
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
    pub fn default_config(&self, data: &DataSpec) -> Result<Table> {
        (self.default_config)(data)
    }

    /// The default training settings.
    pub fn default_training(&self, data: &DataSpec) -> TrainConfig {
        (self.default_training)(data)
    }

    /// The default sampling options as a table.
    ///
    /// # Errors
    /// When TOML cannot represent them, which is a bug of the model.
    pub fn default_sampling(&self, data: &DataSpec) -> Result<Table> {
        (self.default_sampling)(data)
    }

    /// The table of sampling options with the defaults of each choice in it, see [`config::complete`].
    ///
    /// # Errors
    /// As [`ModelEntry::complete`].
    pub fn complete_sampling(&self, table: &Table) -> Result<Table> {
        (self.complete_sampling)(table)
    }

    /// The table of hyperparameters with the defaults of each choice in it, see [`config::complete`].
    ///
    /// # Errors
    /// When a key is unknown, or one without a default is missing.
    pub fn complete(&self, table: &Table) -> Result<Table> {
        (self.complete)(table)
    }

    /// Builds the model from a table of hyperparameters. A key that the table lacks has its default for the data.
    ///
    /// # Errors
    /// When a key is unknown, or as [`Buildable::build`].
    pub fn build(&self, table: &Table, context: &BuildContext) -> Result<Box<dyn GenerativeModel>> {
        self.capabilities.check(self.name, &context.data)?;
        let mut all = self.default_config(&context.data)?;
        config::overlay(&mut all, table, self.complete)?;
        (self.build)(&all, context)
    }
}
