//! `gen evaluate`: what a run, a reference or a set of samples is worth, under one protocol.

mod files;
mod progress;
mod samples;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::data::{Dataset, Values};
use gen_eval::{
    EvaluateOptions, Evaluated, Evaluation, FeatureSpace, METRICS, Measured, MetricSpec, Protocol, Reference,
    Stage,
};
use gen_run::{LIBTORCH_VERSION, RunFolder};
use tch::Device;

use crate::cache::FolderCache;
use crate::device::{self, Compute};
use crate::progress::Work;
use crate::spaces::{self, Choices};
use crate::trained::OwnData;
use crate::{catalog, checkpoint, registry};
use progress::Progress;
use samples::Range;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["runs", "reference", "samples"]).required(true))]
pub(crate) struct Args {
    /// Folders of trained runs; each gets evaluation.csv, metrics.csv and samples/evaluation.png
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Measure instead what no model made: floor, pixel-gaussian or pixel-noise
    #[arg(long, requires = "data", requires = "out")]
    reference: Option<Reference>,

    /// Measure instead anybody's samples: an .npy file of images [n, channels, height, width] or points
    /// [n, dimension], a .csv table of points, or a folder of pictures
    #[arg(long, value_name = "FILE|FOLDER", requires = "data")]
    samples: Option<PathBuf>,

    /// The data set, with --reference or --samples; of runs, where the data that they were trained on lie now, if not
    /// where they were
    #[arg(long)]
    data: Option<String>,

    /// The folder for the results, needed with --reference; of a run its own folder, if not given, and of several runs one
    /// that gets a folder for each
    #[arg(long)]
    out: Option<PathBuf>,

    /// What floating-point images go from and to, with --samples: 0,1 or -1,1
    #[arg(long, value_name = "LOW,HIGH", requires = "samples", allow_hyphen_values = true)]
    range: Option<Range>,

    /// How many samples to compare with as many test rows; fewer if there are fewer test rows
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

    #[arg(long, default_value = "all", value_name = "METRIC,...", help = metrics_help())]
    metrics: Metrics,

    /// The seed of the samples, and of which of them are measured where there are more than -n
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Sampler by name, for models that have several
    #[arg(long, requires = "runs")]
    sampler: Option<String>,

    /// Steps of an iterative sampler
    #[arg(long, requires = "runs")]
    steps: Option<usize>,

    /// With the weights of the best validation, instead of the latest
    #[arg(long, requires = "runs")]
    best: bool,

    /// Test rows for likelihoods that are bounds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    n_bound: u32,

    /// Test rows for likelihoods by the probability-flow equation
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
    n_ode: u32,

    /// Where to compare images, with commas between; the first fills evaluation.csv: auto (the data set's classifier,
    /// if the program has one, and a space without labels), classifier, random, pca, the file of a classifier, or
    /// inception:FILE for the network of published FIDs
    #[arg(long, default_value = "auto", value_name = "SPACE,...")]
    features: Choices,

    #[command(flatten)]
    compute: Compute,
}

/// The description of `--metrics`, which lists the table of metrics.
fn metrics_help() -> String {
    let names = METRICS.each_ref().map(|metric| metric.name).join(", ");
    format!("What to measure, with commas between: all, or some of {names}")
}

/// The metrics of a list.
#[derive(Debug, Clone, PartialEq)]
struct Metrics(Vec<&'static MetricSpec>);

impl Metrics {
    /// What was asked for by name and gave no number, as modes of images: nothing is passed over in silence.
    fn tell_what_does_not_apply(&self, measured: &[Measured]) {
        if self.0.len() == METRICS.len() {
            return;
        }
        for Measured { row, metrics } in measured {
            let gave = |metric: &MetricSpec| metrics.iter().any(|found| metric.gives(&found.metric));
            for metric in self.0.iter().filter(|metric| !gave(metric)) {
                crate::eprint(&format!("warning: {}: {metric} does not apply here", row.run));
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
        crate::output::check_folder(out)?;
    }
    let (measured, failures) = match (&args.reference, &args.samples, &args.data) {
        (Some(reference), _, Some(data)) => one(evaluate_reference(args, *reference, data)?),
        (_, Some(samples), Some(data)) => one(evaluate_samples(args, samples, data)?),
        _ => evaluate_runs(args, device)?,
    };
    table::print(&measured)?;
    args.metrics.tell_what_does_not_apply(&measured);
    let total = args.runs.len();
    match <[anyhow::Error; 1]>::try_from(failures) {
        Ok([error]) if total <= 1 => Err(error),
        Ok(_) => bail!("1 of {total} runs was not evaluated"),
        Err(failures) if failures.is_empty() => Ok(()),
        Err(failures) => bail!("{} of {total} runs were not evaluated", failures.len()),
    }
}

/// What was measured, and what went wrong. Numbers that could not be written are shown all the same.
type Outcome = (Vec<Measured>, Vec<anyhow::Error>);

fn one((measured, saved): (Measured, anyhow::Result<()>)) -> Outcome {
    (vec![measured], saved.err().into_iter().collect())
}

/// The errors of several runs are on standard error already.
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
                crate::eprint(&format!("gen: {}: {}", path.display(), crate::in_one_line(&error)));
            }
            failures.push(error);
        }
    }
    Ok((measured, failures))
}

