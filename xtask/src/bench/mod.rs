//! `cargo xtask bench`: how long a training step and a sample take, alone or against the same models in PyTorch.
//! `--libraries` times flows against those of published libraries.
//!
//! Every implementation is a worker process that waits for requests, so that all are timed in turn, in short blocks, on
//! the same machine in the same minutes. Ratios are taken within a round, since a machine that becomes slower during
//! the run slows all of them.

mod cases;
mod environment;
mod figure;
mod measure;
mod programs;
mod progress;
mod report;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use gen_report::{Machine, write_atomically};

use crate::experiment::Places;
use crate::{process, terminal};
use cases::Against;
use measure::Plan;
use programs::Programs;

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// Time the same models in PyTorch too, eager and compiled; the first time, this installs torch (3 GB to
    /// download) in a Python environment of its own
    #[arg(long)]
    peers: bool,

    /// Time normalizing flows instead, against the same architectures in zuko, nflows and normflows, used eagerly;
    /// installs them and torch as --peers does
    #[arg(long, conflicts_with = "peers")]
    libraries: bool,

    /// Time a whole program instead, from start to end: `gen sample` with a DCGAN, against a plain PyTorch script that
    /// does the same; installs torch as --peers does
    #[arg(long, conflicts_with_all = ["peers", "libraries", "models", "seconds"])]
    programs: bool,

    /// Time instead another build of the program `gen` beside this one, to see what a change costs or gains
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["peers", "libraries", "programs"])]
    beside: Option<PathBuf>,

    /// A Python with torch, safetensors and numpy, and for --libraries with those too, instead of a new environment
    #[arg(long)]
    python: Option<PathBuf>,

    /// What to time; by default all
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,

    /// How often each is timed; a median is over these
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// About how long each is timed in a round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,

    /// Threads of every implementation; 0 is one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,

    #[command(flatten)]
    places: Places,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let with_python = args.peers || args.libraries || args.programs;
    if args.python.is_some() && !with_python {
        bail!("--python is for --peers, --libraries and --programs");
    }
    process::catch_interrupts()?;
    let (all, against) = match args.libraries {
        true => (cases::FLOWS.to_vec(), Against::Libraries),
        false if args.beside.is_some() => (cases::of_builds(), Against::Build),
        false => (cases::FAMILIES.to_vec(), Against::PyTorch),
    };
    let cases = cases::choose(&all, &args.models)?;
    let beside = args.beside.as_deref().map(executable).transpose()?;
    let threads = match args.threads {
        0 => Machine::this().cores.max(1),
        threads => threads,
    };
    let program = args.places.program()?;
    let python = match &args.python {
        Some(python) => Some(python.clone()),
        None if args.libraries => Some(environment::ensure_libraries()?),
        None if with_python => Some(environment::ensure()?),
        None => None,
    };
    let results = args.places.results();
    std::fs::create_dir_all(&results).with_context(|| format!("cannot write {}", results.display()))?;
    if let (Some(python), true) = (&python, args.programs) {
        fetch(&program, &[programs::DATA])?;
        let programs = Programs { program, python: python.clone(), threads, rounds: args.rounds };
        return terminal::print([programs.run(&results)?]);
    }
    let data: Vec<&str> = cases.iter().map(|case| case.data).collect();
    fetch(&program, &data)?;
    let plan = Plan { program, python, beside, threads, rounds: args.rounds, seconds: args.seconds };
    let load = report::load_average();
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(plan.measure(case)?);
    }
    let machine = Machine::this();
    let run = report::Run { rows: &rows, against, machine: &machine, load, rounds: args.rounds };
    write_atomically(&results.join("bench.csv"), &run.csv()?)?;
    let mut written = vec![results.join("bench.csv")];
    if let Some(figure) = figure::file(&rows, against) {
        write_atomically(&results.join("bench.svg"), figure.as_bytes())?;
        written.push(results.join("bench.svg"));
    }
    run.print(&written)
}

/// The full path of a program, so that it is not looked for among the system's.
fn executable(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("--beside {}: there is no such program", path.display()))
}

fn fetch(program: &Path, data: &[&str]) -> Result<()> {
    let mut data = data.to_vec();
    data.sort_unstable();
    data.dedup();
    for name in data {
        let status = process::run(Command::new(program).args(["data", "fetch", name]))?;
        if !status.success() {
            bail!("cannot get the data set `{name}`: see above");
        }
    }
    Ok(())
}

/// The columns that the data dictionary has for a file.
#[cfg(test)]
pub(crate) fn described(file: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
    let rows = reader.records().filter_map(Result::ok);
    rows.filter(|row| &row[0] == file).map(|row| row[1].to_owned()).collect()
}
