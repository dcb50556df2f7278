//! The file that a backup is written to before it gets its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{GroupAccess, create_file, folder_of, sync_folder};

/// An incomplete backup. It is deleted when it is dropped before it is finished.
pub(super) struct Part {
    path: PathBuf,
    /// Open and locked until the end, so that another backup to the same target notices this one.
    file: File,
    /// Locked until the end too: another process may have opened it before it was deleted, and would delete this one.
    _abandoned: Option<File>,
    is_finished: bool,
}

/// An incomplete backup could not be created.
pub(super) enum PartError {
    /// Another process writes one for the same target.
    UnderWay,
    /// The file system refused it.
    Io(io::Error),
}

impl From<io::Error> for PartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Part {
    /// Creates the empty file, only for its owner, in place of one that an interrupted backup left.
    pub(super) fn create(target: &Path) -> Result<Self, PartError> {
        let path = with_suffix(target, ".part");
        let abandoned = remove_abandoned(&path)?;
        let file = match create_file(&path, GroupAccess::Read) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(PartError::UnderWay),
            created => created?,
        };
        lock(&file)?;
        remove_logs(&path);
        Ok(Self { path, file, _abandoned: abandoned, is_finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path as SQLite reads it. It is absolute, so SQLite takes no part of it for a URI.
    pub(super) fn sqlite_path(&self) -> io::Result<String> {
        let absolute = std::path::absolute(&self.path)?;
        absolute.to_str().map(str::to_owned).ok_or_else(|| {
            let name = absolute.to_string_lossy();
            io::Error::new(io::ErrorKind::InvalidFilename, format!("{name:?} is not UTF-8"))
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |data| data.len())
    }

    /// Makes the file durable and gives it its name.
    pub(super) fn finish(mut self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        self.is_finished = true;
        sync_folder(folder_of(target))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            // A file that cannot be deleted is replaced by the next backup.
            let _deleted = fs::remove_file(&self.path);
            remove_logs(&self.path);
        }
    }
}

/// Deletes the file of a backup that was interrupted, and returns it locked.
fn remove_abandoned(path: &Path) -> Result<Option<File>, PartError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.is_file() {
        let text = format!("{} is not a file", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text).into());
    }
    let file = File::open(path)?;
    lock(&file)?;
    fs::remove_file(path)?;
    Ok(Some(file))
}

/// Deletes what SQLite keeps beside a file while it writes to it.
fn remove_logs(path: &Path) {
    for suffix in ["-journal", "-wal", "-shm"] {
        let _none = fs::remove_file(with_suffix(path, suffix));
    }
}

/// Locks a file against other backups. SQLite's own locks are of another kind, except on Windows, where this lock would
/// keep SQLite out.
#[cfg(unix)]
fn lock(file: &File) -> Result<(), PartError> {
    use std::fs::TryLockError;

    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(PartError::UnderWay),
        // A file system without locks, such as that of a network share.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn lock(_file: &File) -> Result<(), PartError> {
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
