use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::data::{Dataset, bytes_to_signed, npy};
use gen_core::eval::{EvaluateOptions, Evaluated, Evaluation, FeatureSpace, Protocol, Reference, Stage};
use gen_core::run::{LIBTORCH_VERSION, RunFolder, grid, write_atomically};
use tch::{Device, Tensor};

use crate::device::{self, Compute};
use crate::spaces::{self, Choice};
use crate::{catalog, checkpoint, registry};

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").args(["runs", "reference", "samples"]).required(true))]
pub(crate) struct Args {
    /// Folders of trained runs; each gets an evaluation.csv and samples/evaluation.png
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Measure instead what no model made: floor, pixel-gaussian or pixel-noise
    #[arg(long, requires = "data", requires = "out")]
    reference: Option<Reference>,

    /// Measure instead the samples in an .npy file: bytes [n, channels, height, width], or points [n, dimension]
    #[arg(long, value_name = "FILE", requires = "data", requires = "out")]
    samples: Option<PathBuf>,

    /// The data set, with --reference or --samples; a run knows its own
    #[arg(long, conflicts_with = "runs")]
    data: Option<String>,

    /// The folder for the results, with --reference or --samples
    #[arg(long, conflicts_with = "runs")]
    out: Option<PathBuf>,

    /// How many samples to compare with as many test rows; fewer if there are fewer test rows
    #[arg(short, long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    n: u32,

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

    /// Test rows for likelihoods that are estimates
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    n_bound: u32,

    /// Where to compare images: auto (the data set's classifier, if the program has one), pca, or the file of a
    /// classifier
    #[arg(long, default_value = "auto")]
    features: Choice,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let device = args.compute.start()?;
    let (rows, failed) = match (&args.reference, &args.samples, &args.data, &args.out) {
        (Some(reference), _, Some(data), Some(out)) => {
            (vec![evaluate_reference(args, *reference, data, out)?], 0)
        }
        (_, Some(samples), Some(data), Some(out)) => (vec![evaluate_samples(args, samples, data, out)?], 0),
        _ => evaluate_runs(args, device)?,
    };
    print_table(&rows)?;
    if failed > 0 {
        bail!("{failed} of {} runs were not evaluated", args.runs.len());
    }
    Ok(())
}

/// The rows of the runs, and the number of runs that failed, whose errors are on standard error; the error itself
/// where there is one run only.
fn evaluate_runs(args: &Args, device: Device) -> anyhow::Result<(Vec<Evaluation>, usize)> {
    let mut prepared: Option<Prepared> = None;
    let mut rows = Vec::new();
    for path in &args.runs {
        match evaluate_run(args, path, device, &mut prepared) {
            Ok(row) => rows.push(row),
            Err(error) if args.runs.len() == 1 => return Err(error),
            Err(error) => crate::eprint(&format!("gen: {}: {error:#}", path.display())),
        }
    }
    let failed = args.runs.len() - rows.len();
    Ok((rows, failed))
}

/// The data of the last run, and the space to compare it in: runs of one experiment share them.
struct Prepared {
    name: String,
    data: Dataset,
    space: FeatureSpace,
}

fn evaluate_run(
    args: &Args,
    path: &Path,
    device: Device,
    prepared: &mut Option<Prepared>,
) -> anyhow::Result<Evaluation> {
    let folder = RunFolder::open(path)?;
    let config = folder.config();
    let model = folder.build(&registry::models(), device)?;
    let checkpoint = checkpoint::chosen(&folder, args.best)?;
    model
        .weights()
        .assign(&checkpoint.sampling_weights())
        .context("the checkpoint does not fit the model")?;

    let same = |there: &Prepared| there.name == config.run.dataset && there.data.spec == config.data;
    if !prepared.as_ref().is_some_and(same) {
        let data = folder.prepare(catalog::load(&config.run.dataset)?)?;
        let space = spaces::of(&data, &args.features)?;
        let data = data.to_device(device);
        *prepared = Some(Prepared { name: config.run.dataset.clone(), data, space });
    }
    let Some(Prepared { data, space, .. }) = prepared else { unreachable!("it was just set") };

    let protocol = Protocol::new(data, space, options(args))?;
    let evaluated = protocol.evaluate(model.as_ref(), &mut progress(folder.name()))?;
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
        peak_rss_mib: peak_rss_mib(&path.join("history.csv"))?,
        device: config.run.device.clone(),
        threads: Some(config.run.threads),
        ..with_versions(evaluated.row)
    };
    save(path, &row, &evaluated.samples)?;
    Ok(row)
}

