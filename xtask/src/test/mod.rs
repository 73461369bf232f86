//! `cargo xtask test`: all checks of a change before it is shared.

mod closing;
mod cpp;
mod outside;
mod programs;
mod sanitize;
mod steps;
mod unused;

use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, anyhow, bail};

use crate::process::{self, run_merged};
use crate::{setup, terminal, workspace};
use closing::Closing;
use outside::outside_crate;
use programs::{Programs, Queue};
use steps::{cargo, quietly, step};

/// The most test programs that run at once: each may take a gigabyte of memory and several threads.
const MOST_LANES: usize = 4;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run gen-native's tests under sanitizers instead, with each set of instructions that the processor has: all of
    /// them, or --sanitize=address (which finds undefined behaviour too) or --sanitize=thread
    #[arg(long, value_name = "NAMES", num_args = 0.., require_equals = true, value_delimiter = ',')]
    sanitize: Option<Vec<sanitize::Sanitizer>>,
    /// Arguments for `cargo test`, such as `-p gen-flow`; with any, unused dependencies and the crate outside the
    /// workspace are not checked
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    process::catch_interrupts()?;
    setup::ensure()?;
    if let Some(sanitizers) = &args.sanitize {
        return sanitize::run(sanitizers, &args.arguments);
    }
    step("clang-format", cpp::check_format)?;
    step("cargo fmt --check", || cargo(&["fmt", "--all", "--check"]))?;
    let closing = if args.arguments.is_empty() { whole()? } else { chosen(&args.arguments)? };
    terminal::print([String::new()].iter().chain(&closing))
}

/// Runs the tests that `arguments` choose, and lints. Returns the closing line of each test program.
fn chosen(arguments: &[String]) -> Result<Vec<String>> {
    let chooses = |argument: &String| argument.starts_with("-p") || argument.starts_with("--package");
    let packages = if arguments.iter().any(chooses) { None } else { Some("--workspace") };
    let closing = step("cargo test", || {
        let mut command = workspace::cargo();
        command.arg("test").args(packages).arg("--all-features").args(arguments);
        let mut closing = Closing::default();
        let status = run_merged(command, |line| {
            closing.read(line);
            terminal::print([line])
        })?;
        if !status.success() {
            bail!("{status}");
        }
        Ok(closing.lines)
    })?;
    lints(cores())?;
    Ok(closing)
}

/// Runs all tests and other checks, several at once. Returns the closing line of each test program.
fn whole() -> Result<Vec<String>> {
    thread::scope(|scope| {
        let unused = scope.spawn(|| step("unused dependencies", unused::check_dependencies));
        let queue = step("compiling the tests", || Programs::compile()?.queue())?;
        in_lanes(&queue, || joined(unused))
    })
}

/// Runs all programs and, in the first of several lanes, `first` and the checks that only cargo can run.
fn in_lanes(queue: &Queue, first: impl FnOnce() -> Result<()> + Send) -> Result<Vec<String>> {
    let lanes = cores().min(MOST_LANES);
    thread::scope(|scope| {
        // Most tests keep one core busy. Meanwhile the first lane compiles what else has to be compiled.
        let first = scope.spawn(move || {
            closing_on_error(queue, || {
                first()?;
                lane_of_cargo(queue, cores() / lanes)
            })
        });
        let others = (1..lanes).map(|_| scope.spawn(|| closing_on_error(queue, || test_programs(queue))));
        let lanes: Vec<_> = std::iter::once(first).chain(others).collect();
        // All end before the first error is reported.
        let ended: Vec<_> = lanes.into_iter().map(joined).collect();
        Ok(ended.into_iter().collect::<Result<Vec<_>>>()?.concat())
    })
}

/// The result of a thread.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a check panicked"))?
}

/// Runs a lane. Where it fails, no lane starts another program.
fn closing_on_error<T>(queue: &Queue, lane: impl FnOnce() -> Result<T>) -> Result<T> {
    lane().inspect_err(|_| queue.close())
}

/// Runs the checks that need cargo, with this number of `jobs`, then test programs.
fn lane_of_cargo(queue: &Queue, jobs: usize) -> Result<Vec<String>> {
    lints(jobs)?;
    let mut closing = step("examples in the documentation", || doc_tests(jobs))?;
    closing.push(step("a crate outside the workspace", || outside_crate(jobs))?);
    closing.extend(test_programs(queue)?);
    Ok(closing)
}

/// Runs programs until none is waiting.
fn test_programs(queue: &Queue) -> Result<Vec<String>> {
    let mut closing = Closing::default();
    while let Some(outcome) = queue.run_next()? {
        terminal::print(&outcome.lines)?;
        outcome.lines.iter().for_each(|line| closing.read(line));
        if !outcome.passed {
            bail!("the tests of `{}` failed", outcome.name);
        }
    }
    Ok(closing.lines)
}

fn doc_tests(jobs: usize) -> Result<Vec<String>> {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--all-features", "--doc", "--jobs", &jobs.to_string()]);
    let (mut closing, mut lines) = (Closing::default(), Vec::new());
    let status = run_merged(command, |line| {
        closing.read(line);
        lines.push(line.to_owned());
        Ok(())
    })?;
    terminal::print(&lines)?;
    if !status.success() {
        bail!("`cargo test --doc`: {status}");
    }
    Ok(closing.lines)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn lints(jobs: usize) -> Result<()> {
    step("cargo clippy", || {
        let mut command = workspace::cargo();
        command.args(["clippy", "--workspace", "--all-targets", "--all-features"]);
        command.args(["--jobs", &jobs.to_string(), "--", "-D", "warnings"]);
        quietly(command)
    })
}
