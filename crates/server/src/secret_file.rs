//! The secret that development makes for itself, in a file beside the SQLite database.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use portcullis_adapters::files::{
    GroupAccess, absolute, create_file, create_folder, folder_of, refuse_dangling_link, sync_folder,
};
use portcullis_adapters::secret::Secret;
use portcullis_adapters::system::OsRandom;
use portcullis_domain::ports::SecureRandom as _;
use zeroize::Zeroizing;

use crate::advice;
use crate::settings::text_file::{UnreadableFile, read_text};
use crate::settings::wrapping::{Sensitivity, unwrapped};

/// Reads the secret from `file`, or creates it. Of several instances that start at once one creates it, and all read
/// that one.
pub(crate) fn load_or_make(file: &Path) -> anyhow::Result<Secret> {
    if is_missing(file) {
        make(file).with_context(|| {
            format!("cannot create the secret file {}; set PORTCULLIS_SECRET instead", absolute(file))
        })?;
        log::warn!(
            "made a secret for development in {}; production gets its own: `portcullis secret generate`",
            absolute(file)
        );
    }
    load(file)
}

/// Reads the secret from `file`.
pub(crate) fn load(file: &Path) -> anyhow::Result<Secret> {
    wait_until_written(file);
    let text = match read_text(file, LONGEST_SECRET_FILE).map(Zeroizing::new) {
        Ok(text) if !text.is_empty() => text,
        Ok(_) | Err(UnreadableFile::Absent) => bail!(
            "the secret file {} does not exist or is empty; run the command in the folder of the service, put the file \
             back, or set PORTCULLIS_SECRET (if the secret is lost: to a new one, and run `portcullis secret adopt`)",
            absolute(file)
        ),
        Err(UnreadableFile::Unusable(reason)) => bail!("the secret file {} {reason}", absolute(file)),
    };
    let secret = unwrapped(&text, Sensitivity::Secret)
        .map_err(|wrapping| anyhow!("the secret in {} {wrapping}", absolute(file)))?;
    Secret::parse_for_development(secret)
        .map_err(|error| anyhow!("the secret in {}: {}", absolute(file), advice::on_secret(error)))
}

/// Waits for an instance that is writing the file. Where files cannot be locked, they are created complete or not at all.
fn wait_until_written(file: &Path) {
    // Opening a pipe or a device could block.
    if file.metadata().is_ok_and(|data| data.is_file())
        && let Ok(opened) = File::open(file)
    {
        let _ = opened.lock_shared();
    }
}

/// Whether the file is missing or empty. An instance that ended between creating and writing it leaves an empty file.
fn is_missing(file: &Path) -> bool {
    match file.metadata() {
        Ok(data) => data.is_file() && data.len() == 0,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Writes a new secret to a file of its own, durably, and links it to its name. A link replaces no file, so a second
/// instance keeps the file of the first. Not every file system has links.
fn make(file: &Path) -> io::Result<()> {
    let folder = folder_of(file);
    create_folder(folder)?;
    refuse_dangling_link(file)?;
    let mut random = [0; 8];
    OsRandom.fill(&mut random);
    let temporary = file.with_extension(format!("{:016x}.tmp", u64::from_ne_bytes(random)));
    let written = write_secret(&mut create_file(&temporary, GroupAccess::Read)?);
    let linked = written.map(|()| fs::hard_link(&temporary, file));
    // A secret that could not be made durable does not stay either.
    fs::remove_file(&temporary)?;
    match linked? {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !is_missing(file) => {}
        Err(_no_links) => make_in_place(file)?,
    }
    sync_folder(folder)
}

/// Writes a new secret to the file itself, under its lock, unless another instance has done so.
fn make_in_place(file: &Path) -> io::Result<()> {
    let created = match create_file(file, GroupAccess::Read) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => File::options().write(true).open(file),
        created => created,
    };
    let mut file = created?;
    file.lock()?;
    match file.metadata()?.len() {
        0 => write_secret(&mut file),
        _ => Ok(()),
    }
}

fn write_secret(file: &mut File) -> io::Result<()> {
    let line = Zeroizing::new(format!("{}\n", Secret::generate(&OsRandom).expose()));
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

/// The longest secret file, in bytes: a generated secret has 47.
const LONGEST_SECRET_FILE: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_start_together_share_one_secret() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("data/portcullis.secret");
        let secrets: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_make(&file).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap().expose().to_owned()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0] && secret.starts_with("pcs_")));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
    }

    /// On a file system without links, all write to the file itself.
    #[test]
    fn instances_without_links_share_one_secret() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("portcullis.secret");
        let secrets: Vec<String> = std::thread::scope(|scope| {
            let make = || {
                make_in_place(&file).unwrap();
                load(&file).unwrap().expose().to_owned()
            };
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0] && secret.starts_with("pcs_")));
    }

    #[test]
    fn empty_file_of_an_interrupted_start_is_filled() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("portcullis.secret");
        fs::write(&file, "").unwrap();
        assert!(load(&file).is_err());
        assert!(load_or_make(&file).unwrap().expose().starts_with("pcs_"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn missing_file_is_named_with_its_whole_path() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("portcullis.secret");
        let error = format!("{:#}", load(&file).unwrap_err());
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("portcullis.secret");
        load_or_make(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_kept() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("portcullis.secret");
        fs::write(&file, "pcs_cut").unwrap();
        let error = format!("{:#}", load_or_make(&file).unwrap_err());
        assert!(error.contains("portcullis.secret"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "pcs_cut");
    }
}
