//! Trained models, found by the folders of their runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::config::{self, Table};
use gen_core::data::{Batch, Dataset, Split};
use gen_core::model::{Density, GenerativeModel, Latent, LikelihoodKind, SampleRequest};
use gen_core::rng::{Purpose, stream};
use gen_core::train::Progress;
use gen_run::RunFolder;
use tch::{Device, Tensor};

use crate::device::Compute;
use crate::given::GivenArgs;
use crate::{arguments, catalog, checkpoint, registry};

/// Options of commands that use one trained model.
#[derive(clap::Args)]
pub(crate) struct TrainedArgs {
    /// The folder of a trained run
    run: PathBuf,

    /// Use the weights of the best validation instead of the latest
    #[arg(long)]
    best: bool,

    #[command(flatten)]
    compute: Compute,
}

/// Sampling options of a model, for this command alone.
#[derive(clap::Args)]
pub(crate) struct SamplingOptions {
    /// Change a sampling option of the model; may be repeated. `gen info RUN` shows them
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// The sampler, for models that have several; as --set sampler=NAME
    #[arg(long)]
    sampler: Option<String>,

    /// The number of steps of an iterative sampler; as --set steps=N
    #[arg(long, value_parser = arguments::count)]
    steps: Option<usize>,

    /// Factor on the standard deviation of the latent noise; as --set temperature=X
    #[arg(long, value_parser = arguments::temperature)]
    temperature: Option<f64>,
}

impl SamplingOptions {
    /// Whether none was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.sampler.is_none() && self.steps.is_none() && self.temperature.is_none()
    }

    /// The options of `model` with these in their places.
    ///
    /// # Errors
    /// When the model cannot honour them.
    pub(crate) fn of(&self, model: &dyn GenerativeModel) -> gen_core::Result<Table> {
        let complete = |options: &Table| model.sampling_options(&SampleRequest::of(options));
        let mut options = complete(&Table::new())?;
        let short = [
            self.sampler.as_ref().map(|sampler| format!("sampler={sampler}")),
            self.steps.map(|steps| format!("steps={steps}")),
            self.temperature.map(|temperature| format!("temperature={temperature:?}")),
        ];
        for assignment in short.iter().flatten().chain(&self.set) {
            let set = config::set(&mut options, assignment, complete);
            set.map_err(|error| Error::invalid(format!("sampling options of `{}`: {error}", model.card().name)))?;
        }
        complete(&options)
    }
}

/// Options of commands that draw samples.
#[derive(clap::Args)]
pub(crate) struct SamplingArgs {
    /// The seed of the samples
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    #[command(flatten)]
    options: SamplingOptions,

    #[command(flatten)]
    pub(crate) given: GivenArgs,
}

impl SamplingArgs {
    /// A request for `n` samples of `model`.
    ///
    /// # Errors
    /// As [`SamplingOptions::of`] and [`GivenArgs::condition`].
    pub(crate) fn request(&self, model: &dyn GenerativeModel, n: usize) -> anyhow::Result<SampleRequest> {
        let condition = self.given.condition(model.card(), n)?;
        Ok(SampleRequest { n, seed: self.seed, condition, options: self.options.of(model)? })
    }
}

/// The option of commands that read the data of a run.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct OwnData {
    /// The place of the run's data, if they have moved since training: csv:PATH, npy:PATH or folder:PATH. They must
    /// have the same SHA-256
    #[arg(long)]
    pub(crate) data: Option<String>,
}

/// A run and its model with trained weights.
pub(crate) struct Trained {
    pub(crate) folder: RunFolder,
    pub(crate) model: Box<dyn GenerativeModel>,
    pub(crate) device: Device,
    /// Up to the checkpoint that the weights are from.
    pub(crate) progress: Progress,
    /// Whether the weights are a moving average.
    pub(crate) is_averaged: bool,
}

impl TrainedArgs {
    pub(crate) fn load(&self) -> anyhow::Result<Trained> {
        let device = self.compute.start()?;
        Trained::load(RunFolder::open(&self.run)?, self.best, device)
    }

