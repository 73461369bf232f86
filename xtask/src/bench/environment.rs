//! The Python environment of the peers, in the user's cache.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{note, process, setup};

/// The interpreter of an environment that has what the peers need; made if it is not there yet.
///
/// An environment that an interruption left unfinished is begun anew.
pub(super) fn ensure() -> Result<PathBuf> {
    let folder = setup::cache()?.join(format!("peers-torch-{}", setup::VERSION));
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if complete.exists() && python.exists() {
        return Ok(python);
    }
    note(&format!("making a Python environment in {} (3 GB to download)", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).context(
        "no Python environment: install python3 with its module venv (Debian, Ubuntu: apt-get install python3-venv), \
         or name one with --python",
    )?;
    let torch = format!("torch=={}", setup::VERSION);
    run(Command::new(&python).args(["-m", "pip", "install", &torch, "safetensors", "numpy"]))?;
    fs::write(&complete, "").with_context(|| complete.display().to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
    // Standard output is for what the user asked for.
    command.stdout(Stdio::from(std::io::stderr()));
    let status = process::run(command)?;
    if !status.success() {
        let program = command.get_program().to_string_lossy().into_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("`{program} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}
