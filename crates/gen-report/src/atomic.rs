//! Files that are complete or absent.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file under a temporary name in its folder and renames it: a reader finds the old file or the new one.
///
/// # Errors
///
/// If the system refuses.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    // The process's umask applies, as to any new file.
    let mut options = tempfile::Builder::new();
    options.permissions(Permissions::from_mode(0o666));
    let write = || {
        let mut file = options.tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(Error::write(path))
}
