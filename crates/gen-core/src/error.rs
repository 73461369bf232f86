//! The one error type of the libraries.

use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;

/// What can go wrong in gen-core and in the family crates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that a caller or a configuration gave is outside what is possible.
    #[error("{0}")]
    Invalid(String),

    /// A name that is not among the known ones.
    #[error("unknown {what} `{name}`{}", suggestion(.nearest, .known))]
    Unknown {
        /// What kind of thing was looked up: `model`, `key`, `data set`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The nearest known name, where one is near.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },

    /// A file that does not hold what its format promises.
    #[error("{}: {problem}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found and what to do.
        problem: String,
    },

    /// An operation on a file that the system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A file of a data set that none of its sources gave.
    #[error("{}: no source has this file ({reasons}); connect to the network, or put it there by hand", .path.display())]
    Unavailable {
        /// Where it would have been stored.
        path: PathBuf,
        /// Each source and what was wrong with it.
        reasons: String,
    },

    /// A loss became infinite or not a number.
    #[error("the loss `{loss}` is {value} at step {step}{}", checkpoint_hint(.checkpoint))]
    NonFinite {
        /// The optimizer step, counted from 1.
        step: u64,
        /// The name of the loss.
        loss: String,
        /// Its value.
        value: f64,
        /// The step of the last good checkpoint, where there is one.
        checkpoint: Option<u64>,
    },

    /// An error of libtorch.
    #[error("libtorch: {}", first_line(.0))]
    Torch(tch::TchError),
}

impl From<tch::TchError> for Error {
    /// What went wrong with a file is an error of that file.
    fn from(error: tch::TchError) -> Self {
        match error {
            tch::TchError::SafeTensorError { path, err: SafeTensorError::IoError(source) } => {
                Error::io(path)(source)
            }
            tch::TchError::SafeTensorError { path, .. } => {
                Error::format(path, "not a whole safetensors file, or none at all")
            }
            error => Error::Torch(error),
        }
    }
}

/// The result of a fallible operation of the libraries.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Invalid`] with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::Invalid(message.into())
    }

    /// An [`Error::Io`] at `path`; made for `map_err(Error::io(path))`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }

    /// An [`Error::Format`] at `path`.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Error::Format { path: path.as_ref().to_owned(), problem: problem.into() }
    }

    /// An error of a library that read or wrote the file at `path`: an [`Error::Io`] where the system refused the
    /// operation, an [`Error::Format`] otherwise. Made for `map_err(Error::file(path))`.
    ///
    /// ```
    /// use gen_core::Error;
    /// let error: Result<i32, _> = "x".parse::<i32>().map_err(Error::file("run/file"));
    /// assert_eq!(error.unwrap_err().to_string(), "run/file: invalid digit found in string");
    /// ```
    pub fn file<E: std::error::Error + 'static>(path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |error| match refused(&error) {
            Some(source) => Error::Io { path, source },
            None => Error::format(path, error.to_string()),
        }
    }

    /// An [`Error::Unknown`] that suggests the nearest of `known`, or lists them if none is near.
    ///
    /// ```
    /// use gen_core::Error;
    /// let error = Error::unknown("model", "realnpv", ["dcgan", "realnvp"]);
    /// assert_eq!(error.to_string(), "unknown model `realnpv`: did you mean `realnvp`?");
    /// let error = Error::unknown("model", "glow", ["dcgan", "realnvp"]);
    /// assert_eq!(error.to_string(), "unknown model `glow`: there are dcgan, realnvp");
    /// ```
    pub fn unknown<'a>(what: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let nearest = nearest(name, known.iter().map(String::as_str));
        Error::Unknown { what, name: name.to_owned(), nearest, known }
    }
}

/// The one of `known` that is most like `name`, if it is like it at all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

/// The system's refusal at the root of `error`, where there is one.
fn refused(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let found = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).next()?;
    Some(match found.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(found.kind(), found.to_string()),
    })
}

fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(name) => format!(": did you mean `{name}`?"),
        None if known.is_empty() => String::new(),
        None => format!(": there are {}", known.join(", ")),
    }
}

fn checkpoint_hint(step: &Option<u64>) -> String {
    match step {
        Some(step) => format!("; the last good checkpoint is of step {step}"),
        None => "; there is no checkpoint yet: try a lower learning rate".to_owned(),
    }
}

/// libtorch appends its C++ stack to a message; a reader needs the first line only.
fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io;

    use tch::{Device, Kind, TchError, Tensor};

    use super::*;

    /// The system's, for a disk without room.
    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn check(error: &Error) {
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("run/file: {}", full()));
    }

    #[test]
    fn a_full_disk_is_told_in_the_systems_words() {
        check(&Error::io("run/file")(full()));
        let err = SafeTensorError::IoError(full());
        check(&TchError::SafeTensorError { path: "run/file".to_owned(), err }.into());
    }

    /// The device has no room for anything.
    #[cfg(target_os = "linux")]
    #[test]
    fn weights_that_find_no_room_are_told_with_their_file() {
        let weights = Tensor::ones([1000], (Kind::Float, Device::Cpu));
        let error: Error =
            Tensor::write_safetensors(&[("weights", &weights)], "/dev/full").unwrap_err().into();
        let said = error.to_string();
        assert!(said.starts_with("/dev/full: No space left on device"), "{said}");
    }
}
