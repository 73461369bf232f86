//! `cargo xtask`: set-up, experiments, reports and checks of this workspace.
//!
//! It never links libtorch, so that it can install it, and that a crash of one training leaves the rest alone.

mod bench;
mod experiment;
mod process;
mod report;
mod setup;
mod test;
mod train_all;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Rebuild the summary and the report of an experiment
    Report(report::Args),
    /// Time training and sampling, alone or against PyTorch
    Bench(bench::Args),
    /// Check formatting, lints and tests, and that a crate outside this workspace can use it
    Test(test::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup(args) => setup::run(&args),
        Task::TrainAll(args) => train_all::run(&args),
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

/// A reader that closes the pipe (`cargo xtask report x | head`) has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// One line on standard error; a closed one is nobody's loss.
fn note(line: &str) {
    use std::io::Write;
    // The test harness would not capture it.
    if !cfg!(test) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
