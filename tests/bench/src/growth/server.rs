//! The real server, over a database that was filled for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use portcullis_adapters::hashing::BcryptCost;

use super::site::Site;
use crate::server::{SECRET, Server, Setting};

/// The server's program.
#[derive(Debug)]
pub(crate) struct Binary(PathBuf);

impl Binary {
    /// The named one, or that beside this program.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?.with_file_name("portcullis"),
        };
        ensure!(path.is_file(), "there is no server at {}; build it or name it by --server", path.display());
        Ok(Self(path))
    }

    /// Brings a database's schema up to date, with the secret that databases are measured with.
    pub(crate) fn migrate(&self, url: &str, folder: &Path) -> Result<()> {
        let mut command = Command::new(&self.0);
        command.current_dir(folder).env_clear().arg("migrate");
        command.env("PORTCULLIS_SECRET", SECRET).env("PORTCULLIS_DATABASE__URL", url);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "portcullis migrate: {}", said.trim());
        Ok(())
    }

    /// Starts it with quick hashes and without limits, nor does it seal: no service ever has as many events before it as
    /// were filled in, and it would be at that all the time.
    pub(crate) fn start(&self, site: &Site) -> Result<Server> {
        self.start_with(site, &[("AUDIT__SEAL", "false")])
    }

    /// The same with further settings, which win.
    pub(crate) fn start_with(&self, site: &Site, further: &[Setting<'_>]) -> Result<Server> {
        let lowest = BcryptCost::MIN.to_string();
        let settings = [
            ("DATABASE__URL", site.url()),
            ("HASHING__BCRYPT_COST", &lowest),
            ("HASHING__QUEUE", "64"),
            ("LIMITS__ENABLED", "false"),
            ("LOG__LEVEL", "warn"),
        ];
        Server::start(&self.0, site.folder(), &[&settings, further].concat())
    }

    /// Starts it with the default settings, except for these.
    pub(crate) fn start_as_shipped(&self, site: &Site, settings: &[Setting<'_>]) -> Result<Server> {
        Server::start(&self.0, site.folder(), &[&[("DATABASE__URL", site.url())], settings].concat())
    }
}
