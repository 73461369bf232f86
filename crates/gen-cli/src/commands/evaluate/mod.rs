//! `gen evaluate`: measures runs, references and sets of samples by one protocol.

mod progress;
mod results;
mod samples;
mod table;

use std::path::{Path, PathBuf};

use anyhow::bail;
use gen_core::data::{Dataset, Values};
use gen_eval::{
    EvaluateOptions, Evaluated, Evaluation, FeatureSpace, METRICS, Measured, MetricSpec, Protocol, Reference, Stage,
};
use gen_run::{LIBTORCH_VERSION, RunFolder};
use tch::Device;

use crate::arguments::Interval;
use crate::cache::FolderCache;
use crate::device::{self, Compute};
use crate::progress::Work;
use crate::spaces::{self, Choices};
use crate::trained::{OwnData, SamplingOptions, Trained};
use crate::{arguments, catalog, message, output};
use progress::Progress;

/// Measure trained models, samples from elsewhere, or the reference rows of a data set
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["runs", "reference", "samples"]).required(true))]
pub(crate) struct Args {
    /// The folders of trained runs; each gets evaluation.csv, metrics.csv and samples/evaluation.png
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Measure a reference instead of a model: floor, pixel-gaussian or pixel-noise
    #[arg(long, requires = "data", requires = "out")]
    reference: Option<Reference>,

    /// Measure samples from elsewhere: an .npy file of images [n, channels, height, width] or points
    /// [n, dimension], a .csv table of points, or a folder of pictures
    #[arg(long, value_name = "FILE|FOLDER", requires = "data")]
    samples: Option<PathBuf>,

    /// The data set of --reference or --samples; for runs the place of their data, if they have moved since training
    #[arg(long)]
    data: Option<String>,

    /// The folder for the results, required with --reference; several runs get a folder each inside it [default: the
    /// folder of the run]
    #[arg(long)]
    out: Option<PathBuf>,

    /// The range of values of floating-point images in --samples: 0,1 or -1,1
    #[arg(
        long,
        value_name = "LOW,HIGH",
        requires = "samples",
        allow_hyphen_values = true,
        value_parser = arguments::interval
    )]
    range: Option<Interval>,

    /// The number of samples, compared with as many test rows; fewer if there are fewer test rows
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

    #[arg(long, default_value = "all", value_name = "METRIC,...", help = metrics_help())]
    metrics: Metrics,

    /// The seed of the samples, and of the choice among more than -n of them
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    #[command(flatten)]
    sampling: SamplingOptions,

    /// Use the weights of the best validation instead of the latest
    #[arg(long, requires = "runs")]
    best: bool,

    /// The number of test rows for likelihoods that are bounds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    n_bound: u32,

    /// The number of test rows for likelihoods by the probability-flow ODE
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
    n_ode: u32,

    /// The feature spaces for images, separated by commas; evaluation.csv has the first. One of auto (the built-in
    /// networks of the data set, otherwise random and pca), classifier, self-supervised, random, pca, the file of a
    /// feature network, or inception:FILE for the network of published FIDs
    #[arg(long, default_value = "auto", value_name = "SPACE,...")]
    features: Choices,

    #[command(flatten)]
    compute: Compute,
}

/// The description of `--metrics`, which lists the table of metrics.
fn metrics_help() -> String {
    let names = METRICS.each_ref().map(|metric| metric.name).join(", ");
    format!("The metrics, separated by commas: all, or some of {names}")
}

/// A list of metrics.
#[derive(Debug, Clone, PartialEq)]
struct Metrics(Vec<&'static MetricSpec>);

impl Metrics {
    /// Warns about each metric that was asked for by name and gave no number, such as the modes of images.
    fn warn_of_missing(&self, measured: &[Measured]) {
        if self.0.len() == METRICS.len() {
            return;
        }
        for Measured { row, metrics } in measured {
            let gave = |metric: &MetricSpec| metrics.iter().any(|found| metric.gives(&found.metric));
            for metric in self.0.iter().filter(|metric| !gave(metric)) {
                message::warn(format!("{}: {metric} does not apply here", row.run));
            }
        }
    }
}

impl std::str::FromStr for Metrics {
    type Err = gen_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Metrics(METRICS.iter().collect()));
        }
        text.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>().map(Metrics)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.compute.start()?;
    if let Some(out) = &args.out {
        output::check_folder(out)?;
    }
    if args.runs.is_empty() && !args.sampling.is_empty() {
        bail!("sampling options are for runs, whose models draw the samples");
    }
    let (measured, failures) = match (&args.reference, &args.samples, &args.data) {
        (Some(reference), _, Some(data)) => one(evaluate_reference(args, *reference, data)?),
        (_, Some(samples), Some(data)) => one(evaluate_samples(args, samples, data)?),
        _ => evaluate_runs(args, device)?,
    };
    table::print(&measured)?;
    args.metrics.warn_of_missing(&measured);
    let total = args.runs.len();
    match <[anyhow::Error; 1]>::try_from(failures) {
        Ok([error]) if total <= 1 => Err(error),
        Ok(_) => bail!("1 of {total} runs was not evaluated"),
        Err(failures) if failures.is_empty() => Ok(()),
        Err(failures) => bail!("{} of {total} runs were not evaluated", failures.len()),
    }
}

