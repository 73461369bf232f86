//! `gen evaluate`: what a run, a reference or a set of samples is worth, under one protocol.

mod files;
mod progress;
mod samples;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::data::Dataset;
use gen_core::eval::{
    EvaluateOptions, Evaluated, Evaluation, FeatureSpace, Measured, Metric, Protocol, Reference, Stage,
};
use gen_core::run::{LIBTORCH_VERSION, RunFolder};
use tch::Device;

use crate::cache::FolderCache;
use crate::device::{self, Compute};
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
    /// [n, dimension], or a folder of pictures
    #[arg(long, value_name = "FILE|FOLDER", requires = "data")]
    samples: Option<PathBuf>,

    /// The data set, with --reference or --samples; of runs, where the data that they were trained on lie now, if not
    /// where they were
    #[arg(long)]
    data: Option<String>,

    /// The folder for the results, with --reference or --samples
    #[arg(long, conflicts_with = "runs")]
    out: Option<PathBuf>,

    /// What floating-point images go from and to, with --samples: 0,1 or -1,1
    #[arg(long, value_name = "LOW,HIGH", requires = "samples", allow_hyphen_values = true)]
    range: Option<Range>,

    /// How many samples to compare with as many test rows; fewer if there are fewer test rows
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

    /// What to measure, with commas between: all, or some of fd, fd-infinity, kid, kid-subsets, classifier-score,
    /// classes, prdc, vendi, sliced-wasserstein, wasserstein, mmd, energy-distance, fls, memorisation, one-nearest,
    /// path-length, modes, likelihood
    #[arg(long, default_value = "all", value_name = "METRIC,...")]
    metrics: Metrics,

    /// The seed of the samples
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

/// The metrics of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Metrics(Vec<Metric>);

impl Metrics {
    /// What was asked for by name and gave no number, as modes of images: nothing is passed over in silence.
    fn tell_what_does_not_apply(&self, measured: &[Measured]) {
        if self.0.len() == Metric::ALL.len() {
            return;
        }
        for Measured { row, metrics } in measured {
            let gave = |metric: &&Metric| {
                metrics.iter().any(|found| found.metric.parse::<Metric>().is_ok_and(|one| one == **metric))
            };
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
            return Ok(Metrics(Metric::ALL.to_vec()));
        }
        text.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>().map(Metrics)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.compute.start()?;
    let (measured, failed) = match (&args.reference, &args.samples, &args.data) {
        (Some(reference), _, Some(data)) => (vec![evaluate_reference(args, *reference, data)?], 0),
        (_, Some(samples), Some(data)) => (vec![evaluate_samples(args, samples, data)?], 0),
        _ => evaluate_runs(args, device)?,
    };
    table::print(&measured)?;
    args.metrics.tell_what_does_not_apply(&measured);
    if failed > 0 {
        bail!("{failed} of {} runs were not evaluated", args.runs.len());
    }
    Ok(())
}

/// What was measured of the runs, and the number of runs that failed, whose errors are on standard error; the error
/// itself where there is one run only.
fn evaluate_runs(args: &Args, device: Device) -> anyhow::Result<(Vec<Measured>, usize)> {
    let mut prepared: Option<Prepared> = None;
    let mut measured = Vec::new();
    for path in &args.runs {
        match evaluate_run(args, path, device, &mut prepared) {
            Ok(row) => measured.push(row),
            Err(error) if args.runs.len() == 1 => return Err(error),
            Err(error) => crate::eprint(&format!("gen: {}: {error:#}", path.display())),
        }
    }
    let failed = args.runs.len() - measured.len();
    Ok((measured, failed))
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
    device: Device,
    prepared: &mut Option<Prepared>,
) -> anyhow::Result<Measured> {
    let folder = RunFolder::open(path)?;
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
        let spaces = spaces_for(&options, &data, args)?;
        let data = data.to_device(device);
        *prepared = Some(Prepared { name: config.run.dataset.clone(), data, spaces });
    }
    let Some(Prepared { data, spaces, .. }) = prepared else { unreachable!("it was just set") };

    let cache = FolderCache::of_user()?;
    let mut progress = Progress::new(folder.name());
    let mut observe = |stage: Stage| progress.show(&stage);
    let protocol = Protocol::new(data, spaces, &options, &cache, &mut observe)?;
    let Evaluated { measured, samples } = protocol.evaluate(model.as_ref(), &mut observe)?;
    let progress = checkpoint.progress;
    let row = Evaluation {
        run: folder.name(),
        seed: Some(config.run.seed),
        weights: match (checkpoint.is_averaged(), args.best) {
            (true, false) => "ema",
            (false, false) => "raw",
            (true, true) => "ema-best",
            (false, true) => "raw-best",
        }
        .to_owned(),
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
        ..with_versions(measured.row)
    };
    let measured = Measured { row, ..measured };
    files::save(path, &measured, &samples)?;
    Ok(measured)
}

fn evaluate_reference(args: &Args, reference: Reference, data: &str) -> anyhow::Result<Measured> {
    let data = catalog::load(data)?;
    measure(args, &data, |protocol, progress| {
        let evaluated = protocol.evaluate_reference(reference, progress)?;
        // What has no seed is the same in every run.
        let seed = Some(args.seed).filter(|_| reference != Reference::Floor);
        let measured = evaluated.measured;
        Ok(Evaluated {
            measured: Measured { row: Evaluation { seed, ..measured.row }, ..measured },
            ..evaluated
        })
    })
}

fn evaluate_samples(args: &Args, path: &Path, data: &str) -> anyhow::Result<Measured> {
    let data = catalog::load(data)?;
    let samples = samples::read(path, &data.spec, args.range)?;
    let there = samples.size()[0];
    let samples = samples.narrow(0, 0, there.min(i64::from(args.n)));
    if there > samples.size()[0] {
        crate::eprint(&format!("the first {} of {there} samples are measured: see -n", samples.size()[0]));
    }
    measure(args, &data, |protocol, progress| {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let measured = protocol.compare(&samples, progress)?;
        let row =
            Evaluation { family: "samples".to_owned(), model: name.unwrap_or_default(), ..measured.row };
        Ok(Evaluated { measured: Measured { row, ..measured }, samples })
    })
}

/// A row about data alone.
fn measure(
    args: &Args,
    data: &Dataset,
    evaluate: impl FnOnce(&Protocol<'_>, &mut dyn FnMut(Stage)) -> gen_core::Result<Evaluated>,
) -> anyhow::Result<Measured> {
    let options = options(args);
    let spaces = spaces_for(&options, data, args)?;
    let cache = FolderCache::of_user()?;
    let name = args.out.as_deref().or(args.samples.as_deref()).and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
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
    if let Some(out) = &args.out {
        files::save(out, &measured, &samples)?;
    }
    Ok(measured)
}

/// The spaces of `--features`; none for what is compared in none.
fn spaces_for(options: &EvaluateOptions, data: &Dataset, args: &Args) -> anyhow::Result<Vec<FeatureSpace>> {
    if options.needs_features() { spaces::of(data, &args.features) } else { Ok(Vec::new()) }
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
