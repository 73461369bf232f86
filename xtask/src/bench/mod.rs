//! `cargo xtask bench`: how long a training step and a sample take, alone or against the same models in PyTorch.
//!
//! Every implementation is a worker process that waits for requests, so that all are timed in turn, in short blocks, on
//! the same machine in the same minutes. What is compared is the ratio within a round; a machine that gets slower
//! during the run slows all alike.

mod environment;
mod figure;
mod measure;
mod programs;
mod report;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::experiment;
use crate::process::{self, Interrupted};
use crate::{note, setup, workspace};
use gen_report::{Machine, write_atomically};
use measure::{Case, Plan, Scratch};
use programs::Programs;

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// Time the same models in PyTorch too, eager and compiled; installs torch (3 GB to download) in a Python
    /// environment of its own, once
    #[arg(long)]
    peers: bool,

    /// Time instead a whole program, from its start to its end: `gen sample` of a DCGAN's pictures, beside a plain PyTorch
    /// script that does the same; installs torch as --peers does
    #[arg(long, conflicts_with_all = ["peers", "models", "seconds"])]
    programs: bool,

    /// A Python that has torch, safetensors and numpy, instead of an environment of its own
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

/// What is timed: each family on images with its default settings, and two small networks, which show the cost
/// of everything around the arithmetic.
const CASES: [Case; 6] = [
    Case::new("dcgan", "dcgan", "gan", "fashion-mnist", 500),
    Case::new("vae", "vae", "vae", "fashion-mnist", 1000),
    Case {
        // The networks of Kingma & Welling's paper, wider.
        set: &["network=mlp", "widths=[512,512]", "latent_dim=20", "prior_layers=0", "binarise=static"],
        ..Case::new("vae-mlp", "vae", "vae", "fashion-mnist", 1000)
    },
    Case::new("realnvp", "realnvp", "flow", "fashion-mnist", 250),
    Case::new("realnvp-moons", "realnvp", "flow", "moons", 10_000),
    Case::new("ddpm", "ddpm", "diffusion", "fashion-mnist", 64),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.python.is_some() && !args.peers && !args.programs {
        bail!("--python is for --peers and --programs");
    }
    process::catch_interrupts()?;
    let cases = choose(&args.models)?;
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
    let python = match (&args.python, args.peers || args.programs) {
        (Some(python), _) => Some(python.clone()),
        (None, true) => Some(environment::ensure()?),
        (None, false) => None,
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
    let run = report::Run { rows: &rows, machine: &machine, load, rounds: args.rounds };
    write_atomically(&results.join("bench.csv"), &run.csv()?)?;
    let mut written = vec![results.join("bench.csv")];
    if let Some(figure) = figure::file(&rows) {
        write_atomically(&results.join("bench.svg"), figure.as_bytes())?;
        written.push(results.join("bench.svg"));
    }
    run.print(&written)
}

fn choose(names: &[String]) -> Result<Vec<Case>> {
    if names.is_empty() {
        return Ok(CASES.to_vec());
    }
    let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is nothing called `{unknown}` to time: there are {}", known.join(", "));
    }
    Ok(CASES.into_iter().filter(|case| names.iter().any(|name| name == case.name)).collect())
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
fn described(file: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
    let rows = reader.records().filter_map(Result::ok);
    rows.filter(|row| &row[0] == file).map(|row| row[1].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name_in_their_own_order() {
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let chosen = choose(&names(&["ddpm", "vae"])).unwrap();
        assert_eq!(chosen.iter().map(|case| case.name).collect::<Vec<_>>(), ["vae", "ddpm"]);
        assert_eq!(choose(&[]).unwrap().len(), CASES.len());
        assert!(choose(&names(&["gan"])).unwrap_err().to_string().contains("there are dcgan, vae"));
    }
}
