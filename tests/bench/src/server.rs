//! The real server, and other programs, as processes of their own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::load::{Client, Connection, PATIENCE, get, post};

/// A running server. It is killed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub address: SocketAddr,
    /// How long it took from the start of the process to the first good answer.
    pub started_in: Duration,
}

/// A setting, as the environment names it without `PORTCULLIS_`, and its value.
pub(crate) type Setting<'a> = (&'a str, &'a str);

impl Server {
    /// Starts a server that keeps what it has in `folder`, with the defaults of development but for these settings,
    /// and waits until it is ready.
    pub(crate) fn start(program: &Path, folder: &Path, settings: &[Setting<'_>]) -> Result<Self> {
        Self::start_as(in_own_session(program), folder, settings)
    }

    /// The same in the session of the load, where it is to be seen how soon answers come while passwords are hashed.
    /// From another session a thread that hashes, however low its priority, may keep the processor from *who asks* for
    /// the length of a turn; who asks over a network has a processor of its own.
    pub(crate) fn start_in_our_session(
        program: &Path,
        folder: &Path,
        settings: &[Setting<'_>],
    ) -> Result<Self> {
        Self::start_as(Command::new(program), folder, settings)
    }

    fn start_as(mut command: Command, folder: &Path, settings: &[Setting<'_>]) -> Result<Self> {
        let address = free_address()?;
        let log = folder.join("log");
        command.current_dir(folder).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        command.env("PORTCULLIS_SERVER__LISTEN", address.to_string()).env("PORTCULLIS_SECRET", SECRET);
        for (name, value) in settings {
            command.env(format!("PORTCULLIS_{name}"), value);
        }
        let begun = Instant::now();
        let mut process = Process::spawn(&mut command)?;
        let health = get(address, "/health");
        process.wait_for(PAUSE_AT_START, &log, || answers(address, &health))?;
        let started_in = begun.elapsed();
        let ready = get(address, "/ready");
        process.wait_for(PAUSE_AT_START, &log, || answers(address, &ready))?;
        Ok(Self { process, address, started_in })
    }

    /// The megabytes (2^20) of memory that are its own, with its share of what it shares.
    pub(crate) fn memory(&self) -> Result<f64> {
        let path = format!("/proc/{}/smaps_rollup", self.process.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no PSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes / 1024.0)
    }

    /// Registers users `user0`, `user1`, .. on a few connections.
    pub(crate) fn register(&self, users: usize) -> Result<()> {
        in_parallel(users, |user| {
            let request = post(self.address, "/register", &credentials(user));
            Connection::open(self.address)?.ask(&request)?.expect(201)
        })?;
        Ok(())
    }

    /// Logs a user in.
    pub(crate) fn log_in(&self, user: usize) -> Result<Session> {
        self.session(&self.login(user))
    }

    /// Logs in users `user0`, `user1`, ..
    pub(crate) fn log_in_all(&self, users: usize) -> Result<Vec<Session>> {
        in_parallel(users, |user| self.log_in(user))
    }

    /// Refreshes a session.
    pub(crate) fn refresh(&self, session: &Session) -> Result<Session> {
        let body = format!(r#"{{"refresh_token":"{}"}}"#, session.refresh_token);
        self.session(&post(self.address, "/refresh", &body))
    }

    /// The request by which a user logs in.
    pub(crate) fn login(&self, user: usize) -> Vec<u8> {
        post(self.address, "/login", &credentials(user))
    }

    /// A client for each of these users that logs in.
    pub(crate) fn clients_logging_in(&self, users: Range<usize>) -> Vec<Client> {
        users.map(|user| Client::logging_in([self.login(user)])).collect()
    }

    fn session(&self, request: &[u8]) -> Result<Session> {
        let answer = Connection::open(self.address)?.ask(request)?;
        answer.expect(200)?;
        let tokens = answer.tokens()?;
        Ok(Session {
            access_token: tokens.access_token.to_owned(),
            refresh_token: tokens.refresh_token.to_owned(),
        })
    }
}

/// A session of a user.
#[derive(Debug)]
pub(crate) struct Session {
    pub access_token: String,
    pub refresh_token: String,
}

/// A process that is killed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Waits until it is so, and asks that often.
    ///
    /// # Errors
    /// When the process ends before, with what it wrote into `log`, or when it takes too long.
    pub(crate) fn wait_for(
        &mut self,
        pause: Duration,
        log: &Path,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("it ended ({status}): {}", log.trim());
            }
            ensure!(Instant::now() < deadline, "it did not start within {PATIENCE:?}");
            thread::sleep(pause);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A command in a session of its own, which ends when this process does, as far as the machine has util-linux: under
/// `sched_autogroup` Linux divides the processor between sessions, and a server shares none with who asks it. But
/// Ctrl-C reaches no other session.
pub(crate) fn in_own_session(program: &Path) -> Command {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(setsid) = find("setsid") {
        words.push(setsid.into());
        if let Some(setpriv) = find("setpriv") {
            words.extend([setpriv.into(), "--pdeathsig".into(), "KILL".into()]);
        }
    }
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Whether it is answered well.
pub(crate) fn answers(address: SocketAddr, request: &[u8]) -> bool {
    Connection::open(address)
        .and_then(|mut connection| connection.ask(request))
        .is_ok_and(|answer| answer.status == 200)
}

fn credentials(user: usize) -> String {
    format!(r#"{{"username":"user{user}","password":"{PASSWORD}"}}"#)
}

/// Does the work for 0, 1, .. on a few threads and returns what came of it, in order.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let mut done = Vec::new();
    let numbers: Vec<_> = (0..count).collect();
    for some in numbers.chunks(AT_ONCE) {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|number| scope.spawn(|| work(*number))).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for outcome in outcomes {
            done.push(outcome.map_err(|_panic| anyhow::anyhow!("a thread panicked"))??);
        }
    }
    Ok(done)
}

/// A secret for measuring only.
pub(crate) const SECRET: &str = "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q";

/// A password that the default policy accepts.
const PASSWORD: &str = "Corr3ct-horse battery";

/// How many users are registered at once: as many as one address may on two cores.
const AT_ONCE: usize = 3;

/// How often a starting server is asked: the start is measured to this.
const PAUSE_AT_START: Duration = Duration::from_micros(200);
