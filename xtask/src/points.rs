//! `cargo xtask points`: how close models of points come to the entropy of the nine sets, which no density can beat.
//!
//! Each model is trained on each set with each seed for the same time, and evaluated on 100,000 held-out points. The
//! networks are so small that two runs side by side, with one thread each, use two cores better than one run with two.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use gen_report::{aligned, write_atomically};

use crate::experiment::{self, Places};
use crate::process::{self, Stream};
use crate::statistics::median;
use crate::terminal::note;

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// The sets of points
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "moons,circles,rings,swissroll,8gaussians,25gaussians,pinwheel,2spirals,checkerboard"
    )]
    sets: Vec<String>,

    /// The models; `gen list` shows them
    #[arg(long, value_delimiter = ',', default_value = "nsf,nsf-ar")]
    models: Vec<String>,

    /// How long each trains
    #[arg(long, default_value = "2m")]
    budget: String,

    /// The seeds; the median of their gaps is reported
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,

    /// Runs side by side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,

    /// Threads of each run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,

    /// The folder in results; by default points-BUDGET
    #[arg(long)]
    experiment: Option<String>,

    #[command(flatten)]
    places: Places,
}

/// A likelihood is the mean over all test points of a set.
const TEST_POINTS: &str = "100000";

/// One model on one set.
#[derive(Debug, Clone)]
struct Job {
    set: String,
    model: String,
    seed: u64,
    folder: PathBuf,
}

/// The result of a run: a row of `flow.csv`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Row {
    dataset: String,
    model: String,
    seed: u64,
    threads: u32,
    steps: u64,
    train_seconds: f64,
    train_cpu_seconds: f64,
    parameters: u64,
    nll_nats: f64,
    nll_standard_error: f64,
    nll_gap_nats: f64,
    kl_nats: f64,
    kl_standard_error: f64,
    n_likelihood: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    process::catch_interrupts()?;
    let name = args.experiment.clone().unwrap_or_else(|| format!("points-{}", experiment::slug(&args.budget)));
    experiment::check_name(&name)?;
    let results = args.places.results();
    let folder = results.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let program = args.places.program()?;
    let jobs = jobs(args, &folder);
    let total = jobs.len();
    let queue = Mutex::new(jobs.iter().cloned().enumerate().collect::<VecDeque<_>>());
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    let work = || -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while let Some((index, job)) = next() {
            let row = job.run(args, &program)?;
            let place = format!("[{}/{total}]", index + 1);
            note(&format!("{place} {} {} s{}: {:+.4} nats", row.dataset, row.model, row.seed, row.nll_gap_nats));
            rows.push(row);
        }
        Ok(rows)
    };
    let mut rows = std::thread::scope(|scope| -> Result<Vec<Row>> {
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        let mut rows = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(found) => rows.extend(found?),
                Err(_) => bail!("a worker panicked"),
            }
        }
        Ok(rows)
    })?;
    let order = |row: &Row| jobs.iter().position(|job| job.is(row));
    rows.sort_by_key(order);
    let table = folder.join("flow.csv");
    write_atomically(&table, &to_csv(&rows)?)?;
    note(&format!("medians of {} seeds, in nats", args.seeds.len()));
    print("above the entropy", &medians(&rows, |row| row.nll_gap_nats), args);
    print("KL(data || model)", &medians(&rows, |row| row.kl_nats), args);
    note(&table.display().to_string());
    Ok(())
}

fn jobs(args: &Args, folder: &Path) -> Vec<Job> {
    let mut jobs = Vec::new();
    for set in &args.sets {
        for model in &args.models {
            for &seed in &args.seeds {
                let folder = folder.join(format!("{model}-{set}-s{seed}"));
                jobs.push(Job { set: set.clone(), model: model.clone(), seed, folder });
            }
        }
    }
    jobs
}

impl Job {
    fn is(&self, row: &Row) -> bool {
        (&self.set, &self.model, self.seed) == (&row.dataset, &row.model, row.seed)
    }

    /// Trains and evaluates, unless that is done. The density of the first seed is drawn.
    fn run(&self, args: &Args, program: &Path) -> Result<Row> {
        let folder = self.folder.to_string_lossy().into_owned();
        let (seed, threads) = (self.seed.to_string(), args.threads.to_string());
        let gen_with = |arguments: &[&str]| self.call(program, arguments, &threads);
        let evaluation = self.folder.join("evaluation.csv");
        if !evaluation.exists() {
            let what = ["--data", &self.set, "--budget", &args.budget, "--seed", &seed, "--out", &folder];
            let mut train = vec!["train", &self.model, "--progress", "none"];
            train.extend(what);
            if self.folder.exists() {
                train.push("--resume");
            }
            gen_with(&train)?;
            gen_with(&["evaluate", &folder, "--metrics", "likelihood", "-n", TEST_POINTS])?;
        }
        let picture = self.folder.join("density.png");
        if self.seed == args.seeds[0] && !picture.exists() {
            gen_with(&["density", &folder, "--out", &picture.to_string_lossy()])?;
        }
        row(&evaluation, args.threads)
    }

    fn call(&self, program: &Path, arguments: &[&str], threads: &str) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).env("OMP_NUM_THREADS", threads);
        let mut last_error = String::new();
        let status = process::run_lines(command, |stream, line| {
            if stream == Stream::Err {
                line.clone_into(&mut last_error);
            }
            Ok(())
        })?;
        if !status.success() {
            bail!("`gen {}` on {}: {last_error}", arguments[0], self.set);
        }
        Ok(())
    }
}

