//! Fetches the files of a data set from their sources, in order, and verifies them before they get their names.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use gen_core::{Error, Result};

use crate::checksum::sha256;
use crate::manifest::{DataFile, Source};
use crate::part::{Failure, Part, broke_off, sweep};
use crate::source::{Counted, Opened, Sources};

/// An event while a data set is fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchEvent<'a> {
    /// A source is tried.
    Started {
        /// The file.
        file: &'a DataFile,
        /// The source.
        source: &'a Source,
    },
    /// Bytes were received, as the source sends them: often compressed.
    Received {
        /// The file.
        file: &'a DataFile,
        /// The number of bytes so far.
        received: u64,
        /// The number of bytes in all, where the source gives it.
        total: Option<u64>,
    },
    /// A source failed; the next one is tried.
    Failed {
        /// The file.
        file: &'a DataFile,
        /// The source.
        source: &'a Source,
        /// The reason.
        reason: &'a str,
    },
    /// The file is verified and in its place.
    Stored {
        /// The file.
        file: &'a DataFile,
    },
}

/// A callback for the events of a fetch.
pub type OnFetch<'a> = dyn FnMut(&FetchEvent<'_>) + 'a;

/// Fetches `files` into `folder`, each from the first of its sources that has it.
///
/// A file gets its name when its size and SHA-256 are right; until then it has a temporary name, so that two processes
/// may fetch at once. A failure leaves nothing behind.
pub(crate) fn fetch(folder: &Path, files: &[&DataFile], on_event: &mut OnFetch<'_>) -> Result<()> {
    sweep(folder);
    let mut sources = Sources::new(folder);
    files.iter().try_for_each(|file| fetch_one(folder, file, &mut sources, on_event))
}

fn fetch_one(folder: &Path, file: &DataFile, sources: &mut Sources<'_>, on_event: &mut OnFetch<'_>) -> Result<()> {
    let mut reasons = Vec::new();
    for source in &file.sources {
        if let Some(reason) = sources.known_failure(source) {
            reasons.push(format!("{source}: {reason}"));
            continue;
        }
        on_event(&FetchEvent::Started { file, source });
        let mut report = |received, total| on_event(&FetchEvent::Received { file, received, total });
        let stored = sources.open(source, &mut report).and_then(|opened| store(folder, file, opened, &mut report));
        match stored {
            Ok(()) => {
                on_event(&FetchEvent::Stored { file });
                return Ok(());
            }
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Source(reason)) => {
                on_event(&FetchEvent::Failed { file, source, reason: &reason });
                reasons.push(format!("{source}: {reason}"));
            }
        }
    }
    Err(Error::Unavailable { path: folder.join(&file.name), reasons: reasons.join("; ") })
}

fn store(
    folder: &Path,
    file: &DataFile,
    opened: Opened,
    report: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), Failure> {
    let raw = Counted::new(opened, report);
    let mut part = Part::new(folder, &file.name)?;
    let content = decompressed(raw, &file.name).map_err(broke_off)?;
    part.receive(content, file.size, || format!("it is larger than the {} bytes expected", file.size))?;
    compare(file, part.size(), &part.sha256()).map_err(Failure::Source)?;
    part.keep_as(&folder.join(&file.name)).map_err(Failure::Local)
}

/// Compares the size and the checksum that were found with those of the file.
///
/// # Errors
/// When they differ; the text has both.
fn compare(file: &DataFile, size: u64, sha256: &str) -> Result<(), String> {
    if size == file.size && sha256 == file.sha256 {
        return Ok(());
    }
    Err(format!(
        "{} has {size} bytes and SHA-256 {sha256}, expected {} bytes and {}",
        file.name, file.size, file.sha256
    ))
}

/// Reads a file in `folder` and verifies its size and checksum.
///
/// # Errors
/// When it is missing or damaged.
pub(crate) fn read_checked(folder: &Path, file: &DataFile) -> Result<Vec<u8>> {
    let path = folder.join(&file.name);
    let size = fs::metadata(&path).map_err(Error::io(&path))?.len();
    let damaged = |problem: String| Error::format(&path, format!("{problem}; delete it to have it fetched again"));
    if size != file.size {
        return Err(damaged(format!("the file is damaged: it has {size} bytes, expected {}", file.size)));
    }
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    compare(file, bytes.len() as u64, &sha256(&bytes))
        .map_err(|problem| damaged(format!("the file is damaged: {problem}")))?;
    Ok(bytes)
}

/// Decompresses a file that the program carries and verifies its size and checksum.
pub(crate) fn read_bundled(bytes: &[u8], file: &DataFile) -> Result<Vec<u8>> {
    let fail = |problem: String| Error::format(&file.name, problem);
    let content = decompressed(bytes, &file.name).map_err(|error| fail(error.to_string()))?;
    let mut read = Vec::new();
    content.take(file.size + 1).read_to_end(&mut read).map_err(|error| fail(error.to_string()))?;
    compare(file, read.len() as u64, &sha256(&read)).map_err(fail)?;
    Ok(read)
}

/// The content of a stream that may be compressed with gzip. A file whose `name` ends in `.gz` stays compressed.
pub(crate) fn decompressed<'a>(mut raw: impl Read + 'a, name: &str) -> io::Result<Box<dyn Read + 'a>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let mut head = Vec::with_capacity(2);
    raw.by_ref().take(2).read_to_end(&mut head)?;
    let is_gzip = head == GZIP && !name.ends_with(".gz");
    let whole = io::Cursor::new(head).chain(raw);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(io::BufReader::new(whole))) } else { Box::new(whole) })
}

#[cfg(test)]
mod tests;