/// Where the results of each run go.
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

/// The last part of a path, of `.` and `x/..` too.
fn folder_name(path: &Path) -> String {
    let full = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    };
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The data of the last run, and the spaces to compare it in: runs of one experiment share them.
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
    crate::output::check_folder(out)?;
    let config = folder.config();
    let model = folder.build(&registry::models(), device)?;
    let checkpoint = checkpoint::chosen(&folder, args.best)?;
    model
        .weights()
        .assign(&checkpoint.sampling_weights())
        .context("the checkpoint does not fit the model")?;

    let options = options(args);
    let same = |there: &Prepared| there.name == config.run.dataset && there.data.spec == config.data;
    if !prepared.as_ref().is_some_and(same) {
        let data = OwnData::at(args.data.as_deref()).of(&folder)?;
        if model.density().is_some() {
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
    let Evaluated { measured, samples } = protocol.evaluate(model.as_ref(), &mut observe)?;
    let progress = checkpoint.progress;
    let row = Evaluation {
        run: folder_name(path),
        seed: Some(config.run.seed),
        weights: match (checkpoint.is_averaged(), args.best) {
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
        train_images_per_second: Some(progress.images_seen as f64 / progress.seconds)
            .filter(|rate| rate.is_finite()),
        batch_size: Some(config.training.batch_size),
        peak_rss_mib: files::peak_rss_mib(&path.join("history.csv"))?,
        device: config.run.device.clone(),
        threads: Some(config.run.threads),
        train_precision: Some(config.training.precision.to_string()),
        sample_device: Some(device::name(device).to_owned()),
        sample_processor: Some(gen_report::Machine::this().cpu).filter(|cpu| !cpu.is_empty()),
        sample_threads: Some(tch::get_num_threads()),
        ..with_versions(measured.row)
    };
    let measured = Measured { row, ..measured };
    let saved = files::save(out, &measured, &samples);
    Ok((measured, saved))
}

fn evaluate_reference(
    args: &Args,
    reference: Reference,
    data: &str,
) -> anyhow::Result<(Measured, anyhow::Result<()>)> {
    let data = catalog::load(data)?;
    let asks_for_likelihood = args.metrics.0.iter().any(|metric| metric.needs_density());
    if asks_for_likelihood && reference == Reference::PixelGaussian {
        catalog::tell_of_discrete_columns(&data)?;
    }
    let found = measure(args, &data, |protocol, progress| {
        let evaluated = protocol.evaluate_reference(reference, progress)?;
        // What has no seed is the same in every run.
        let seed = Some(args.seed).filter(|_| reference != Reference::Floor);
        let measured = evaluated.measured;
        Ok(Evaluated {
            measured: Measured { row: Evaluation { seed, ..measured.row }, ..measured },
            ..evaluated
        })
    })?;
    let has_none = found.0.likelihood(false).is_none() && asks_for_likelihood;
    if has_none && reference == Reference::PixelGaussian && data.spec.values == Values::Continuous {
        crate::eprint(
            "warning: the covariance of the training rows is singular: the Gaussian has samples and no density",
        );
    }
    Ok(found)
}

fn evaluate_samples(args: &Args, path: &Path, data: &str) -> anyhow::Result<(Measured, anyhow::Result<()>)> {
    let data = catalog::load(data)?;
    let samples = samples::read(path, &data.spec, args.range)?;
    let there = samples.size().first().copied().unwrap_or(0);
    if there > i64::from(args.n) {
        crate::eprint(&format!("{} of {there} samples, drawn by --seed, are measured: see -n", args.n));
    }
    measure(args, &data, |protocol, progress| {
        let Evaluated { measured, samples } = protocol.evaluate_samples(&samples, progress)?;
        let model = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let model = model.unwrap_or_else(|| folder_name(path));
        let row = Evaluation { family: "samples".to_owned(), model, ..measured.row };
        Ok(Evaluated { measured: Measured { row, ..measured }, samples })
    })
}

/// A row about data alone.
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
    let saved = args.out.as_ref().map_or(Ok(()), |out| files::save(out, &measured, &samples));
    Ok((measured, saved))
}

/// The spaces of `--features`; none for what is compared in none.
fn spaces_for(options: &EvaluateOptions, data: &Dataset, args: &Args) -> anyhow::Result<Vec<FeatureSpace>> {
    if !options.needs_features() {
        return Ok(Vec::new());
    }
    // Those without a network of the data are fitted to the training rows.
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
        sampler: args.sampler.clone(),
        steps: args.steps,
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
