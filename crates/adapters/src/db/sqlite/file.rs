//! The file of a SQLite database, its folder and its lock, for their owner alone.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

#[cfg(unix)]
use rustix::{fs::Access, io::Errno};

use crate::files::{GroupAccess, create_file, refuse_dangling_link};
#[cfg(unix)]
use crate::files::{absolute, folder_of};

/// How SQLite opens a database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) enum Opening {
    /// To read and write; a missing file is created.
    Create,
    /// To read and write an existing file. The log beside it is created if it is missing.
    Existing,
    /// To read a file that no process changes, on storage that cannot be written. Nothing is created or locked.
    Immutable,
}

/// The URI by which SQLite opens a file. The path in it is absolute and escaped, so that no part of the path is taken for an option.
pub(in crate::db) fn uri(path: &Path, opening: Opening) -> io::Result<String> {
    let absolute = std::path::absolute(path)?;
    let name = absolute.to_str().ok_or_else(|| {
        let name = absolute.to_string_lossy();
        io::Error::new(io::ErrorKind::InvalidFilename, format!("{name:?} is not UTF-8"))
    })?;
    let mut uri = "file:".to_owned();
    if !name.starts_with('/') {
        uri.push('/');
    }
    for c in name.chars() {
        match c {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            // A separator on Windows; elsewhere a part of a name.
            '\\' if cfg!(windows) => uri.push('/'),
            c => uri.push(c),
        }
    }
    uri.push_str(match opening {
        Opening::Create => "?mode=rwc",
        Opening::Existing => "?mode=rw",
        Opening::Immutable => "?mode=ro&immutable=1",
    });
    Ok(uri)
}

