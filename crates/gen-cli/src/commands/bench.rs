//! `gen bench`: a worker of `cargo xtask bench`, which trains and samples on request and reports the time.
//!
//! It prints a line of JSON when it is ready, then one for each line that it reads, so that several workers can be
//! timed in turn. The answer to a request that fails is `{"error": ...}`.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use gen_core::Precision;
use gen_core::data::{Batches, Binarise, Condition, Dataset};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::params::NamedTensors;
use gen_core::registry::BuildContext;
use gen_core::rng::{Purpose, stream, torch_seed};
use gen_core::train::{Budget, TrainConfig, Trainer, cpu_seconds};
use gen_run::LIBTORCH_VERSION;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::device::Compute;
use crate::settings::{Settings, SettingsFile, with_precision};
use crate::{arguments, catalog, files, message, registry};

/// Time a model for `cargo xtask bench`
///
/// After a line about the model, it answers each line of standard input with a line of JSON:
///
/// train N      wall-clock and processor seconds of N training steps of `gen train`
///
/// sample N     the same for N samples
///
/// export DIR   writes the settings, the data, and the state before and after one training step
///
/// quit         ends, as the end of the input does
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The model; `gen list` shows them
    model: String,

    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH
    #[arg(long)]
    data: String,

    /// The seed of all random numbers
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    /// Change a setting of the model, the training or the data; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// The precision of convolutions and linear layers, in training and in sampling
    #[arg(long)]
    precision: Option<Precision>,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.compute.start()?;
    let mut worker = Worker::new(args, device)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", worker.description())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim() == "quit" {
            break;
        }
        let answer = worker.answer(&line).unwrap_or_else(|error| json!({ "error": message::in_one_line(&error) }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// A model and everything that its training needs.
struct Worker {
    model: Box<dyn GenerativeModel>,
    config: toml::Table,
    training: TrainConfig,
    data: Dataset,
    seed: u64,
}

impl Worker {
    fn new(args: &Args, device: Device) -> anyhow::Result<Self> {
        let entry = registry::find(&args.model)?;
        let raw = catalog::load(&args.data)?;
        let set = with_precision(&args.set, args.precision);
        let settings = Settings::resolve(&entry, &raw, &set, &SettingsFile::default())?;
        let data = raw.with_options(&settings.options)?.to_device(device);
        let context = BuildContext { data: data.spec.clone(), device, seed: args.seed };
        let mut model = entry.build(&settings.model, &context)?;
        model.set_sampling_options(&settings.sampling)?;
        Ok(Worker { model, config: settings.model, training: settings.training, data, seed: args.seed })
    }

    fn description(&self) -> Value {
        let card = self.model.card();
        json!({
            "model": card.name,
            "parameters": card.parameters,
            "batch_size": self.training.batch_size.min(self.data.train.len()),
            "threads": tch::get_num_threads(),
            "precision": self.training.precision.to_string(),
            "version": concat!("gen ", env!("CARGO_PKG_VERSION")),
            "torch_version": LIBTORCH_VERSION,
        })
    }

    fn answer(&mut self, request: &str) -> anyhow::Result<Value> {
        let (command, argument) = request.trim().split_once(' ').unwrap_or((request.trim(), ""));
        let count = || match argument.parse() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(anyhow::anyhow!("`{command}` takes a positive number, found `{argument}`")),
        };
        match command {
            "train" => self.train(count()?),
            "sample" => self.sample(count()?),
            "export" if !argument.is_empty() => {
                let folder = Path::new(argument);
                self.export(folder).with_context(|| folder.display().to_string())?;
                Ok(json!({ "exported": argument }))
            }
            _ => bail!("requests are `train N`, `sample N`, `export DIR` and `quit`, found `{request}`"),
        }
    }

    /// Trains from the current weights, with a new order of the data in each call.
    fn train(&mut self, steps: u64) -> anyhow::Result<Value> {
        self.seed += 1;
        let budget = Budget::Steps(steps);
        let mut trainer = Trainer::new(self.model.as_mut(), &self.data, self.training.clone(), budget, self.seed)?;
        while trainer.advance()?.is_some() {}
        let progress = trainer.progress();
        Ok(json!({ "seconds": progress.seconds, "cpu_seconds": progress.cpu_seconds }))
    }

    fn sample(&self, n: u64) -> anyhow::Result<Value> {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let _region = self.training.precision.region();
        let condition = self.model.card().conditioning.draw(&self.data.train, n as usize, self.seed);
        let samples = self.model.sample(&SampleRequest::new(n as usize, self.seed).given(condition))?;
        // An accelerator computes after the call returns. Reading a value waits for it.
        let _ = samples.reshape([-1]).get(0).double_value(&[]);
        Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "cpu_seconds": cpu_seconds() - cpu }))
    }

    /// Writes everything that another implementation needs to take the same training step, and the result of the step
    /// here.
    fn export(&mut self, folder: &Path) -> anyhow::Result<()> {
        let options = &self.data.spec.options;
        if options.flip
            || options.dequantise
            || options.perturb > 0.0
            || options.binarise == Binarise::Dynamic
            || !self.data.spec.grids.is_empty()
        {
            bail!(
                "`flip`, `dequantise`, `perturb` and `binarise=dynamic` draw random numbers before the step: leave \
                 them out"
            );
        }
        let batch_size = self.training.batch_size;
        let batch = Batches::new(&self.data.train, &self.data.spec, batch_size, self.seed)
            .get(0, &stream(self.seed, Purpose::Train, 0));
        let training = TrainConfig { log_every: 1, ..self.training.clone() };
        let mut trainer = Trainer::new(self.model.as_mut(), &self.data, training, Budget::Steps(1), self.seed)?;
        files::write_tensors(&folder.join("before.safetensors"), &trainer.state())?;
        let Some(record) = trainer.advance()? else { bail!("the training step was not taken") };
        files::write_tensors(&folder.join("after.safetensors"), &trainer.state())?;
        let mut tensors = NamedTensors::new();
        // The networks of peers take points in single precision.
        let single = |x: &Tensor| if x.is_floating_point() { x.to_kind(Kind::Float) } else { x.shallow_clone() };
        tensors.insert("train", single(&self.data.train.x));
        tensors.insert("batch", single(&batch.x));
        let Condition { labels, image, context } = &batch.condition;
        for (name, part) in [("labels", labels), ("image", image), ("context", context)] {
            if let Some(part) = part {
                tensors.insert(name, single(part));
            }
        }
        files::write_tensors(&folder.join("data.safetensors"), &tensors)?;
        let losses: serde_json::Map<String, Value> =
            record.losses.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let step = json!({
            "model": self.model.card().name,
            "parameters": self.model.card().parameters,
            "config": self.config,
            "sampling": self.model.sampling_options(&SampleRequest::new(0, 0))?,
            "training": self.training,
            "data": self.data.spec,
            "torch_seed": torch_seed(self.seed, Purpose::Train, 0),
            "sample_seed": torch_seed(0, Purpose::Sample, 0),
            "lr_scale": record.lr_scale,
            "losses": losses,
        });
        Ok(files::write_bytes(&folder.join("step.json"), serde_json::to_vec_pretty(&step)?)?)
    }
}
