use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;

/// The error type of the libraries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value of a caller or a configuration is out of range.
    #[error("{0}")]
    Invalid(String),

    /// A name is unknown.
    #[error("unknown {what} `{name}`{}", suggestion(.nearest, .known))]
    Unknown {
        /// The kind of name: `model`, `key`, `data set`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The nearest known name, where one is similar.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },

    /// A file violates its format.
    #[error("{}: {problem}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, and what to do.
        problem: String,
    },

    /// The operating system refused an operation on a file.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },

    /// No source of a file has it.
    #[error(
        "{}: no source has this file ({reasons}); connect to the network, or put it there by hand",
        .path.display()
    )]
    Unavailable {
        /// The place of the file.
        path: PathBuf,
        /// The sources, each with its reason.
        reasons: String,
    },

    /// A loss is infinite or not a number.
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
    /// Errors about a safetensors file become errors of that file.
    fn from(error: tch::TchError) -> Self {
        match error {
            tch::TchError::SafeTensorError { path, err: SafeTensorError::IoError(source) } => Error::io(path)(source),
            tch::TchError::SafeTensorError { path, .. } => Error::format(path, "not a complete safetensors file"),
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

    /// An [`Error::Io`] at `path`, for `map_err(Error::io(path))`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }

    /// An [`Error::Format`] at `path`.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Error::Format { path: path.as_ref().to_owned(), problem: problem.into() }
    }

    /// The error of a library that read or wrote the file at `path`, in the library's words: an [`Error::Format`]. Made
    /// for `map_err(Error::file(path))`.
    ///
    /// ```
    /// use gen_core::Error;
    /// let error: Result<i32, _> = "x".parse::<i32>().map_err(Error::file("run/file"));
    /// assert_eq!(error.unwrap_err().to_string(), "run/file: invalid digit found in string");
    /// ```
    pub fn file<E: fmt::Display>(path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |error| Error::format(path, error.to_string())
    }

    /// An [`Error::Unknown`] that suggests the nearest of `known`, or lists them if none is similar.
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

/// The most similar of `known` to `name`, if any is similar.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
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

/// The message without the C++ stack that libtorch appends.
fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io;

    use tch::{Device, Kind, TchError, Tensor};

    use super::*;

    /// The error of the system for a full disk.
    fn full() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn check(error: &Error) {
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("run/file: {}", full()));
    }

    #[test]
    fn a_full_disk_is_reported_in_the_words_of_the_system() {
        check(&Error::io("run/file")(full()));
        let err = SafeTensorError::IoError(full());
        check(&TchError::SafeTensorError { path: "run/file".to_owned(), err }.into());
    }

    /// `/dev/full` refuses every write.
    #[cfg(target_os = "linux")]
    #[test]
    fn weights_on_a_full_disk_are_reported_with_their_file() {
        let weights = Tensor::ones([1000], (Kind::Float, Device::Cpu));
        let error: Error = Tensor::write_safetensors(&[("weights", &weights)], "/dev/full").unwrap_err().into();
        let said = error.to_string();
        assert!(said.starts_with("/dev/full: No space left on device"), "{said}");
    }
}
