//! Paths of the workspace, and calls of cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The link to libtorch that `.cargo/config.toml` names.
pub(crate) fn libtorch_link() -> PathBuf {
    root().join(".libtorch")
}

/// The cargo that started this program, at the root of the workspace.
///
/// It has the same LIBTORCH as a cargo that the user starts, so that nothing is built twice.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root()).env("LIBTORCH", libtorch_link());
    command
}

/// The program `cargo`.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds `gen` and returns its path, which depends on the user's configuration of cargo.
pub(crate) fn build_program() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--package", "gen-cli", "--message-format", "json-render-diagnostics"]);
    let output = build.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    process::check_interrupt()?;
    if !output.status.success() {
        bail!("`cargo build --release --package gen-cli` failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "gen").then(|| message["executable"].as_str().map(PathBuf::from))?
    };
    messages.lines().find_map(executable).context("cargo built no program `gen`")
}
