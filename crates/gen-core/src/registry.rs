//! Models by name, so that a program can build one from a table of settings without its type.

use std::fmt;

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

/// A model that can be built from a configuration.
pub trait Buildable: GenerativeModel + Sized + 'static {
    /// The hyperparameters.
    type Config: Serialize + DeserializeOwned;
    /// The sampling options, apart from what training needs: the section `[sampling]`.
    type Sampling: Serialize + DeserializeOwned;

    /// The family, see [`ModelCard::family`](crate::model::ModelCard::family).
    const FAMILY: &'static str;

    /// Builds the model with fresh weights.
    ///
    /// # Errors
    /// When the model does not support the configuration or the shape of the data; the message says what it supports.
    fn build(recipe: Recipe<Self>, context: &BuildContext) -> Result<Self>;
}

/// All that is decided about a model before it sees data: a [`Preset`] for one kind of data, with changes or without.
pub struct Recipe<M: Buildable> {
    /// The name of the preset.
    pub name: &'static str,
    /// Its sources.
    pub citation: &'static str,
    /// The hyperparameters.
    pub config: M::Config,
    /// The model's own sampling options.
    pub sampling: M::Sampling,
}

/// Where a preset comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A published model. [`Preset::departures`] lists all differences.
    Paper,
    /// Pieces of several sources, put together and tuned here.
    House,
}

impl Origin {
    /// `paper` or `house`.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Paper => "paper",
            Origin::House => "house",
        }
    }
}

/// A published model, or one of the house: the pieces of `M` that it is made of, and its sources.
///
/// The README shows one, in "Add a model".
pub struct Preset<M: Buildable> {
    /// The name on the command line.
    pub name: &'static str,
    /// One line for `gen list`.
    pub summary: &'static str,
    /// Whether it is the model of a paper.
    pub origin: Origin,
    /// Author, year and title of each source.
    pub citation: &'static str,
    /// The differences from the sources, a sentence each.
    pub departures: &'static [&'static str],
    /// The abilities.
    pub capabilities: Capabilities,
    /// The hyperparameters for a kind of data.
    pub config: fn(&DataSpec) -> M::Config,
    /// The training settings for a kind of data.
    pub training: fn(&DataSpec) -> TrainConfig,
    /// The sampling options for a kind of data.
    pub sampling: fn(&DataSpec) -> M::Sampling,
}

/// Its name.
impl<M: Buildable> fmt::Debug for Preset<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preset").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<M: Buildable> Preset<M> {
    /// The hyperparameters for this kind of data.
    pub fn config(&self, data: &DataSpec) -> M::Config {
        (self.config)(data)
    }

    /// The training settings for this kind of data.
    pub fn training(&self, data: &DataSpec) -> TrainConfig {
        (self.training)(data)
    }

    /// The sampling options for this kind of data.
    pub fn sampling(&self, data: &DataSpec) -> M::Sampling {
        (self.sampling)(data)
    }

    /// Builds the model with fresh weights and these hyperparameters.
    ///
    /// # Errors
    /// When the data has what the model cannot learn from, or as [`Buildable::build`].
    pub fn build(&self, config: M::Config, context: &BuildContext) -> Result<M> {
        self.capabilities.check(self.name, &context.data)?;
        let sampling = self.sampling(&context.data);
        M::build(Recipe { name: self.name, citation: self.citation, config, sampling }, context)
    }
}

/// A [`Preset`] with the type of its model erased.
trait AnyPreset: Sync {
    fn config(&self, data: &DataSpec) -> Result<Table>;
    fn training(&self, data: &DataSpec) -> TrainConfig;
    fn sampling(&self, data: &DataSpec) -> Result<Table>;
    fn complete(&self, table: &Table) -> Result<Table>;
    fn complete_sampling(&self, table: &Table) -> Result<Table>;
    fn build(&self, table: &Table, context: &BuildContext) -> Result<Box<dyn GenerativeModel>>;
}

impl<M: Buildable> AnyPreset for Preset<M> {
    fn config(&self, data: &DataSpec) -> Result<Table> {
        config::to_table(&self.config(data))
    }

    fn training(&self, data: &DataSpec) -> TrainConfig {
        self.training(data)
    }

    fn sampling(&self, data: &DataSpec) -> Result<Table> {
        config::to_table(&self.sampling(data))
    }

    fn complete(&self, table: &Table) -> Result<Table> {
        config::complete::<M::Config>(table)
    }

    fn complete_sampling(&self, table: &Table) -> Result<Table> {
        config::complete::<M::Sampling>(table)
    }

    fn build(&self, table: &Table, context: &BuildContext) -> Result<Box<dyn GenerativeModel>> {
        Ok(Box::new(self.build(config::from_table(table)?, context)?))
    }
}

/// A model in a registry. `ModelEntry::of(&MY_PRESET)` adds a model to the program.
#[derive(Clone, Copy)]
pub struct ModelEntry {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of description.
    pub summary: &'static str,
    /// The family.
    pub family: &'static str,
    /// Whether it is the model of a paper.
    pub origin: Origin,
    /// Author, year and title of each source.
    pub citation: &'static str,
    /// The differences from the sources.
    pub departures: &'static [&'static str],
    /// Its abilities.
    pub capabilities: Capabilities,
    preset: &'static dyn AnyPreset,
}

impl ModelEntry {
    /// The entry of a preset.
    pub const fn of<M: Buildable>(preset: &'static Preset<M>) -> Self {
        ModelEntry {
            name: preset.name,
            summary: preset.summary,
            family: M::FAMILY,
            origin: preset.origin,
            citation: preset.citation,
            departures: preset.departures,
            capabilities: preset.capabilities,
            preset,
        }
    }

    /// The default hyperparameters as a table.
    ///
    /// # Errors
    /// When TOML cannot represent the configuration, which is a bug of the model.
    pub fn default_config(&self, data: &DataSpec) -> Result<Table> {
        self.preset.config(data)
    }

    /// The default training settings.
    pub fn default_training(&self, data: &DataSpec) -> TrainConfig {
        self.preset.training(data)
    }

    /// The default sampling options as a table.
    ///
    /// # Errors
    /// When TOML cannot represent them, which is a bug of the model.
    pub fn default_sampling(&self, data: &DataSpec) -> Result<Table> {
        self.preset.sampling(data)
    }

    /// The table of sampling options with the defaults of each choice in it, see [`config::complete`].
    ///
    /// # Errors
    /// As [`ModelEntry::complete`].
    pub fn complete_sampling(&self, table: &Table) -> Result<Table> {
        self.preset.complete_sampling(table)
    }

    /// The table of hyperparameters with the defaults of each choice in it, see [`config::complete`].
    ///
    /// # Errors
    /// When a key is unknown, or one without a default is missing.
    pub fn complete(&self, table: &Table) -> Result<Table> {
        self.preset.complete(table)
    }

    /// Builds the model from a table of hyperparameters. A key that the table lacks has its default for the data.
    ///
    /// # Errors
    /// When a key is unknown, or as [`Preset::build`].
    pub fn build(&self, table: &Table, context: &BuildContext) -> Result<Box<dyn GenerativeModel>> {
        let mut all = self.default_config(&context.data)?;
        config::overlay(&mut all, table, |table| self.complete(table))?;
        self.preset.build(&all, context)
    }
}
