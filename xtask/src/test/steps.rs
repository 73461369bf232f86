//! One check of `cargo xtask test`, under a heading.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{self, run_lines};
use crate::terminal::note;
use crate::workspace;

/// Runs a check under a heading, and reports how long it took.
pub(super) fn step<T>(name: &str, check: impl FnOnce() -> Result<T>) -> Result<T> {
    note(&format!("== {name}"));
    let started = Instant::now();
    let result = check();
    let ending = if result.is_ok() { "passed in" } else { "failed after" };
    note(&format!("== {name}: {ending} {:.0} s", started.elapsed().as_secs_f64()));
    result.with_context(|| format!("{name} failed"))
}

pub(super) fn cargo(arguments: &[&str]) -> Result<()> {
    let status = process::run(workspace::cargo().args(arguments))?;
    if !status.success() {
        bail!("`cargo {}`: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Runs a command and shows its output only if it fails.
pub(super) fn quietly(command: Command) -> Result<()> {
    let mut output = Vec::new();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let status = run_lines(command, |_, line| {
        output.push(line.to_owned());
        Ok(())
    })?;
    if !status.success() {
        output.iter().for_each(|line| note(line));
        bail!("`cargo {}`: {status}", arguments.join(" "));
    }
    Ok(())
}
