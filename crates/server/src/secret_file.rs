//! The secret that development makes for itself, in a file beside the SQLite database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use portcullis_adapters::secret::Secret;
use portcullis_adapters::system::OsEntropy;
use portcullis_domain::ports::Entropy as _;
use zeroize::Zeroizing;

use crate::settings::text_file::{UnreadableFile, read_text};
use crate::settings::wrapping::{Sensitivity, unwrapped};

/// Reads the secret from `file`, or makes it there. Of several instances that start at once one makes it, and all
/// read that one.
pub(crate) fn load_or_make(file: &Path) -> anyhow::Result<Secret> {
    if !file.exists() {
        make(file).with_context(|| format!("cannot make the secret file {}", file.display()))?;
        log::warn!(
            "made a secret for development in {}; production gets its own: `portcullis secret generate`",
            absolute(file)
        );
    }
    load(file)
}

/// Reads the secret from `file`.
pub(crate) fn load(file: &Path) -> anyhow::Result<Secret> {
    let text = read_text(file, LONGEST_SECRET_FILE).map(Zeroizing::new);
    let text = text.map_err(|error| match error {
        UnreadableFile::Absent => {
            anyhow!("the secret file {} does not exist (a first start makes it)", file.display())
        }
        UnreadableFile::Unusable(reason) => anyhow!("the secret file {} {reason}", file.display()),
    })?;
    let secret = unwrapped(&text, Sensitivity::Secret)
        .map_err(|wrapping| anyhow!("the secret in {} {wrapping}", file.display()))?;
    Secret::parse_for_development(secret).with_context(|| format!("the secret in {}", file.display()))
}

/// Writes a new secret to a file of its own, durably, and links it to its name: a link replaces nothing, so whoever
/// comes second keeps what the first made.
fn make(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private_folder(folder)?;
    let mut random = [0; 8];
    OsEntropy.fill(&mut random);
    let temporary = file.with_extension(format!("{:016x}.tmp", u64::from_ne_bytes(random)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(&temporary)?;
    writeln!(written, "{}", Secret::generate(&OsEntropy).expose())?;
    written.sync_all()?;
    let linked = match fs::hard_link(&temporary, file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&temporary)?;
    linked?;
    File::open(folder)?.sync_all()
}

fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The whole path, for people who wonder where things went.
pub(crate) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
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
