use std::fs::{File, TryLockError};
use std::path::Path;

use gen_core::{Error, Result};

/// Keeps other processes from training in a folder until it is dropped or the process ends, even by a crash.
#[derive(Debug)]
pub(super) struct Lock {
    /// `None` where the file system has no locks.
    _folder: Option<File>,
}

impl Lock {
    /// Locks `folder`.
    ///
    /// # Errors
    /// When another process holds the lock.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let file = File::open(folder).map_err(Error::io(folder))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _folder: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(Error::invalid(format!(
                "another process is training in {}: wait for it, or choose another folder",
                folder.display()
            ))),
            Err(TryLockError::Error(_)) => Ok(Lock { _folder: None }),
        }
    }
}
