//! A run of an experiment, and how it ended.

use std::path::{Path, PathBuf};

use gen_report::{REFERENCE_PREFIX, evaluation};

/// A run: a future row of the summary.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) folder: PathBuf,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Train { model: String, seed: u64 },
    Reference(String),
}

/// The outcome of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It had been done before.
    Skipped,
    Done,
    /// With the reason.
    Failed(String),
}

impl Job {
    pub(super) fn train(folder: PathBuf, model: &str, seed: u64) -> Self {
        Job { folder, kind: Kind::Train { model: model.to_owned(), seed } }
    }

    pub(super) fn reference(experiment: &Path, name: &str) -> Self {
        let folder = experiment.join(format!("{REFERENCE_PREFIX}{name}"));
        Job { folder, kind: Kind::Reference(name.to_owned()) }
    }

    pub(super) fn is_training(&self) -> bool {
        matches!(self.kind, Kind::Train { .. })
    }

    /// The name of its folder.
    pub(super) fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Whether there is a readable evaluation.
    pub(super) fn is_done(&self) -> bool {
        matches!(evaluation(&self.folder), Ok(Some(_)))
    }
}
