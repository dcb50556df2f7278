//! The real server, over a database that was filled for it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_adapters::hashing::BcryptCost;
use portcullis_adapters::secret::Secret;

use super::client::Client;
use super::fill::say;
use super::site::Site;

/// The server's program.
#[derive(Debug)]
pub(super) struct Binary(PathBuf);

impl Binary {
    /// The named one, or that beside this program.
    pub(super) fn find(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?.with_file_name("portcullis"),
        };
        ensure!(path.is_file(), "there is no server at {}; build it or name it by --server", path.display());
        Ok(Self(path))
    }

    /// Brings a database's schema up to date.
    pub(super) fn migrate(&self, url: &str, folder: &Path, secret: &Secret) -> Result<()> {
        let output = self.command(url, folder, secret).arg("migrate").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "portcullis migrate: {}", said.trim());
        Ok(())
    }

    /// Starts it, and waits until it is ready.
    pub(super) fn start(&self, site: &Site, secret: &Secret) -> Result<Server> {
        let mut command = self.command(site.url(), site.folder(), secret);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("the server has no standard error")?;
        let child = Killed(child);
        let (listening, address) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                match line.split_once("listening on http://") {
                    Some((_, rest)) => {
                        let address = rest.split(['"', ' ']).next().unwrap_or_default();
                        // Nobody waits any more where it comes too late.
                        let _ = listening.send(address.to_owned());
                    }
                    None if line.contains("INFO") => {}
                    None => say(&line),
                }
            }
        });
        let address = address.recv_timeout(PATIENCE).context("the server does not listen")?;
        let server = Server { address: address.parse()?, _child: child };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Quick hashes, no limits, and a log of warnings and of the address alone.
    fn command(&self, url: &str, folder: &Path, secret: &Secret) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(folder).env_clear().stdin(Stdio::null());
        command.env("RUST_LOG", "warn,portcullis::serve=info");
        for (name, value) in [
            ("DATABASE__URL", url),
            ("SECRET", secret.expose()),
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("HASHING__BCRYPT_COST", &BcryptCost::MIN.to_string()),
            ("HASHING__QUEUE", "64"),
            ("LIMITS__ENABLED", "false"),
            ("LOG__FORMAT", "human"),
        ] {
            command.env(format!("PORTCULLIS_{name}"), value);
        }
        command
    }
}

/// A running server. It is killed when it goes out of scope.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    _child: Killed,
}

impl Server {
    fn wait_until_ready(&self) -> Result<()> {
        let mut client = Client::connect(self.address)?;
        let deadline = Instant::now() + PATIENCE;
        while client.get("/ready", None)?.status != 200 {
            ensure!(Instant::now() < deadline, "the server is not ready after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
