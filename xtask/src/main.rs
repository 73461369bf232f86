//! `cargo xtask`: set-up, experiments, reports and checks of this workspace.
//!
//! It never links libtorch: it has to install it, and a crash in one training run must not stop the others.

mod bench;
mod experiment;
mod points;
mod process;
mod report;
mod setup;
mod statistics;
mod terminal;
mod test;
#[cfg(all(test, unix))]
mod testing;
mod train_all;
mod workspace;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use terminal::note;

/// Set-up, experiments, reports and checks of this workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find libtorch or install it; train-all and test do this first
    Setup(setup::Args),
    /// Train and evaluate a model of each family on one data set, and write the report
    TrainAll(train_all::Args),
    /// Train flows on the nine sets of points, and report how far each is above the entropy
    Points(points::Args),
    /// Rebuild the summary and the report of an experiment
    Report(report::Args),
    /// Time training and sampling, alone or against PyTorch
    Bench(bench::Args),
    /// Check formatting, lints, dependencies and tests, and that a crate outside this workspace can use it
    Test(test::Args),
}

fn main() -> ExitCode {
    let task = match Cli::try_parse() {
        Ok(cli) => cli.task,
        Err(error) => return refuse(&error),
    };
    let result = match task {
        Task::Setup(args) => setup::run(&args),
        Task::TrainAll(args) => train_all::run(&args),
        Task::Points(args) => points::run(&args),
        Task::Report(args) => report::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Test(args) => test::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("xtask: {error:#}"));
            if error.is::<process::Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints the help that was asked for, or one line about wrong arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        note(&format!("xtask: {}; see --help", in_one_line(&error.render().to_string())));
    }
    ExitCode::from(2)
}

/// The message of clap without the usage and the hint to ask for help.
fn in_one_line(text: &str) -> String {
    let told = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = told.map(str::trim).filter(|line| !line.is_empty()).collect();
    words.join(" ").replace(" tip: ", "; ").trim_start_matches("error: ").to_owned()
}

/// Whether the reader closed the pipe, as in `cargo xtask report x | head`. That is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_one_line() {
        for (arguments, expected) in [
            ("bench --round 3", "unexpected argument '--round' found; a similar argument exists: '--rounds'"),
            ("bnech", "unrecognized subcommand 'bnech'; a similar subcommand exists: 'bench'"),
            ("bench --rounds 0", "invalid value '0' for '--rounds <ROUNDS>': 0 is not in 1"),
            ("report", "required arguments were not provided: <"),
        ] {
            let words = std::iter::once("cargo xtask").chain(arguments.split(' '));
            let error = Cli::try_parse_from(words).err().map(|error| error.render().to_string()).unwrap_or_default();
            let line = in_one_line(&error);
            assert!(line.contains(expected) && line.lines().count() == 1, "{arguments}: {line}");
        }
    }
}
