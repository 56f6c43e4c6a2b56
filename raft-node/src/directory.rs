//! Directories that belong to one process, and files in them that outlive a power cut.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// A data directory that this process has to itself for as long as this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory with all directories above it that are missing, makes the new names
    /// durable, and locks it.
    ///
    /// # Errors
    /// `InUse` if it is locked already; `Io` if the system refuses.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // The files stay where they are when the process changes its directory.
        let path = std::path::absolute(path).map_err(failed("locate", path))?;
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        missing.iter().filter_map(|dir| dir.parent()).try_for_each(sync)?;
        sync_name(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes the lock of the directory. The system gives it back when the process ends, however it
/// ends.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// Makes the creation, renaming and removal of files in `dir` durable.
pub(crate) fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

/// Makes the name of a directory durable: whoever has made it may have died before doing so. Where
/// the directory above can't be opened, somebody else has made it.
pub(crate) fn sync_name(dir: &Path) -> Result<(), StoreError> {
    let path = std::path::absolute(dir).map_err(failed("locate", dir))?;
    match path.parent().map_or(Ok(()), sync) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Ok(())
        }
        outcome => outcome,
    }
}

/// Removes a file, if it is there. The removal is durable after [`sync`].
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Opens a file for reading; `None` if it is not there.
pub(crate) fn open_file(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", path)(error)),
    }
}

/// Turns an error of the system into one that names what was tried and where.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}