/// The last evaluation in a run's `evaluation.csv`.
fn row(evaluation: &Path, threads: u32) -> Result<Row> {
    let mut reader =
        csv::Reader::from_path(evaluation).with_context(|| format!("cannot read {}", evaluation.display()))?;
    let headers = reader.headers()?.clone();
    let last = reader.records().last().with_context(|| format!("{} is empty", evaluation.display()))??;
    let text = |column: &str| -> Result<&str> {
        let place = headers.iter().position(|header| header == column);
        let found = place.and_then(|place| last.get(place)).filter(|text| !text.is_empty());
        found.with_context(|| format!("{} has no `{column}`", evaluation.display()))
    };
    let real = |column: &str| -> Result<f64> { Ok(text(column)?.parse()?) };
    let whole = |column: &str| -> Result<u64> { Ok(text(column)?.parse()?) };
    Ok(Row {
        dataset: text("dataset")?.to_owned(),
        model: text("model")?.to_owned(),
        seed: whole("seed")?,
        threads,
        steps: whole("steps")?,
        train_seconds: real("train_seconds")?,
        train_cpu_seconds: real("train_cpu_seconds")?,
        parameters: whole("parameters")?,
        nll_nats: real("nll_nats")?,
        nll_standard_error: real("nll_standard_error")?,
        nll_gap_nats: real("nll_gap_nats")?,
        kl_nats: real("kl_nats")?,
        kl_standard_error: real("kl_standard_error")?,
        n_likelihood: whole("n_likelihood")?,
    })
}

fn to_csv(rows: &[Row]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"))
}

/// The median over the seeds of `number`, for each set and model in the order of `rows`.
fn medians(rows: &[Row], number: impl Fn(&Row) -> f64) -> Vec<(String, String, f64)> {
    let mut found: Vec<(String, String, f64)> = Vec::new();
    for row in rows {
        if !found.iter().any(|(set, model, _)| *set == row.dataset && *model == row.model) {
            let same = rows.iter().filter(|other| other.dataset == row.dataset && other.model == row.model);
            let numbers: Vec<f64> = same.map(&number).collect();
            found.push((row.dataset.clone(), row.model.clone(), median(&numbers)));
        }
    }
    found
}

/// A row for each set, a column for each model.
fn print(what: &str, medians: &[(String, String, f64)], args: &Args) {
    let cell = |set: &String, model: &String| {
        let found = medians.iter().find(|(of, by, _)| of == set && by == model);
        found.map(|(_, _, median)| format!("{median:.4}")).unwrap_or_default()
    };
    let head = std::iter::once(what.to_owned()).chain(args.models.iter().cloned()).collect();
    let row =
        |set: &String| std::iter::once(set.clone()).chain(args.models.iter().map(|model| cell(set, model))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(args.sets.iter().map(row)).collect();
    note(aligned(rows, |column| column >= 1).trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(dataset: &str, seed: u64, gap: f64) -> Row {
        Row {
            dataset: dataset.to_owned(),
            model: "nsf".to_owned(),
            seed,
            threads: 1,
            steps: 10,
            train_seconds: 1.0,
            train_cpu_seconds: 1.0,
            parameters: 5,
            nll_nats: 2.0 + gap,
            nll_standard_error: 0.001,
            nll_gap_nats: gap,
            kl_nats: gap + 0.125,
            kl_standard_error: 0.0005,
            n_likelihood: 100_000,
        }
    }

    #[test]
    fn the_median_is_over_the_seeds_of_one_set() {
        let rows = [row_of("moons", 0, 0.3), row_of("rings", 0, 5.0), row_of("moons", 1, 0.1), row_of("moons", 2, 0.2)];
        let expected = vec![("moons".to_owned(), "nsf".to_owned(), 0.2), ("rings".to_owned(), "nsf".to_owned(), 5.0)];
        assert_eq!(medians(&rows, |row| row.nll_gap_nats), expected);
        let two = [row_of("moons", 0, 0.5), row_of("moons", 1, 0.25)];
        assert_eq!(medians(&two, |row| row.kl_nats)[0].2, 0.5);
    }

    #[test]
    fn a_row_is_the_last_evaluation_of_a_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("evaluation.csv");
        let columns = "run,model,dataset,seed,steps,train_seconds,train_cpu_seconds,parameters,nll_nats,\
                       nll_standard_error,nll_gap_nats,kl_nats,kl_standard_error,n_likelihood";
        let (old, new) = (
            "a,nsf,moons,1,9,1,1,5,2.5,0.1,0.1,0.2,0.1,100000",
            "a,nsf,moons,1,10,1,1,5,2.4,0.001,0.4,0.525,0.0005,100000",
        );
        fs::write(&file, format!("{columns}\n{old}\n{new}\n")).expect("written");
        assert_eq!(row(&file, 1).expect("a row"), row_of("moons", 1, 0.4).clone());
        fs::write(&file, format!("{columns}\na,nsf,moons,1,9,1,1,5,2.5,0.1,,0.2,0.1,100000\n")).expect("written");
        let error = row(&file, 1).expect_err("no gap").to_string();
        assert!(error.contains("nll_gap_nats"), "{error}");
    }

    #[test]
    fn a_table_has_a_row_for_each_run() {
        let rows = [row_of("moons", 0, 0.25), row_of("rings", 0, 0.5)];
        let text = String::from_utf8(to_csv(&rows).expect("csv")).expect("text");
        assert_eq!(text.lines().count(), 3);
        let header = text.lines().next().expect("a header");
        assert_eq!(header.split(',').collect::<Vec<_>>(), crate::bench::described("flow.csv"));
    }
}
