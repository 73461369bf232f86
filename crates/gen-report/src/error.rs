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
