//! Getting the files of a data set: from its sources in order, checked before they have their name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flate2::read::MultiGzDecoder;

use super::manifest::{DataFile, Source};
use super::source::{Opened, Sources};
use crate::checksum::{Checksum, sha256};
use crate::error::{Error, Result};

#[cfg(feature = "pytorch-files")]
mod url;
#[cfg(feature = "pytorch-files")]
pub(crate) use url::fetch_url;

/// What happens while a data set is fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchEvent<'a> {
    /// A source is tried.
    Started {
        /// The file that it is to give.
        file: &'a DataFile,
        /// The source.
        source: &'a Source,
    },
    /// Bytes have come, as the source sends them: often compressed.
    Received {
        /// The file.
        file: &'a DataFile,
        /// How many so far.
        received: u64,
        /// How many there will be, where the source tells.
        total: Option<u64>,
    },
    /// A source did not give the file; the next one is tried.
    Failed {
        /// The file.
        file: &'a DataFile,
        /// The source.
        source: &'a Source,
        /// What went wrong.
        reason: &'a str,
    },
    /// The file is checked and in its place.
    Stored {
        /// The file.
        file: &'a DataFile,
    },
}

/// Whoever wants to know how a fetch is going.
pub type OnFetch<'a> = dyn FnMut(&FetchEvent<'_>) + 'a;

/// What became of an attempt to read from a source.
#[derive(Debug)]
pub(super) enum Failure {
    /// The source's fault: the next one may do better.
    Source(String),
    /// Our own fault, such as a full disk: no source would help.
    Local(Error),
}

/// Fetches `files` into `folder`, each from the first of its sources that has it.
///
/// A file gets its name only when size and SHA-256 are right; until then it has a name of its own, so that two
/// processes may fetch at once. What fails leaves nothing behind.
pub(super) fn fetch(folder: &Path, files: &[&DataFile], on_event: &mut OnFetch<'_>) -> Result<()> {
    sweep(folder);
    let mut sources = Sources::new(folder);
    files.iter().try_for_each(|file| fetch_one(folder, file, &mut sources, on_event))
}

fn fetch_one(
    folder: &Path,
    file: &DataFile,
    sources: &mut Sources<'_>,
    on_event: &mut OnFetch<'_>,
) -> Result<()> {
    let mut reasons = Vec::new();
    for source in &file.sources {
        if let Some(reason) = sources.known_failure(source) {
            reasons.push(format!("{source}: {reason}"));
            continue;
        }
        on_event(&FetchEvent::Started { file, source });
        let mut report = |received, total| on_event(&FetchEvent::Received { file, received, total });
        let stored =
            sources.open(source, &mut report).and_then(|opened| store(folder, file, opened, &mut report));
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
    let mut part = Part::new(folder, &file.name).map_err(Failure::Local)?;
    let total = opened.total;
    let raw = Counted { inner: opened.reader, count: 0, report: &mut |count| report(count, total) };
    let mut content = decompressed(raw, &file.name).map_err(unreadable)?;
    let mut checksum = Checksum::default();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        size += n as u64;
        if size > file.size {
            return Err(Failure::Source(format!("it is larger than the {} bytes expected", file.size)));
        }
        checksum.update(&buffer[..n]);
        part.file.write_all(&buffer[..n]).map_err(|error| Failure::Local(Error::io(&part.path)(error)))?;
    }
    compare(file, size, &checksum.hex()).map_err(Failure::Source)?;
    part.keep_as(&folder.join(&file.name)).map_err(Failure::Local)
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Source(format!("it broke off: {error}"))
}

/// Whether what was found is the file, and if not, both sizes and checksums.
fn compare(file: &DataFile, size: u64, sha256: &str) -> Result<(), String> {
    if size == file.size && sha256 == file.sha256 {
        return Ok(());
    }
    Err(format!(
        "{} has {size} bytes and SHA-256 {sha256}, expected {} bytes and {}",
        file.name, file.size, file.sha256
    ))
}

/// Reads the file kept in `folder`, with its size and checksum verified.
///
/// # Errors
/// When it is not there or is damaged.
pub(super) fn read_checked(folder: &Path, file: &DataFile) -> Result<Vec<u8>> {
    let path = folder.join(&file.name);
    let size = fs::metadata(&path).map_err(Error::io(&path))?.len();
    let damaged =
        |problem: String| Error::format(&path, format!("{problem}; delete it to have it fetched again"));
    if size != file.size {
        return Err(damaged(format!("the file is damaged: it has {size} bytes, expected {}", file.size)));
    }
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    compare(file, bytes.len() as u64, &sha256(&bytes))
        .map_err(|problem| damaged(format!("the file is damaged: {problem}")))?;
    Ok(bytes)
}

/// Reads a file that the program carries, with its size and checksum verified.
pub(super) fn read_bundled(bytes: &[u8], file: &DataFile) -> Result<Vec<u8>> {
    let fail = |problem: String| Error::format(&file.name, problem);
    let content = decompressed(bytes, &file.name).map_err(|error| fail(error.to_string()))?;
    let mut read = Vec::new();
    content.take(file.size + 1).read_to_end(&mut read).map_err(|error| fail(error.to_string()))?;
    compare(file, read.len() as u64, &sha256(&read)).map_err(fail)?;
    Ok(read)
}

/// The content of a stream that may be compressed with gzip, unless `name` says that it is to stay so.
pub(super) fn decompressed<'a>(mut raw: impl Read + 'a, name: &str) -> io::Result<Box<dyn Read + 'a>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let mut head = Vec::with_capacity(2);
    raw.by_ref().take(2).read_to_end(&mut head)?;
    let is_gzip = head == GZIP && !name.ends_with(".gz");
    let whole = io::Cursor::new(head).chain(raw);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(io::BufReader::new(whole))) } else { Box::new(whole) })
}

struct Counted<'a, R> {
    inner: R,
    count: u64,
    report: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        (self.report)(self.count);
        Ok(n)
    }
}

/// A name in `folder` that no other process or thread uses.
pub(super) fn temporary_name(folder: &Path, name: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{name}.{}-{count}.part", std::process::id()))
}

/// A file being written; it is removed unless it is kept.
struct Part {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Part {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = temporary_name(folder, name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Error::io(&path))?;
        Ok(Part { path, file, kept: false })
    }

    /// Gives the file its name, once its content is on the disk.
    fn keep_as(mut self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(Error::io(&self.path))?;
        fs::rename(&self.path, path).map_err(Error::io(path))?;
        self.kept = true;
        if let (true, Some(folder)) = (cfg!(unix), path.parent()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what processes that were killed have left: parts that nobody has touched for a day.
fn sweep(folder: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let touched = entry.metadata().and_then(|metadata| metadata.modified());
        let age = touched.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if name.starts_with('.') && name.ends_with(".part") && age.is_ok_and(|age| age > DAY) {
            let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
