//! Files under a temporary name while they are fetched.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gen_core::{Error, Result};
use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile, TempDir};

/// Why a file could not be fetched.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A fault of the source: the next source may have the file.
    Source(String),
    /// A local fault, such as a full disk: no other source would help.
    Local(Error),
}

/// The failure of a source that stopped in the middle of a file.
pub(crate) fn broke_off(error: io::Error) -> Failure {
    Failure::Source(format!("it broke off: {error}"))
}

const SUFFIX: &str = ".part";

/// A file that is being written, removed when dropped unless it is kept.
pub(crate) struct Part {
    file: NamedTempFile,
    checksum: Sha256,
    size: u64,
}

impl Part {
    /// An empty file in `folder` under a name that no other process or thread uses.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self, Failure> {
        let create = || {
            fs::create_dir_all(folder)?;
            let prefix = format!(".{name}.");
            let mut builder = Builder::new();
            builder.prefix(&prefix).suffix(SUFFIX);
            // Permissions of an ordinary new file; tempfile's own are stricter.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            builder.tempfile_in(folder)
        };
        let file = create().map_err(|error| Failure::Local(Error::io(folder)(error)))?;
        Ok(Part { file, checksum: Sha256::new(), size: 0 })
    }

    /// Appends the bytes of `content`; fails with the reason `too_large` beyond `limit` bytes.
    pub(crate) fn receive(
        &mut self,
        mut content: impl Read,
        limit: u64,
        too_large: impl Fn() -> String,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broke_off(error)),
            };
            self.size += n as u64;
            if self.size > limit {
                return Err(Failure::Source(too_large()));
            }
            self.checksum.update(&buffer[..n]);
            let written = self.file.write_all(&buffer[..n]);
            written.map_err(|error| Failure::Local(Error::io(self.path())(error)))?;
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The number of bytes received.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of the bytes received, in hexadecimal.
    pub(crate) fn sha256(&self) -> String {
        hex::encode(self.checksum.clone().finalize())
    }

    /// Syncs the file to the disk and renames it to `path`.
    pub(crate) fn keep_as(self, path: &Path) -> Result<()> {
        self.file.as_file().sync_all().map_err(Error::io(self.path()))?;
        self.file.persist(path).map_err(|error| Error::io(path)(error.error))?;
        if let (true, Some(folder)) = (cfg!(unix), path.parent()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
        }
        Ok(())
    }
}

/// A temporary folder inside `folder`, for packages while their files are read.
pub(crate) fn scratch(folder: &Path) -> Result<TempDir, Failure> {
    let create = || {
        fs::create_dir_all(folder)?;
        Builder::new().prefix(".packages.").suffix(SUFFIX).tempdir_in(folder)
    };
    create().map_err(|error| Failure::Local(Error::io(folder)(error)))
}

/// Removes the leftovers of killed processes: parts that have not been modified for a day.
pub(crate) fn sweep(folder: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let touched = entry.metadata().and_then(|metadata| metadata.modified());
        let age = touched.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if name.starts_with('.') && name.ends_with(SUFFIX) && age.is_ok_and(|age| age > DAY) {
            let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_parts_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [(".a.1-0.part", 48), (".b.2-0.part", 0), ("c.part", 48)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age * 3600)).unwrap();
        }
        sweep(folder.path());
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [".b.2-0.part", "c.part"]);
    }
}
