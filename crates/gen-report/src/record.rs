//! The record of an experiment: what all its runs share, and the machine that they ran on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic::write_atomically;
use crate::error::{Error, Result};

/// `experiment.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The data set.
    pub data: String,
    /// What each model may spend on its training, as it was typed.
    pub budget: String,
    /// Samples in an evaluation, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_n: Option<u64>,
    /// The settings that differ from a model's own, by model; every model that was started is here.
    pub settings: BTreeMap<String, Vec<String>>,
    /// Where the runs were trained.
    pub machine: Machine,
}

/// A machine, as far as it explains timings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The name of the processor.
    pub cpu: String,
    /// Cores that this program may use.
    pub cores: usize,
    /// Memory, in GiB.
    pub memory_gib: f64,
    /// Operating system and architecture.
    pub system: String,
}

/// What an experiment ran, and where.
pub const RECORD_FILE: &str = "experiment.toml";

impl Record {
    /// The record in the folder of an experiment; `None` where there is none.
    ///
    /// # Errors
    ///
    /// If there is one that cannot be read.
    pub fn read(experiment: &Path) -> Result<Option<Self>> {
        let path = experiment.join(RECORD_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(Error::read(&path))?;
        toml::from_str(&text).map(Some).map_err(|error| Error::Content {
            file: path.display().to_string(),
            advice: " (remove it, or choose another experiment)",
            reason: error.message().to_owned(),
        })
    }

    /// Writes the record into the folder of an experiment.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, experiment: &Path) -> Result<()> {
        let path = experiment.join(RECORD_FILE);
        let text = toml::to_string_pretty(self).map_err(|error| Error::Content {
            file: path.display().to_string(),
            advice: "",
            reason: error.to_string(),
        })?;
        write_atomically(&path, text.as_bytes())
    }
}

impl Machine {
    /// This one; what the system does not tell is left empty.
    pub fn this() -> Self {
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
        fs::write(folder.path().join(RECORD_FILE), "data = ").unwrap();
        assert!(Record::read(folder.path()).unwrap_err().to_string().contains("experiment.toml cannot be read"));
    }
}
