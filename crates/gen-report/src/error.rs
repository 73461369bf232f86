use std::path::{Path, PathBuf};

/// What can go wrong between run folders and a report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{file} cannot be read{advice}: {reason}")]
    Content {
        /// Its name or path.
        file: String,
        /// What to do about it.
        advice: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// A figure could not be turned into pixels.
    #[error("cannot draw {}: {reason}", path.display())]
    Figure {
        /// The picture.
        path: PathBuf,
        /// What is wrong with the figure.
        reason: String,
    },
    /// A folder that is no run.
    #[error(
        "{} is no run folder: it should have an evaluation.csv, as `gen evaluate` writes it, or a config.toml",
        folder.display()
    )]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// Files of a run would be written over.
    #[error("{} is a run folder: the report would replace files of the run, choose another folder", folder.display())]
    IsARun {
        /// The folder.
        folder: PathBuf,
    },
    /// Runs that no report can compare.
    #[error("runs of different data cannot be compared: {} is of {}, {} of {}", runs[0], data[0], runs[1], data[1])]
    DifferentData {
        /// Two of the runs.
        runs: [String; 2],
        /// Their data sets.
        data: [String; 2],
    },
    /// There is nothing to report on.
    #[error("{} has no runs", folder.display())]
    NoRuns {
        /// The folder of the experiment.
        folder: PathBuf,
    },
    /// Files would be mixed with others, or written over.
    #[error("{} is not empty: remove it, or choose another folder", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
}

/// What functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Error::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Error::Write { path: path.to_owned(), source }
    }
}