/// The measurements, including those that could not be written, and the errors.
type Outcome = (Vec<Measured>, Vec<anyhow::Error>);

fn one((measured, saved): (Measured, anyhow::Result<()>)) -> Outcome {
    (vec![measured], saved.err().into_iter().collect())
}

/// Evaluates the runs. With several runs, each error is printed as it occurs.
fn evaluate_runs(args: &Args, device: Device) -> anyhow::Result<Outcome> {
    let mut prepared: Option<Prepared> = None;
    let (mut measured, mut failures) = (Vec::new(), Vec::new());
    for (path, out) in args.runs.iter().zip(outs(args)?) {
        let saved = match evaluate_run(args, path, &out, device, &mut prepared) {
            Ok((row, saved)) => {
                measured.push(row);
                saved
            }
            Err(error) => Err(error),
        };
        if let Err(error) = saved {
            if args.runs.len() > 1 {
                message::tell(format!("gen: {}: {}", path.display(), message::in_one_line(&error)));
            }
            failures.push(error);
        }
    }
    Ok((measured, failures))
}

/// The folders for the results of the runs.
fn outs(args: &Args) -> anyhow::Result<Vec<PathBuf>> {
    match (&args.out, args.runs.as_slice()) {
        (None, runs) => Ok(runs.to_vec()),
        (Some(out), [_]) => Ok(vec![out.clone()]),
        (Some(out), runs) => {
            let outs: Vec<PathBuf> = runs.iter().map(|run| out.join(folder_name(run))).collect();
            for (at, path) in outs.iter().enumerate() {
                if let Some(before) = outs[..at].iter().position(|other| other == path) {
                    bail!(
                        "{} and {} would both be written to {}: evaluate one of them with an --out of its own",
                        runs[before].display(),
                        runs[at].display(),
                        path.display()
                    );
                }
            }
            Ok(outs)
        }
    }
}

/// The last part of a path, also for paths such as `.` and `x/..`.
fn folder_name(path: &Path) -> String {
    let full = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    };
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The data of the last run and its feature spaces. Runs of one experiment share them.
struct Prepared {
    name: String,
    data: Dataset,
    spaces: Vec<FeatureSpace>,
}

fn evaluate_run(
    args: &Args,
    path: &Path,
    out: &Path,
    device: Device,
    prepared: &mut Option<Prepared>,
) -> anyhow::Result<(Measured, anyhow::Result<()>)> {
    let folder = RunFolder::open(path)?;
    output::check_folder(out)?;
    let trained = Trained::load(folder, args.best, device)?;
    let config = trained.folder.config();
    let mut options = options(args);
    options.sampling = args.sampling.of(trained.model.as_ref())?;
    let same = |there: &Prepared| there.name == config.run.dataset && there.data.spec == config.data;
    if !prepared.as_ref().is_some_and(same) {
        let data = trained.data(&OwnData { data: args.data.clone() })?;
        if trained.model.density().is_some() {
            catalog::tell_of_discrete_columns(&data)?;
        }
        let spaces = spaces_for(&options, &data, args)?;
        let data = data.to_device(device);
        *prepared = Some(Prepared { name: config.run.dataset.clone(), data, spaces });
    }
    let Some(Prepared { data, spaces, .. }) = prepared else { unreachable!("it was just set") };

    let cache = FolderCache::of_user()?;
    let mut progress = Progress::new(folder_name(path));
    let mut observe = |stage: Stage| progress.show(&stage);
    let protocol = Protocol::new(data, spaces, &options, &cache, &mut observe)?;
    let Evaluated { measured, samples } = protocol.evaluate(trained.model.as_ref(), &mut observe)?;
    let progress = trained.progress;
    let row = Evaluation {
        run: folder_name(path),
        seed: Some(config.run.seed),
        weights: match (trained.is_averaged, args.best) {
            (true, false) => "ema",
            (false, false) => "raw",
            (true, true) => "ema-best",
            (false, true) => "raw-best",
        }
        .to_owned(),
        config_sha256: Some(config.sha256()?),
        budget: Some(config.run.budget.to_string()),
        steps: Some(progress.step),
        images_seen: Some(progress.images_seen),
        train_seconds: Some(progress.seconds),
        train_cpu_seconds: Some(progress.cpu_seconds),
        train_images_per_second: Some(progress.images_seen as f64 / progress.seconds).filter(|rate| rate.is_finite()),
        batch_size: Some(config.training.batch_size),
        peak_rss_mib: results::peak_rss_mib(&path.join("history.csv"))?,
        device: config.run.device.clone(),
        threads: Some(config.run.threads),
        train_precision: Some(config.training.precision.to_string()),
        sample_device: Some(device::name(device).to_owned()),
        sample_processor: Some(gen_report::Machine::this().cpu).filter(|cpu| !cpu.is_empty()),
        sample_threads: Some(tch::get_num_threads()),
        ..with_versions(measured.row)
    };
    let measured = Measured { row, ..measured };
    let saved = results::save(out, &measured, &samples);
    Ok((measured, saved))
}