    /// The model of another run, on the device of `trained`, with the same choice of weights.
    pub(crate) fn load_beside(&self, run: &Path, trained: &Trained) -> anyhow::Result<Trained> {
        Trained::load(RunFolder::open(run)?, self.best, trained.device)
    }
}

impl Trained {
    /// The model of a run with its latest weights, or with those of its best validation.
    pub(crate) fn load(folder: RunFolder, best: bool, device: Device) -> anyhow::Result<Self> {
        let model = folder.build(&registry::models(), device)?;
        let checkpoint = checkpoint::load(&folder, best)?;
        let weights = checkpoint.sampling_weights();
        model.weights().assign(&weights).context("the checkpoint does not fit the model")?;
        let (progress, is_averaged) = (checkpoint.progress, checkpoint.is_averaged());
        Ok(Trained { folder, model, device, progress, is_averaged })
    }

    /// The name of the model.
    pub(crate) fn name(&self) -> &'static str {
        self.model.card().name
    }

    /// Whether this is a model of images.
    pub(crate) fn of_images(&self) -> bool {
        self.model.card().data.shape.is_image()
    }

    /// The likelihood of the model; `consequence` ends the message of the error where it has none.
    pub(crate) fn density(&self, consequence: &str) -> anyhow::Result<&dyn Density> {
        let density = self.model.density();
        density.with_context(|| format!("`{}` gives no likelihood to data: {consequence}", self.name()))
    }

    /// The latent space of the model; `consequence` ends the message of the error where it has none.
    pub(crate) fn latent(&self, consequence: &str) -> anyhow::Result<&dyn Latent> {
        let latent = self.model.latent();
        latent.with_context(|| format!("`{}` has no latent space: {consequence}", self.name()))
    }

    /// The kind of likelihood that was asked for, otherwise `default`.
    pub(crate) fn likelihood(
        &self,
        asked: Option<LikelihoodKind>,
        default: Option<LikelihoodKind>,
    ) -> anyhow::Result<LikelihoodKind> {
        asked.or(default).with_context(|| format!("`{}` computes no kind of likelihood", self.name()))
    }

    /// The data that the run was trained on.
    pub(crate) fn data(&self, own: &OwnData) -> anyhow::Result<Dataset> {
        let data = match &own.data {
            Some(name) => catalog::load(name)?,
            None => catalog::load_of_run(&self.folder.config().run.dataset, self.folder.path())?,
        };
        Ok(self.folder.prepare(data)?)
    }

    /// Another data set with the options of the run's own.
    ///
    /// # Errors
    /// When its rows have another shape than those of the run's data.
    pub(crate) fn data_like_its_own(&self, name: &str) -> anyhow::Result<Dataset> {
        let spec = &self.model.card().data;
        let data = catalog::load(name)?;
        let mut options = spec.options.clone();
        // Dequantisation needs columns of equally spaced values.
        if !spec.shape.is_image() && data.discrete_columns()?.iter().all(|found| found.grid.is_none()) {
            options.dequantise = false;
        }
        let data = data.with_options(&options)?;
        if data.spec.shape != spec.shape {
            bail!("`{}` makes {:?}, `{name}` has {:?}", self.folder.name(), spec.shape, data.spec.shape);
        }
        Ok(data)
    }

    /// `n` samples of a model of points, `[n, dimension]`, for the background of a chart.
    pub(crate) fn points(&self, n: usize, seed: u64) -> anyhow::Result<Tensor> {
        Ok(self.model.sample(&SampleRequest::new(n, seed))?)
    }

    /// Rows as the model sees them, on its device. The noise of dequantisation depends on `seed` alone.
    pub(crate) fn batch(&self, data: &Dataset, rows: &Split, seed: u64) -> Batch {
        rows.to_batch(&data.spec, &stream(seed, Purpose::Evaluate, 0)).to_device(self.device)
    }
}
