//! Creates files and folders whose owner and permissions suit the folder that they are created in.
//!
//! Without this, the service cannot use what another user created beside its database: an operator who runs a command as
//! root, or an earlier container that ran as another user of the same group.

use std::fs::File;
use std::io;
use std::path::Path;

/// The access of a folder's group to a new file, if the group may write to the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAccess {
    /// Read the file.
    Read,
    /// Read and change the file.
    ReadWrite,
}

/// Creates a file and opens it for writing. Only its owner has access, and the folder's group if the
/// folder is shared with it.
///
/// A file that root creates in another user's folder is given to that user. If the folder is writable for its group but
/// not for all users, the file gets that group and gives it `group` access. A warning is logged if the folder's
/// owner cannot use the file.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is something at `path`, or another error of the file system.
pub fn create_file(path: &Path, group: GroupAccess) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, OWNER_FILE);
    let file = options.open(path)?;
    #[cfg(unix)]
    suit_folder(&file, path, if group == GroupAccess::Read { 0o040 } else { 0o060 })?;
    #[cfg(not(unix))]
    let _ = group;
    Ok(file)
}

/// Creates a folder, and those above it that are missing, by the rules of [`create_file`].
///
/// # Errors
/// Errors of the file system. For a link to nothing, the text names both ends.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    refuse_dangling_link(folder)?;
    if let Some(above) = folder.parent() {
        create_folder(above)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, OWNER_FOLDER);
    match builder.create(folder) {
        // Another process created it meanwhile.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        #[cfg(unix)]
        Ok(()) => suit_folder(&open_folder(folder)?, folder, 0o070),
        #[cfg(not(unix))]
        Ok(()) => Ok(()),
    }
}

/// Fails if `path` is a symbolic link to something that does not exist, such as a volume that is not mounted.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] with a text that names both ends.
pub fn refuse_dangling_link(path: &Path) -> io::Result<()> {
    match path.read_link() {
        Ok(target) if !path.try_exists()? => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is a link to {}, which does not exist", path.display(), target.display()),
        )),
        _ => Ok(()),
    }
}

/// Returns the absolute form of a path, for messages to operators.
pub fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a change of a folder's entries durable, on file systems that can.
///
/// # Errors
/// When the disk fails. A file system that cannot do it, or a folder that this process may not read, is no error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};

    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        done => done,
    }
}

/// Gives what this process just created the owner, the group and the permissions that suit the folder it is in.
#[cfg(unix)]
fn suit_folder(created: &File, path: &Path, group_bits: u32) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    let folder = std::fs::metadata(folder_of(path))?;
    let is_shared = folder.mode() & WRITABLE_BY_OTHERS == WRITABLE_BY_GROUP;
    let before = created.metadata()?;
    // Failures are detected by the owner and the group below.
    let _ = match before.uid() == ROOT && folder.uid() != ROOT {
        true => fchown(created, Some(folder.uid()), Some(folder.gid())),
        false if is_shared && before.gid() != folder.gid() => fchown(created, None, Some(folder.gid())),
        false => Ok(()),
    };
    let after = created.metadata()?;
    let is_for_group = is_shared && after.gid() == folder.gid();
    if is_for_group {
        // The umask removed bits from the mode at creation.
        created.set_permissions(std::fs::Permissions::from_mode(after.mode() & 0o7700 | group_bits))?;
    }
    if !is_for_group && after.uid() != folder.uid() && folder.uid() != ROOT {
        let path = absolute(path);
        log::warn!(
            path, run:% = format!("chown {}:{} '{path}'", folder.uid(), folder.gid());
            "created something that the owner of its folder cannot use"
        );
    }
    Ok(())
}

/// Opens a folder without following a link in its place.
#[cfg(unix)]
fn open_folder(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?.into())
}

#[cfg(unix)]
const ROOT: u32 = 0;

#[cfg(unix)]
const OWNER_FILE: u32 = 0o600;

#[cfg(unix)]
const OWNER_FOLDER: u32 = 0o700;

#[cfg(unix)]
const WRITABLE_BY_GROUP: u32 = 0o020;

#[cfg(unix)]
const WRITABLE_BY_OTHERS: u32 = 0o022;

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
    use std::path::PathBuf;

    use super::*;

    fn folder_with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("shared");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        (above, folder)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn new_files_follow_the_groups_access_to_the_folder() {
        for (folder_mode, read, write, below) in [
            (0o700, 0o600, 0o600, 0o700),
            (0o750, 0o600, 0o600, 0o700),
            (0o770, 0o640, 0o660, 0o770),
            (0o775, 0o640, 0o660, 0o770),
            (0o2770, 0o640, 0o660, 0o2770),
            // A folder that all users may write to, such as /tmp, is not a group's.
            (0o777, 0o600, 0o600, 0o700),
            (0o1777, 0o600, 0o600, 0o700),
        ] {
            let (_above, folder) = folder_with_mode(folder_mode);
            let [reads, writes, deep] = ["reads", "writes", "deep/er"].map(|name| folder.join(name));
            create_file(&reads, GroupAccess::Read).unwrap();
            create_file(&writes, GroupAccess::ReadWrite).unwrap();
            create_folder(&deep).unwrap();
            let modes = [&reads, &writes, &folder.join("deep"), &deep].map(|path| mode(path));
            assert_eq!(modes, [read, write, below, below], "in a folder of mode {folder_mode:o}");
        }
    }

    /// Only root can give files away, so only root can prove it.
    #[test]
    fn root_gives_new_files_to_the_folders_owner() {
        let (_above, folder) = folder_with_mode(0o700);
        if std::fs::metadata(&folder).unwrap().uid() != ROOT {
            return;
        }
        chown(&folder, Some(12_345), Some(23_456)).unwrap();
        let (file, deep) = (folder.join("file"), folder.join("deep/er"));
        create_file(&file, GroupAccess::ReadWrite).unwrap();
        create_folder(&deep).unwrap();
        for path in [&file, &folder.join("deep"), &deep] {
            let data = std::fs::metadata(path).unwrap();
            assert_eq!((data.uid(), data.gid()), (12_345, 23_456), "{}", path.display());
        }
        assert_eq!((mode(&file), mode(&deep)), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_exists_is_not_replaced() {
        let (_above, folder) = folder_with_mode(0o700);
        let file = folder.join("file");
        std::fs::write(&file, "mine").unwrap();
        let error = create_file(&file, GroupAccess::Read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_link_to_a_missing_folder_is_named() {
        let (_above, folder) = folder_with_mode(0o700);
        let link = folder.join("data");
        symlink("/nonexistent/volume", &link).unwrap();
        for path in [link.clone(), link.join("below")] {
            let error = create_folder(&path).unwrap_err().to_string();
            assert!(error.contains("shared/data is a link to /nonexistent/volume"), "{error}");
        }
    }
}
