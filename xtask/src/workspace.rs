//! Where things are, and how cargo is called.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

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
/// It sees the same LIBTORCH as a cargo that the user starts without one, so that nothing is built twice.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root()).env("LIBTORCH", libtorch_link());
    command
}

/// The program `cargo`.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
