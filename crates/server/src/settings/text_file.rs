//! Reads the text files that settings come from.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Reads a text file of at most `longest` bytes. Pipes, sockets and devices are refused unopened: opening one can block.
///
/// # Errors
/// [`UnreadableFile::Absent`] only if there is nothing at `path`, not even a broken link, nor in place of one of its
/// folders. A byte order mark is kept.
pub(crate) fn read_text(path: &Path, longest: u64) -> Result<String, UnreadableFile> {
    match fs::metadata(path) {
        Ok(metadata) => check_kind(&metadata)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(explain_missing(path)),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(UnreadableFile::Unusable(format!("is longer than {longest} bytes")));
    }
    let is_utf_16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    String::from_utf8(bytes).map_err(|_error| {
        UnreadableFile::Unusable(match is_utf_16 {
            true => "is UTF-16 text; save it as UTF-8".to_owned(),
            false => "is not UTF-8 text".to_owned(),
        })
    })
}

/// The reason why a file cannot be read as text. Displays as the rest of a sentence that begins with the file's name.
#[derive(Debug)]
pub(crate) enum UnreadableFile {
    /// There is nothing at the path.
    Absent,
    /// There is something at the path that is not a readable text file, or the path is not accessible.
    Unusable(String),
}

impl fmt::Display for UnreadableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("does not exist"),
            Self::Unusable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for UnreadableFile {}

impl From<io::Error> for UnreadableFile {
    fn from(error: io::Error) -> Self {
        Self::Unusable(format!("cannot be read: {error}"))
    }
}

fn check_kind(metadata: &Metadata) -> Result<(), UnreadableFile> {
    let reason = match () {
        () if metadata.is_file() => return Ok(()),
        () if metadata.is_dir() => {
            "is a folder, not a file (a container engine makes one if the file of a bind mount does not exist)"
        }
        () => "is not a regular file but a pipe, socket or device",
    };
    Err(UnreadableFile::Unusable(reason.to_owned()))
}

/// Distinguishes a path at which there is nothing from one that leads through a broken link.
fn explain_missing(path: &Path) -> UnreadableFile {
    for entry in path.ancestors().filter(|entry| !entry.as_os_str().is_empty()) {
        match fs::symlink_metadata(entry) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return error.into(),
            Ok(_) => {
                return match fs::metadata(entry) {
                    Ok(_) => UnreadableFile::Absent,
                    Err(_) if entry == path => {
                        UnreadableFile::Unusable("is a link to something that does not exist".to_owned())
                    }
                    Err(_) => UnreadableFile::Unusable(format!(
                        "cannot be read: {} is a link to something that does not exist",
                        entry.display()
                    )),
                };
            }
        }
    }
    UnreadableFile::Absent
}
