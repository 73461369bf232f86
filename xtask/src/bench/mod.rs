//! `cargo xtask bench`: how long a training step and a sample take, alone or against the same models in PyTorch.
//! `--libraries` times flows against those of published libraries.
//!
//! Every implementation is a worker process that waits for requests, so that all are timed in turn, in short blocks, on
//! the same machine in the same minutes. What is compared is the ratio within a round; a machine that gets slower
//! during the run slows all alike.

mod cases;
mod environment;
mod figure;
mod measure;
mod programs;
mod report;
mod table;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::experiment;
use crate::process::{self, Interrupted};
use crate::{note, setup, workspace};
use gen_report::{Machine, write_atomically};
use measure::{Plan, Scratch};
use programs::Programs;

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// Time the same models in PyTorch too, eager and compiled; installs torch (3 GB to download) in a Python
    /// environment of its own, once
    #[arg(long)]
    peers: bool,

    /// Time instead normalizing flows beside the same architectures in zuko, nflows and normflows, used eagerly; installs
    /// them and torch as --peers does
    #[arg(long, conflicts_with = "peers")]
    libraries: bool,

    /// Time instead a whole program, from its start to its end: `gen sample` of a DCGAN's pictures, beside a plain PyTorch
    /// script that does the same; installs torch as --peers does
    #[arg(long, conflicts_with_all = ["peers", "libraries", "models", "seconds"])]
    programs: bool,

    /// A Python that has torch, safetensors and numpy (for --libraries these too), instead of an environment of its own
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

    /// The program to run instead of building it.
    #[arg(long = "gen", hide = true)]
    program: Option<PathBuf>,

    #[arg(long, hide = true)]
    results: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let with_python = args.peers || args.libraries || args.programs;
    if args.python.is_some() && !with_python {
        bail!("--python is for --peers, --libraries and --programs");
    }
    process::catch_interrupts()?;
    let all = if args.libraries { &cases::FLOWS[..] } else { &cases::FAMILIES };
    let cases = cases::choose(all, &args.models)?;
    let threads = match args.threads {
        0 => Machine::this().cores.max(1),
        threads => threads,
    };
    let program = match &args.program {
        Some(program) => program.clone(),
        None => {
            setup::ensure()?;
            workspace::build_program()?
        }
    };
    let python = match &args.python {
        Some(python) => Some(python.clone()),
        None if args.libraries => Some(environment::ensure_libraries()?),
        None if with_python => Some(environment::ensure()?),
        None => None,
    };
    let results = args.results.clone().unwrap_or_else(experiment::results);
    std::fs::create_dir_all(&results).with_context(|| format!("cannot write {}", results.display()))?;
    if let (Some(python), true) = (&python, args.programs) {
        fetch(&program, &[programs::DATA])?;
        let programs = Programs { program, python: python.clone(), threads, rounds: args.rounds };
        return tell(&programs.run(&results)?);
    }
    let data: Vec<&str> = cases.iter().map(|case| case.data).collect();
    fetch(&program, &data)?;
    let plan = Plan { program, python, threads, rounds: args.rounds, seconds: args.seconds };
    let load = report::load_average();
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(plan.measure(case)?);
    }
    let machine = Machine::this();
    let against = if args.libraries { Against::Libraries } else { Against::PyTorch };
    let run = report::Run { rows: &rows, against, machine: &machine, load, rounds: args.rounds };
    write_atomically(&results.join("bench.csv"), &run.csv()?)?;
    let mut written = vec![results.join("bench.csv")];
    if let Some(figure) = figure::file(&rows, against) {
        write_atomically(&results.join("bench.svg"), figure.as_bytes())?;
        written.push(results.join("bench.svg"));
    }
    run.print(&written)
}

/// Who the others are: what is shown depends on it, not how it is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    /// The same models in PyTorch, the faster of which counts.
    PyTorch,
    /// Published libraries, each of which is of interest.
    Libraries,
}

fn fetch(program: &std::path::Path, data: &[&str]) -> Result<()> {
    let mut data = data.to_vec();
    data.sort_unstable();
    data.dedup();
    for name in data {
        let status = process::run(Command::new(program).args(["data", "fetch", name]))?;
        if !status.success() {
            bail!("the data set `{name}` is not there: see above");
        }
    }
    Ok(())
}

/// Lines for standard output.
fn tell(lines: &str) -> Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout().lock(), "{lines}")?)
}

/// An error that ends everything, not one row.
fn is_final(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>()
}

/// One line about what is going on.
fn say(line: &str) {
    note(&format!("bench: {line}"));
}

/// The columns that the data dictionary has for a file.
#[cfg(test)]
pub(crate) fn described(file: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
    let rows = reader.records().filter_map(Result::ok);
    rows.filter(|row| &row[0] == file).map(|row| row[1].to_owned()).collect()
}