fn evaluate_reference(args: &Args, reference: Reference, data: &str) -> anyhow::Result<(Measured, anyhow::Result<()>)> {
    let data = catalog::load(data)?;
    let asks_for_likelihood = args.metrics.0.iter().any(|metric| metric.needs_density());
    if asks_for_likelihood && reference == Reference::PixelGaussian {
        catalog::tell_of_discrete_columns(&data)?;
    }
    let found = measure(args, &data, |protocol, progress| {
        let evaluated = protocol.evaluate_reference(reference, progress)?;
        // The floor is made without random numbers.
        let seed = Some(args.seed).filter(|_| reference != Reference::Floor);
        let measured = evaluated.measured;
        Ok(Evaluated { measured: Measured { row: Evaluation { seed, ..measured.row }, ..measured }, ..evaluated })
    })?;
    let has_none = found.0.likelihood(false).is_none() && asks_for_likelihood;
    if has_none && reference == Reference::PixelGaussian && data.spec.values == Values::Continuous {
        message::warn("the covariance of the training rows is singular: the Gaussian has samples but no density");
    }
    Ok(found)
}

fn evaluate_samples(args: &Args, path: &Path, data: &str) -> anyhow::Result<(Measured, anyhow::Result<()>)> {
    let data = catalog::load(data)?;
    let samples = samples::read(path, &data.spec, args.range)?;
    let there = samples.size().first().copied().unwrap_or(0);
    if there > i64::from(args.n) {
        message::tell(format!("{} of {there} samples, drawn by --seed, are measured: see -n", args.n));
    }
    measure(args, &data, |protocol, progress| {
        let Evaluated { measured, samples } = protocol.evaluate_samples(&samples, progress)?;
        let model = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let model = model.unwrap_or_else(|| folder_name(path));
        let row = Evaluation { family: "samples".to_owned(), model, ..measured.row };
        Ok(Evaluated { measured: Measured { row, ..measured }, samples })
    })
}

/// Measures samples that no model made.
fn measure(
    args: &Args,
    data: &Dataset,
    evaluate: impl FnOnce(&Protocol<'_>, &mut dyn FnMut(Stage)) -> gen_core::Result<Evaluated>,
) -> anyhow::Result<(Measured, anyhow::Result<()>)> {
    let options = options(args);
    let spaces = spaces_for(&options, data, args)?;
    let cache = FolderCache::of_user()?;
    let name = args.out.as_deref().or(args.samples.as_deref()).map(folder_name).unwrap_or_default();
    let mut progress = Progress::new(name.clone());
    let mut observe = |stage: Stage| progress.show(&stage);
    let protocol = Protocol::new(data, &spaces, &options, &cache, &mut observe)?;
    let Evaluated { measured, samples } = evaluate(&protocol, &mut observe)?;
    let row = Evaluation {
        run: name,
        weights: "none".to_owned(),
        device: device::name(Device::Cpu).to_owned(),
        threads: Some(tch::get_num_threads()),
        ..with_versions(measured.row)
    };
    let measured = Measured { row, ..measured };
    let saved = args.out.as_ref().map_or(Ok(()), |out| results::save(out, &measured, &samples));
    Ok((measured, saved))
}

/// The spaces of `--features`; none if no metric needs features.
fn spaces_for(options: &EvaluateOptions, data: &Dataset, args: &Args) -> anyhow::Result<Vec<FeatureSpace>> {
    if !options.needs_features() {
        return Ok(Vec::new());
    }
    // Some spaces are fitted to the training rows, which takes time.
    let _work = Work::on("feature spaces");
    spaces::of(data, &args.features)
}

fn options(args: &Args) -> EvaluateOptions {
    EvaluateOptions {
        n: args.n as usize,
        seed: args.seed,
        n_bound: args.n_bound as usize,
        n_ode: args.n_ode as usize,
        metrics: args.metrics.0.clone(),
        ..EvaluateOptions::default()
    }
}

fn with_versions(row: Evaluation) -> Evaluation {
    Evaluation {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch_version: LIBTORCH_VERSION.to_owned(),
        ..row
    }
}
