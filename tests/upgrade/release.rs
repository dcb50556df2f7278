//! The last release, built from its commit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The last release that `migrations/releases.toml` lists.
pub(crate) struct Release {
    pub version: String,
    pub commit: String,
}

impl Release {
    pub(crate) fn last() -> Self {
        let text = fs::read_to_string(root().join("migrations/releases.toml")).unwrap();
        let releases: toml::Table = text.parse().unwrap();
        let last = releases["release"].as_array().and_then(|releases| releases.last()).expect("a release");
        let text = |key: &str| last[key].as_str().unwrap().to_owned();
        Self { version: text("version"), commit: text("commit") }
    }

    /// Builds the release's binary from a worktree of its commit, in a folder below `target`, and returns its path.
    pub(crate) fn build(&self) -> Result<PathBuf, String> {
        let ours = target();
        let folder = ours.join("upgrade").join(&self.version);
        let (source, built) = (folder.join("source"), folder.join("target"));
        if !source.join("Cargo.toml").exists() {
            // A folder that was deleted by hand is still listed.
            run(Command::new("git").args(["worktree", "prune"]), "it needs git")?;
            let mut add = Command::new("git");
            add.args(["worktree", "add", "--force", "--detach"]).arg(&source).arg(&self.commit);
            run(&mut add, "a shallow clone lacks the commit: git fetch --unshallow")?;
        }
        // An earlier run may have left another commit.
        let mut checkout = Command::new("git");
        checkout.arg("-C").arg(&source).args(["checkout", "--quiet", "--force", "--detach", &self.commit]);
        run(&mut checkout, "the folder is a worktree of this repository; delete it if it is not")?;
        if !built.exists() {
            share_dependencies(&ours.join("debug"), &built.join("debug"))
                .map_err(|error| error.to_string())?;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--package", "portcullis-server", "--bin", "portcullis"]);
        cargo.arg("--manifest-path").arg(source.join("Cargo.toml")).arg("--target-dir").arg(&built);
        run(&mut cargo, "the sources of a release build as they are")?;
        Ok(built.join("debug/portcullis"))
    }
}

/// Links what cargo built of other crates into another target folder, so that they need not be compiled again if both
/// versions use them in the same way. The crates of the workspace keep their names, so they are left out.
fn share_dependencies(from: &Path, to: &Path) -> io::Result<()> {
    for folder in ["build", "deps", ".fingerprint"] {
        link_all(&from.join(folder), &to.join(folder))?;
    }
    Ok(())
}

fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if name.to_string_lossy().contains("portcullis") {
            continue;
        }
        match path.is_dir() {
            true => link_all(&path, &to.join(name))?,
            false => fs::hard_link(&path, to.join(name))?,
        }
    }
    Ok(())
}

fn run(command: &mut Command, hint: &str) -> Result<(), String> {
    match command.current_dir(root()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed ({status}); {hint}")),
        Err(error) => Err(format!("cannot start {command:?}: {error}; {hint}")),
    }
}

/// The folder in which cargo built this program.
fn target() -> PathBuf {
    // target/<profile>/examples/upgrade
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
