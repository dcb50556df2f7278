//! The file of a SQLite database, its folder and its lock, for their owner alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The path as SQLite must be told it: absolute, since `file:` at the start of a relative one would make it a URI
/// with options of its own.
pub(super) fn name_for_sqlite(path: &Path) -> io::Result<String> {
    let absolute = std::path::absolute(path)?;
    absolute.into_os_string().into_string().map_err(|name| {
        let name = name.to_string_lossy();
        io::Error::new(io::ErrorKind::InvalidFilename, format!("{name:?} is not UTF-8"))
    })
}

/// Makes the folder of a new database.
pub(super) fn make_folder(database: &Path) -> io::Result<()> {
    match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => make_private_folder(folder),
        _ => Ok(()),
    }
}

/// Makes an empty file where there is none, before SQLite would with the permissions that are usual. Its log gets the
/// same ones.
pub(super) fn make_file(database: &Path) -> io::Result<()> {
    match private_file().create_new(true).open(database) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Tells a file from others, whatever its path. `None` where the system has no such number.
pub(super) type FileId = Option<(u64, u64)>;

/// The file that a path leads to now.
#[cfg(unix)]
pub(super) fn file_id(database: &Path) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = database.metadata()?;
    Ok(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
pub(super) fn file_id(database: &Path) -> io::Result<FileId> {
    database.metadata()?;
    Ok(None)
}

/// Locks the file beside the database, under which it is made and migrated. `None` when another instance holds it for
/// longer than `patience`. Dropping the file, or the end of the process, frees the lock.
pub(super) fn lock(database: &Path, patience: Duration) -> io::Result<Option<File>> {
    let mut path = database.as_os_str().to_owned();
    path.push(".migrate.lock");
    let path = PathBuf::from(path);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = private_file().create(true).truncate(false).open(&path).map_err(named)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(named(error)),
        }
    }
}

#[cfg(unix)]
fn make_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// How to open a file for writing that, if it is made, is its owner's alone.
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_takes_no_path_for_a_uri() {
        for path in ["file::memory:", "file:x.db", "file:///tmp/x.db", ":memory:"] {
            let name = name_for_sqlite(Path::new(path)).unwrap();
            assert!(Path::new(&name).is_absolute(), "{name}");
            assert!(name.ends_with(Path::new(path).file_name().unwrap().to_str().unwrap()), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_sqlite_cannot_be_told_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/caf\xe9.db"));
        assert!(name_for_sqlite(path).unwrap_err().to_string().contains("not UTF-8"));
    }
}
