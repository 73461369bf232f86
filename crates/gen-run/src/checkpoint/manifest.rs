//! `checkpoint.toml`: the progress of the run, and the size and SHA-256 of each file beside it.
//!
//! Its first line is the SHA-256 of the rest, so that its own damage is detected as well.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use gen_core::train::{OpenRow, Progress, Validated};
use gen_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::checksum::{sha256, sha256_of_reader};
use crate::files::sync;

pub(super) const NAME: &str = "checkpoint.toml";

/// The largest manifest accepted, in bytes; real ones are far smaller.
const LARGEST: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Validations after the best one.
    #[serde(default)]
    pub(super) since_best: usize,
    pub(super) progress: Progress,
    pub(super) row: OpenRow,
    /// The best validation so far; beside the best weights, their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) best: Option<Validated>,
    pub(super) files: Vec<FileRecord>,
}

/// The size and the checksum of a file of a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    pub(super) name: String,
    bytes: u64,
    sha256: String,
}

impl FileRecord {
    /// Of the file at `path`.
    pub(super) fn of(path: &Path, name: &str) -> Result<Self> {
        let (bytes, sha256) = File::open(path).and_then(sha256_of_reader).map_err(Error::io(path))?;
        Ok(FileRecord { name: name.to_owned(), bytes, sha256 })
    }

    /// The content of the file.
    ///
    /// # Errors
    /// When its size or checksum differs.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let wrong = |problem: String| Err(Error::format(path, format!("not a whole checkpoint file: {problem}")));
        let size = fs::metadata(path).map_err(Error::io(path))?.len();
        if size != self.bytes {
            return wrong(format!("its size should be {} bytes, found {size}", self.bytes));
        }
        let content = fs::read(path).map_err(Error::io(path))?;
        let found = sha256(&content);
        if found != self.sha256 {
            return wrong(format!("its SHA-256 should be {}, found {found}", self.sha256));
        }
        Ok(content)
    }
}

impl Manifest {
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let text = toml::to_string_pretty(self).map_err(|error| Error::format(&path, error.to_string()))?;
        let seal = sha256(&text);
        fs::write(&path, format!("sha256 = \"{seal}\"\n{text}")).map_err(Error::io(&path))?;
        sync(&path)
    }

    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let wrong = |problem: &str| Error::format(&path, format!("not a whole checkpoint file: {problem}"));
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(Error::io(&path))?;
        file.take(LARGEST).read_to_end(&mut bytes).map_err(Error::io(&path))?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong("it is not text"))?;
        let (seal, text) = text.split_once('\n').ok_or_else(|| wrong("it ends in its first line"))?;
        if seal != format!("sha256 = \"{}\"", sha256(text)) {
            return Err(wrong("its first line is not the SHA-256 of the rest"));
        }
        let manifest: Manifest = toml::from_str(text).map_err(|error| wrong(error.message()))?;
        let clocks = [manifest.progress, manifest.row.since].map(|p| [p.seconds, p.cpu_seconds]);
        if !clocks.iter().flatten().all(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            return Err(wrong("a time is not a positive number"));
        }
        Ok(manifest)
    }
}
