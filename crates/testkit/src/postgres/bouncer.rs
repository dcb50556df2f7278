//! PgBouncer before a throwaway server, for tests of what a pooler does to sessions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{PATIENCE, ThrowawayPostgres, USER, find_or_install_program, is_root, wire};

/// A PgBouncer on a Unix socket of its own. Dropping it stops the process and removes its directory.
///
/// The program comes from the `PATH` or `/usr/sbin`; as root on a Debian it is installed if it is missing, unless
/// `PORTCULLIS_TEST_POSTGRES_INSTALL=never`. Without it the test fails; it is never skipped.
#[derive(Debug)]
pub struct PgBouncer {
    process: Child,
    directory: PathBuf,
    server: PathBuf,
}

impl PgBouncer {
    /// Starts one before a server. `mode` is its `pool_mode`, and `size` the most connections to each database.
    ///
    /// # Panics
    /// When it does not start, with the reason.
    pub fn start(server: &ThrowawayPostgres, mode: &str, size: u32) -> Self {
        Self::try_start(server, mode, size).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The URL of a database of the server, by way of this pooler.
    ///
    /// # Panics
    /// When the URL is not one of [`ThrowawayPostgres::create_database`].
    pub fn url(&self, database: &str) -> String {
        let host = |directory: &Path| format!("host={}", directory.display().to_string().replace('/', "%2F"));
        let (there, here) = (host(&self.server), host(&self.directory));
        assert!(database.contains(&there), "{database} is no database of {there}");
        database.replace(&there, &here)
    }

    /// Changes `pool_mode` while clients are connected.
    ///
    /// # Panics
    /// When the configuration cannot be written or the process does not take the signal.
    pub fn change_mode(&self, mode: &str, size: u32) {
        let changed = self
            .configure(mode, size)
            .and_then(|()| Command::new("kill").arg("-HUP").arg(self.process.id().to_string()).status());
        assert!(changed.is_ok_and(|status| status.success()), "PgBouncer does not take SIGHUP");
    }

    fn try_start(server: &ThrowawayPostgres, mode: &str, size: u32) -> Result<Self, String> {
        let program = find_or_install_program("pgbouncer", "pgbouncer")?;
        let directory = server.directory.join(format!("bouncer-{}", server.next_number()));
        let make = || -> io::Result<()> {
            fs::create_dir(&directory)?;
            give_to_nobody(&directory)
        };
        make().map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let mut bouncer = Command::new(program);
        bouncer.arg("--quiet").arg(directory.join("bouncer.ini")).stdin(Stdio::null());
        bouncer.stdout(Stdio::null()).stderr(Stdio::null());
        if is_root() {
            // PgBouncer refuses to run as root; this is `nobody`.
            use std::os::unix::process::CommandExt as _;
            bouncer.uid(65_534).gid(65_534);
        }
        configure(&directory, &server.directory, mode, size).map_err(|error| error.to_string())?;
        let process = bouncer.spawn().map_err(|error| format!("cannot start {bouncer:?}: {error}"))?;
        let mut started = Self { process, directory, server: server.directory.clone() };
        started.wait()?;
        Ok(started)
    }

    fn configure(&self, mode: &str, size: u32) -> io::Result<()> {
        configure(&self.directory, &self.server, mode, size)
    }

    fn wait(&mut self) -> Result<(), String> {
        let socket = self.directory.join(".s.PGSQL.5432");
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = wire::query(&socket, USER, "postgres", "SELECT 1") {
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            if self.process.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() > deadline {
                return Err(format!("PgBouncer does not answer ({error}):\n{}", log()));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn configure(directory: &Path, server: &Path, mode: &str, size: u32) -> io::Result<()> {
    let (here, there) = (directory.display(), server.display());
    let configuration = format!(
        "[databases]\n* = host={there} port=5432\n\n[pgbouncer]\nlisten_addr =\nlisten_port = 5432\n\
         unix_socket_dir = {here}\nauth_type = any\nlogfile = {here}/log\npidfile = {here}/pid\n\
         pool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 200\nquery_wait_timeout = 10\n\
         server_login_retry = 1\n"
    );
    // `any` makes every client the same user, which the line of the database names.
    let configuration = configuration.replace("port=5432\n\n", &format!("port=5432 user={USER}\n\n"));
    fs::write(directory.join("bouncer.ini"), configuration)
}

/// Lets the user that servers run as write here, if this process is root.
fn give_to_nobody(directory: &Path) -> io::Result<()> {
    match is_root() {
        true => std::os::unix::fs::chown(directory, Some(65_534), Some(65_534)),
        false => Ok(()),
    }
}
