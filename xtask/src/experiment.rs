//! The record of an experiment: what all its runs share, and the machine that they ran on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// `experiment.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) data: String,
    pub(crate) budget: String,
    /// Samples in an evaluation, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evaluate_n: Option<u64>,
    /// The settings that differ from a model's own, by model; every model that was started is here.
    pub(crate) settings: BTreeMap<String, Vec<String>>,
    pub(crate) machine: Machine,
}

/// A machine, as far as it explains timings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) system: String,
}

/// What an experiment ran, and where.
pub(crate) const FILE: &str = "experiment.toml";

impl Record {
    /// The record in the folder of an experiment; `None` where there is none.
    pub(crate) fn read(experiment: &Path) -> Result<Option<Self>> {
        let path = experiment.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let read = || -> Result<Self> { Ok(toml::from_str(&fs::read_to_string(&path)?)?) };
        read().map(Some).with_context(|| {
            format!("{} cannot be read: remove it, or choose another --experiment", path.display())
        })
    }

    pub(crate) fn write(&self, experiment: &Path) -> Result<()> {
        write_atomically(&experiment.join(FILE), toml::to_string_pretty(self)?.as_bytes())
    }
}

impl Machine {
    /// This one; what the system does not tell is left empty.
    pub(crate) fn this() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Machine {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Where experiments are.
pub(crate) fn results() -> PathBuf {
    workspace::root().join("results")
}

/// Checks that a name is one folder in `results`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        bail!(
            "the experiment's name {name:?} should be letters, digits, `-`, `_`, `+` and `.`: it names a folder"
        );
    }
    Ok(())
}

/// A part of a file name that tells `text` apart: `folder:/home/me/shoes` becomes `folder-shoes`.
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

/// Writes a file under a temporary name and renames it, so that a reader finds the old one or the new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), None);
        let record = Record {
            data: "digits".to_owned(),
            budget: "20s".to_owned(),
            evaluate_n: None,
            settings: BTreeMap::from([("vae".to_owned(), vec!["latent=8".to_owned()])]),
            machine: Machine::this(),
        };
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), Some(record));
        fs::write(folder.path().join(FILE), "data = ").unwrap();
        assert!(
            Record::read(folder.path()).unwrap_err().to_string().contains("experiment.toml cannot be read")
        );
    }

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