fn evaluate_reference(
    args: &Args,
    reference: Reference,
    data: &str,
    out: &Path,
) -> anyhow::Result<Evaluation> {
    measure(args, data, out, |protocol, name| {
        let evaluated = protocol.evaluate_reference(reference, &mut progress(name))?;
        // What has no seed is the same in every run.
        let seed = Some(args.seed).filter(|_| reference != Reference::Floor);
        Ok(Evaluated { row: Evaluation { seed, ..evaluated.row }, ..evaluated })
    })
}

fn evaluate_samples(args: &Args, file: &Path, data: &str, out: &Path) -> anyhow::Result<Evaluation> {
    let samples = npy::read(file)?;
    measure(args, data, out, |protocol, _| {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let row = Evaluation {
            family: "samples".to_owned(),
            model: name.unwrap_or_default(),
            ..protocol.compare(&samples)?
        };
        Ok(Evaluated { row, samples })
    })
}

/// A row about data alone.
fn measure(
    args: &Args,
    data: &str,
    out: &Path,
    evaluate: impl FnOnce(&Protocol<'_>, String) -> gen_core::Result<Evaluated>,
) -> anyhow::Result<Evaluation> {
    let data = catalog::load(data)?;
    let space = spaces::of(&data, &args.features)?;
    let name = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Evaluated { row, samples } = evaluate(&Protocol::new(&data, &space, options(args))?, name.clone())?;
    let row = Evaluation {
        run: name,
        weights: "none".to_owned(),
        device: device::name(Device::Cpu).to_owned(),
        threads: Some(tch::get_num_threads()),
        ..with_versions(row)
    };
    save(out, &row, &samples)?;
    Ok(row)
}

fn options(args: &Args) -> EvaluateOptions {
    EvaluateOptions {
        n: args.n as usize,
        seed: args.seed,
        n_bound: args.n_bound as usize,
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

/// A line at each tenth of a stage.
fn progress(name: String) -> impl FnMut(Stage) {
    let mut last = (std::mem::discriminant(&Stage::Comparing), usize::MAX);
    move |stage| {
        let (line, tenth) = match stage {
            Stage::Comparing => ("comparing".to_owned(), 0),
            Stage::Sampling { done, total } => (format!("{done} of {total} samples"), 10 * done / total),
            Stage::Likelihood { done, total } => {
                (format!("likelihood of {done} of {total}"), 10 * done / total)
            }
        };
        let here = (std::mem::discriminant(&stage), tenth);
        if here != last {
            last = here;
            crate::eprint(&format!("{name}: {line}"));
        }
    }
}

/// The largest resident memory in a run's history.
fn peak_rss_mib(history: &Path) -> anyhow::Result<Option<f64>> {
    if !history.exists() {
        return Ok(None);
    }
    let read = || -> anyhow::Result<Option<f64>> {
        let mut reader = csv::Reader::from_path(history)?;
        let column = reader.headers()?.iter().position(|name| name == "rss_mib");
        let column = column.context("it has no column rss_mib")?;
        let mut peak: Option<f64> = None;
        for record in reader.records() {
            let value: Option<f64> = record?.get(column).and_then(|cell| cell.parse().ok());
            peak = value.map_or(peak, |value| Some(peak.map_or(value, |peak| peak.max(value))));
        }
        Ok(peak)
    };
    read().with_context(|| history.display().to_string())
}

/// Writes `evaluation.csv` and `samples/evaluation.png`, the first 64 samples (points: all).
fn save(folder: &Path, row: &Evaluation, samples: &Tensor) -> anyhow::Result<()> {
    let picture = match samples.dim() {
        4 => bytes_to_signed(&samples.narrow(0, 0, samples.size()[0].min(64))),
        _ => samples.shallow_clone(),
    };
    grid::save_grid(&picture, &folder.join("samples").join("evaluation.png"), 8)?;
    let text = csv_text(row)?;
    write_atomically(&folder.join("evaluation.csv"), |temporary| {
        std::fs::write(temporary, &text).map_err(gen_core::Error::io(temporary))
    })?;
    Ok(())
}

fn csv_text(row: &Evaluation) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row)?;
    Ok(writer.into_inner()?)
}

fn print_table(rows: &[Evaluation]) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let header =
        ["run", "FD", "floor", "KID", "precision", "recall", "coverage", "likelihood", "NFE", "images/s"];
    let number = |x: Option<f64>, digits: usize| x.map_or(String::new(), |x| format!("{x:.digits$}"));
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.run.clone(),
            number(row.fd, 3),
            number(row.fd_floor, 3),
            number(row.kid, 5),
            number(row.precision, 3),
            number(row.recall, 3),
            number(row.coverage, 3),
            likelihood(row),
            row.nfe.map_or(String::new(), |nfe| nfe.to_string()),
            number(row.sample_images_per_second, 0),
        ]
    }));
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &width))| match i {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Bits per dimension of images, nats of points.
fn likelihood(row: &Evaluation) -> String {
    let kind = row.likelihood_kind.as_deref().unwrap_or_default();
    match (row.bits_per_dim, row.nll_nats) {
        (Some(bits), _) => format!("{bits:.3} bits/dim {kind}"),
        (None, Some(nats)) => format!("{nats:.3} nats {kind}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and type of each column of evaluation.csv in the data dictionary.
    fn documented() -> Vec<(String, String)> {
        let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
        let rows = reader.records().map(Result::unwrap);
        let rows = rows.filter(|row| &row[0] == "*/evaluation.csv");
        rows.map(|row| (row[1].to_owned(), row[2].to_owned())).collect()
    }

    fn header() -> Vec<String> {
        let text = csv_text(&Evaluation::default()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        reader.headers().unwrap().iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_documented_columns_are_those_of_the_file() {
        let names: Vec<String> = documented().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, header());
    }

    #[test]
    fn the_documented_types_are_those_of_the_file() {
        let columns = header();
        let accepts = |at: usize, value: &str| {
            let mut cells = vec![""; columns.len()];
            cells[at] = value;
            let text = format!("{}\n{}\n", columns.join(","), cells.join(","));
            let row = csv::Reader::from_reader(text.as_bytes()).into_deserialize::<Evaluation>().next();
            row.unwrap().is_ok()
        };
        for (at, (name, kind)) in documented().iter().enumerate() {
            let found = match (accepts(at, "x"), accepts(at, "1.5"), accepts(at, "1")) {
                (true, true, true) => "string",
                (false, true, true) => "Float64",
                (false, false, true) => "Int64",
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(kind, found, "{name}");
        }
    }

    #[test]
    fn what_does_not_apply_is_empty() {
        let text = String::from_utf8(csv_text(&Evaluation::default()).unwrap()).unwrap();
        assert_eq!(text.lines().nth(1).unwrap(), ",".repeat(header().len() - 1));
    }

    #[test]
    fn the_peak_is_the_largest_in_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        assert_eq!(peak_rss_mib(&path).unwrap(), None);
        std::fs::write(&path, "step,rss_mib\n1,10.5\n2,\n3,12.5\n4,11\n").unwrap();
        assert_eq!(peak_rss_mib(&path).unwrap(), Some(12.5));
        std::fs::write(&path, "step\n1\n").unwrap();
        assert!(peak_rss_mib(&path).is_err());
    }
}
