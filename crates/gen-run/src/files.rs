use std::fs::{self, File};
use std::path::Path;

use gen_core::{Error, Result};

/// The suffix of a file that is not complete yet.
const TEMPORARY: &str = ".tmp";

/// Writes `path` so that a reader finds the old file or the new one, never a part: `write` fills a temporary file,
/// which is then synced and renamed.
///
/// # Errors
/// When `write` fails or the file cannot be renamed; the temporary file is removed then.
pub fn write_atomically(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(TEMPORARY);
    // Permissions of an ordinary new file; tempfile's own are stricter.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder).map_err(Error::io(path))?.into_temp_path();
    write(&temporary).map_err(|error| match error {
        Error::Io { path: written, source } if written == *temporary => Error::io(path)(source),
        error => error,
    })?;
    sync(&temporary)?;
    temporary.persist(path).map_err(|error| Error::io(path)(error.error))?;
    sync_parent(path)
}

/// Waits until the content of a file is on the disk.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}

/// Waits until the name of a file is on the disk.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => sync(folder),
        _ => Ok(()),
    }
}

/// Removes a file, if it exists.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Removes the PNG files named `prefix…`, as far as possible.
pub(crate) fn remove_pictures(folder: &Path, prefix: &str) {
    remove_all(folder, |name| name.starts_with(prefix) && name.ends_with(".png"));
}

/// Removes the temporary files of killed processes named `prefix…`, as far as possible.
pub(crate) fn remove_temporary(folder: &Path, prefix: &str) {
    remove_all(folder, |name| name.starts_with(prefix) && name.ends_with(TEMPORARY));
}

fn remove_all(folder: &Path, matches: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if matches(&entry.file_name().to_string_lossy()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_disk_is_reported_in_the_words_of_the_system_for_pictures_and_tables_too() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let picture = Error::file("run/file")(image::ImageError::IoError(full()));
        let table = Error::file("run/file")(csv::Error::from(full()));
        for error in [picture, table] {
            assert_eq!(error.to_string(), format!("run/file: {}", full()));
        }
    }
}
