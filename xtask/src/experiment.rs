//! The places and the names of experiments.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{setup, workspace};

/// The program that experiments run, and the folder that has them all. Only tests name others than the usual ones.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Places {
    #[arg(long = "gen", hide = true)]
    program: Option<PathBuf>,

    #[arg(long, hide = true)]
    pub(crate) results: Option<PathBuf>,
}

impl Places {
    /// The program `gen`, which is built if need be.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        setup::ensure()?;
        workspace::build_program()
    }

    /// The folder of all experiments.
    pub(crate) fn results(&self) -> PathBuf {
        self.results.clone().unwrap_or_else(results)
    }
}

/// The folder of all experiments.
pub(crate) fn results() -> PathBuf {
    workspace::root().join("results")
}

/// Checks that a name is one folder in `results`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        bail!("the experiment's name {name:?} should be letters, digits, `-`, `_`, `+` and `.`: it names a folder");
    }
    Ok(())
}

/// `text` as a part of a file name: `folder:/home/me/shoes` becomes `folder-shoes`.
pub(crate) fn slug(text: &str) -> String {
    let short = match text.split_once(':') {
        Some((scheme, path)) => {
            let last = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
            format!("{scheme}-{last}")
        }
        None => text.to_owned(),
    };
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    short.chars().map(kept).collect::<String>().trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_results() {
        for name in ["fashion-mnist-3m", "a.b", "x+y"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", ".hidden", "a/b", "a b", "/etc"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn data_names_become_parts_of_file_names() {
        assert_eq!(slug("fashion-mnist"), "fashion-mnist");
        assert_eq!(slug("folder:/home/me/my shoes/"), "folder-my-shoes");
        assert_eq!(slug("npy:../points.npy"), "npy-points.npy");
        assert!(check_name(&slug("csv:..")).is_ok());
    }
}
