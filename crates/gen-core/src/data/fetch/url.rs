//! One file from one address, without a manifest that says what it has to be.

use std::io::{self, Read, Write};
use std::path::Path;

use super::{Failure, Part, Sources, sweep};
use crate::checksum::Checksum;
use crate::error::{Error, Result};

/// Fetches what is at `url` into the file `path`, which appears whole or not at all.
///
/// It may have `most` bytes. `check` sees it before it has its name, with its SHA-256, and says what is wrong with it.
/// `report` is told how many bytes have come, and of how many where the source tells.
///
/// # Errors
/// [`Error::Unavailable`] with the source's reason or that of `check`; [`Error::Io`] when the file cannot be written.
pub(crate) fn fetch_url(
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
    store(url, folder, &name.to_string_lossy(), most, check, report)
        .and_then(|part| part.keep_as(path).map_err(Failure::Local))
        .map_err(|failure| match failure {
            Failure::Local(error) => error,
            Failure::Source(reason) => {
                Error::Unavailable { path: path.to_owned(), reasons: format!("{url}: {reason}") }
            }
        })
}

fn store(
    url: &str,
    folder: &Path,
    name: &str,
    most: u64,
    check: &dyn Fn(&Path, &str) -> Result<(), String>,
    report: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Part, Failure> {
    let mut opened = Sources::new(folder).open_url(url)?;
    let mut part = Part::new(folder, name).map_err(Failure::Local)?;
    let mut checksum = Checksum::default();
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match opened.reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Source(format!("it broke off: {error}"))),
        };
        received += n as u64;
        if received > most {
            return Err(Failure::Source(format!("it is larger than {most} bytes")));
        }
        checksum.update(&buffer[..n]);
        part.file.write_all(&buffer[..n]).map_err(|error| Failure::Local(Error::io(&part.path)(error)))?;
        report(received, opened.total);
    }
    check(&part.path, &checksum.hex()).map_err(Failure::Source)?;
    Ok(part)
}
