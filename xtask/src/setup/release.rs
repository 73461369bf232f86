//! The release of libtorch that the workspace needs, and where installations of it go.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etcetera::base_strategy::{BaseStrategy, Xdg};

/// The one libtorch release that the workspace's `tch` works with.
pub(crate) const VERSION: &str = "2.13.0";

/// With GPU support, or whichever is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Build {
    Any,
    Cuda,
}

/// `$XDG_CACHE_HOME/gen-models`, by default `~/.cache/gen-models`. As the specification asks, a relative path in the
/// variable is ignored.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let base = Xdg::new().ok().map(|folders| folders.cache_dir()).filter(|path| path.is_absolute());
    let base = base.context("neither XDG_CACHE_HOME nor HOME is an absolute path: set one, or set LIBTORCH")?;
    Ok(base.join("gen-models"))
}

/// The folder of one installation in the cache.
pub(super) fn installation(cache: &Path, build: Build) -> PathBuf {
    let kind = if build == Build::Cuda { "cuda" } else { "cpu" };
    cache.join(format!("libtorch-{VERSION}-{kind}"))
}

/// The folder of libtorch in an installation.
///
/// With GPU support it is beside the `nvidia` folder, as in a Python installation: its libraries look for theirs in
/// `../../nvidia`.
pub(super) fn root_in(installation: &Path, build: Build) -> PathBuf {
    if build == Build::Cuda { installation.join("torch") } else { installation.to_owned() }
}
