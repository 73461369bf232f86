//! A trained model, by the name of its run's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::data::{Batch, Dataset, Split};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::rng::{Purpose, stream};
use gen_run::RunFolder;
use tch::{Device, Tensor};

use crate::device::Compute;
use crate::{catalog, checkpoint, registry};

/// Options of every command that looks into one trained model.
#[derive(clap::Args)]
pub(crate) struct TrainedArgs {
    /// The folder of a trained run
    run: PathBuf,

    /// With the weights of the best validation, instead of the latest
    #[arg(long)]
    best: bool,

    #[command(flatten)]
    compute: Compute,
}

/// Where the data of a run lie, for commands that look at them.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct OwnData {
    /// Where the data that the run was trained on lie now, if not where they were: csv:PATH, npy:PATH or folder:PATH. They
    /// are the same if their SHA-256 is
    #[arg(long)]
    data: Option<String>,
}

impl OwnData {
    /// Of a command that has another option for it.
    pub(crate) fn at(data: Option<&str>) -> Self {
        OwnData { data: data.map(str::to_owned) }
    }

    /// The data of a run.
    pub(crate) fn of(&self, folder: &RunFolder) -> anyhow::Result<Dataset> {
        let data = match &self.data {
            Some(name) => catalog::load(name)?,
            None => catalog::load_of_run(&folder.config().run.dataset, folder.path())?,
        };
        Ok(folder.prepare(data)?)
    }
}

/// A run and its model with trained weights.
pub(crate) struct Trained {
    pub(crate) folder: RunFolder,
    pub(crate) model: Box<dyn GenerativeModel>,
    pub(crate) device: Device,
}

impl TrainedArgs {
    pub(crate) fn load(&self) -> anyhow::Result<Trained> {
        let device = self.compute.start()?;
        self.load_beside(&self.run, device)
    }

    /// The model of another run, on a device that was started, with the same choice of weights.
    pub(crate) fn load_beside(&self, run: &Path, device: Device) -> anyhow::Result<Trained> {
        let folder = RunFolder::open(run)?;
        let model = folder.build(&registry::models(), device)?;
        let weights = checkpoint::chosen(&folder, self.best)?.sampling_weights();
        model.weights().assign(&weights).context("the checkpoint does not fit the model")?;
        Ok(Trained { folder, model, device })
    }
}

impl Trained {
    /// The model's name.
    pub(crate) fn name(&self) -> &'static str {
        self.model.card().name
    }

    /// Whether the model is of images.
    pub(crate) fn of_images(&self) -> bool {
        self.model.card().data.shape.is_image()
    }

    /// The data that the run was trained on.
    pub(crate) fn data(&self, own: &OwnData) -> anyhow::Result<Dataset> {
        own.of(&self.folder)
    }

    /// The data set of this name as the model would see it, if its rows are of the same shape as the run's own.
    pub(crate) fn data_like_its_own(&self, name: &str) -> anyhow::Result<Dataset> {
        let spec = &self.model.card().data;
        let data = catalog::load(name)?;
        let mut options = spec.options.clone();
        // Points that have no steps of their own are spread over none.
        if !spec.shape.is_image() && data.discrete_columns()?.iter().all(|found| found.grid.is_none()) {
            options.dequantise = false;
        }
        let data = data.with_options(&options)?;
        if data.spec.shape != spec.shape {
            bail!("`{}` makes {:?}, `{name}` has {:?}", self.folder.name(), spec.shape, data.spec.shape);
        }
        Ok(data)
    }

    /// `n` samples of a model of points, for the background of a chart.
    pub(crate) fn points(&self, n: usize, seed: u64) -> anyhow::Result<Tensor> {
        Ok(self.model.sample(&SampleRequest::new(n, seed))?)
    }

    /// Rows as the model sees them; what is random in it depends on `seed` alone.
    pub(crate) fn batch(&self, data: &Dataset, rows: &Split, seed: u64) -> Batch {
        let batch = rows.to_batch(&data.spec, &stream(seed, Purpose::Evaluate, 0));
        Batch { x: batch.x.to_device(self.device), ..batch }
    }
}
