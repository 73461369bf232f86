use std::path::Path;

use gen_core::{Error, Result};

use crate::part::{Failure, Part, sweep};
use crate::source::{Counted, Sources};

/// Fetches the file at `url`, without a manifest, into `path`. It appears whole or not at all.
///
/// The file may have at most `most` bytes. `check` receives it under a temporary name, with its SHA-256, and returns
/// the reason when it is not the right file. `report` receives the number of bytes so far, and the total where the
/// source gives it.
///
/// # Errors
/// [`Error::Unavailable`] with the reason of the source or of `check`; [`Error::Io`] when the file cannot be written.
pub fn fetch_url(
    url: &str,
    path: &Path,
    most: u64,
    check: &dyn Fn(&Path, &str) -> Result<(), String>,
    report: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::invalid(format!("`{}` names no file", path.display())));
    };
    sweep(folder);
    let mut fetched = || {
        let opened = Sources::new(folder).open_url(url)?;
        let mut part = Part::new(folder, &name.to_string_lossy())?;
        part.receive(Counted::new(opened, report), most, || format!("it is larger than {most} bytes"))?;
        check(part.path(), &part.sha256()).map_err(Failure::Source)?;
        part.keep_as(path).map_err(Failure::Local)
    };
    fetched().map_err(|failure| match failure {
        Failure::Local(error) => error,
        Failure::Source(reason) => Error::Unavailable { path: path.to_owned(), reasons: format!("{url}: {reason}") },
    })
}