/// Whether there is a file at a database's path.
///
/// # Errors
/// If there is something else, or a symbolic link to nothing.
pub(in crate::db) fn is_there(database: &Path) -> io::Result<bool> {
    let refused =
        |what| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the path leads to {what}")));
    refuse_dangling_link(database)?;
    match database.metadata() {
        Ok(data) if data.is_file() => Ok(true),
        Ok(data) if data.is_dir() => refused("a folder"),
        Ok(_) => refused("something that is not a file"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates an empty file if there is none, before SQLite would with the usual permissions. SQLite gives its log the same
/// owner and permissions. Returns whether a file was created.
pub(in crate::db) fn make_file(database: &Path) -> io::Result<bool> {
    match create_file(database, GroupAccess::ReadWrite) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Identifies a file regardless of its path. `None` if the system has no such number.
pub(in crate::db) type FileId = Option<(u64, u64)>;

/// The file that a path leads to now.
#[cfg(unix)]
pub(in crate::db) fn file_id(database: &Path) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = database.metadata()?;
    Ok(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
pub(in crate::db) fn file_id(database: &Path) -> io::Result<FileId> {
    database.metadata()?;
    Ok(None)
}

/// Returns the number of a file, and when it was created, as far as the system and the file system know them. Both stay
/// when the file is renamed, and a copy has others.
pub(in crate::db) fn identity(database: &Path) -> io::Result<(Option<u64>, Option<SystemTime>)> {
    let inode = file_id(database)?.map(|(_device, inode)| inode);
    Ok((inode, database.metadata()?.created().ok()))
}

/// Checks that this process may write to a database file, to the files that SQLite keeps beside it and, as far as these
/// are missing, to the folder.
///
/// # Errors
/// Names the first path that cannot be written, and its owner or the read-only file system.
#[cfg(unix)]
pub(in crate::db) fn check_writable(database: &Path) -> io::Result<()> {
    let beside = ["-wal", "-shm", LOCK].map(|suffix| beside(database, suffix));
    let [wal, shm, lock] = &beside;
    for file in [database, wal, shm, lock] {
        match may(file, Access::WRITE_OK) {
            Err(Errno::NOENT) => {
                let folder = folder_of(file);
                may(folder, Access::WRITE_OK).map_err(|error| refused(folder, "written", error))?;
            }
            checked => checked.map_err(|error| refused(file, "written", error))?,
        }
    }
    Ok(())
}

/// Checks that this process may read a database file.
///
/// # Errors
/// If it may not. The text names the file's owner.
#[cfg(unix)]
pub(in crate::db) fn check_readable(database: &Path) -> io::Result<()> {
    may(database, Access::READ_OK).map_err(|error| refused(database, "read", error))
}

#[cfg(not(unix))]
pub(in crate::db) fn check_readable(_database: &Path) -> io::Result<()> {
    Ok(())
}

/// Asks the system. Opening the file as a test would drop SQLite's own locks when it is closed.
#[cfg(unix)]
fn may(path: &Path, access: Access) -> Result<(), Errno> {
    rustix::fs::accessat(rustix::fs::CWD, path, access, rustix::fs::AtFlags::EACCESS)
}

#[cfg(not(unix))]
pub(in crate::db) fn check_writable(_database: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn refused(path: &Path, done: &str, error: Errno) -> io::Error {
    use std::os::unix::fs::MetadataExt as _;

    let whole = absolute(path);
    let text = match (error, path.metadata()) {
        (Errno::ROFS, _) => format!("{whole} is on a read-only file system"),
        (_, Ok(data)) if data.uid() == rustix::process::geteuid().as_raw() => format!(
            "{whole} cannot be {done} by its owner (user {owner}, mode {mode:o}); change its mode: chmod {rights} '{whole}'",
            owner = data.uid(),
            mode = data.mode() & 0o7777,
            rights = if data.is_dir() { "u+rwx" } else { "u+rw" },
        ),
        (_, Ok(data)) => format!(
            "{whole} cannot be {done} by user {user} (owner {owner}, group {group}, mode {mode:o}); run this as the \
             owner, or make user {user} the owner: chown {user} '{whole}'",
            user = rustix::process::geteuid().as_raw(),
            owner = data.uid(),
            group = data.gid(),
            mode = data.mode() & 0o7777,
        ),
        _ => format!("{whole} cannot be {done}: {}", io::Error::from(error)),
    };
    io::Error::new(io::Error::from(error).kind(), text)
}

/// Whether a database file has a log with changes that are not yet in the file itself.
pub(in crate::db) fn has_log(database: &Path) -> bool {
    beside(database, "-wal").metadata().is_ok_and(|data| data.len() > 0)
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Locks the file beside the database, under which it is made and migrated. `None` when another instance holds it for
/// longer than `patience`. Dropping the file, or the end of the process, frees the lock.
pub(in crate::db) fn lock(database: &Path, patience: Duration) -> io::Result<Option<File>> {
    let path = beside(database, LOCK);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = match create_file(&path, GroupAccess::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::options().write(true).open(&path),
        created => created,
    };
    let file = file.map_err(named)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(named(io::Error::new(error.kind(), format!("{error}; {FILE_SYSTEM_ADVICE}"))));
            }
        }
    }
}

/// Advice for file systems without locks or shared memory.
pub(in crate::db) const FILE_SYSTEM_ADVICE: &str = "keep the database on a local file system that has locks and shared memory, \
                                             not on a network share, or use PostgreSQL";

/// The suffix of the lock file's name.
const LOCK: &str = ".migrate.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_passes_options_to_sqlite() {
        for (path, end) in [
            ("file::memory:", "/file::memory:?mode=rw"),
            ("file:x.db", "/file:x.db?mode=rw"),
            (":memory:", "/:memory:?mode=rw"),
            ("/a/b?mode=memory", "file:/a/b%3fmode=memory?mode=rw"),
            ("/a/50% #1 \u{e9}.db", "file:/a/50%25 %231 \u{e9}.db?mode=rw"),
        ] {
            let uri = uri(Path::new(path), Opening::Existing).unwrap();
            assert!(uri.starts_with("file:/") && uri.ends_with(end), "{uri}");
        }
    }

    #[test]
    fn only_a_file_is_a_database_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(!is_there(&path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(is_there(&path).unwrap());
        assert!(is_there(folder.path()).unwrap_err().to_string().contains("a folder"));
        assert!(is_there(&path.join("below")).is_err(), "a file has nothing below it");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("x.db");
        std::os::unix::fs::symlink("/nonexistent/volume.db", &link).unwrap();
        let error = is_there(&link).unwrap_err().to_string();
        assert!(error.contains("x.db is a link to /nonexistent/volume.db, which does not exist"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_sqlite_cannot_be_told_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/caf\xe9.db"));
        assert!(uri(path, Opening::Create).unwrap_err().to_string().contains("not UTF-8"));
    }
}
