//! Faults that `strace` injects into the system calls of the real binary: it is killed at a sync, or a sync or a write
//! fails. Each sweep raises the number of the call until a run has no such call.
//!
//! strace counts the calls of each thread by itself, so a run fails at the first thread that gets so far.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use portcullis_testkit::postgres::find_or_install_program;

use super::boot;
use super::load::Client;
use super::random::Random;
use super::rounds::integrity;
use super::tally::Tally;
use crate::database::Database;
use crate::history::{History, Observed, Outcome, check};
use crate::server::{PASSWORD, Server, command, output_of, set, wait_until};

/// What happens at the n-th call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed at the n-th sync.
    KillAtSync,
    /// The process is killed at the n-th write to a file of SQLite.
    KillAtWrite,
    /// The n-th sync fails with EIO.
    IoError,
    /// Some writes to files fail with ENOSPC, beginning with the n-th. Then there is room again.
    DiskFull,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::KillAtSync, Self::KillAtWrite, Self::IoError, Self::DiskFull];

    /// The arguments of strace.
    fn inject(self, n: usize) -> [String; 4] {
        let (calls, how) = match self {
            Self::KillAtSync => (SYNCS, format!("signal=SIGKILL:when={n}")),
            Self::KillAtWrite => (WRITES, format!("signal=SIGKILL:when={n}")),
            Self::IoError => (SYNCS, format!("error=EIO:when={n}")),
            Self::DiskFull => (WRITES, format!("error=ENOSPC:when={n}..{}", n + FAILED_WRITES)),
        };
        inject(calls, &how)
    }

    /// The numbers of the calls to take, every so many of the syncs. A commit writes several times before it syncs.
    fn calls(self, every: usize) -> impl Iterator<Item = usize> {
        let of_writes = if every == 1 { 1 } else { every * WRITES_OF_A_SYNC };
        let step = match self {
            Self::KillAtSync | Self::IoError => every,
            Self::KillAtWrite | Self::DiskFull => of_writes,
        };
        (1..).step_by(step)
    }

    fn kills(self) -> bool {
        matches!(self, Self::KillAtSync | Self::KillAtWrite)
    }
}

/// The arguments with which strace interferes with calls and traces no others.
pub(crate) fn inject(calls: &str, how: &str) -> [String; 4] {
    ["-e".to_owned(), format!("trace={calls}"), "-e".to_owned(), format!("inject={calls}:{how}")]
}

/// A command under strace, and the file with its trace.
struct Traced {
    command: Command,
    trace: PathBuf,
}

impl Traced {
    fn new(bare: &Command, folder: &Path, inject: &[String]) -> Self {
        static STRACE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let strace = STRACE.get_or_init(|| find_or_install_program("strace", "strace"));
        let trace = folder.join("trace");
        let mut command = Command::new(strace.as_ref().unwrap_or_else(|reason| panic!("{reason}")));
        command.args(["-f", "-q", "-o"]).arg(&trace).args(inject);
        command.arg(bare.get_program()).args(bare.get_args());
        command.current_dir(folder).env_clear();
        command.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self { command, trace }
    }

    /// Whether a call was interfered with.
    fn was_injected(trace: &Path) -> bool {
        let text = fs::read_to_string(trace).expect("strace writes its trace");
        let is_fault = |line: &str| line.contains("(INJECTED)") || line.contains("+++ killed by SIGKILL +++");
        text.lines().any(is_fault)
    }
}

/// A server under strace.
pub(crate) struct TracedServer {
    pub server: Server,
    trace: PathBuf,
}

impl TracedServer {
    /// Starts it. `None` if it ended instead, and whether a call was interfered with.
    pub(crate) fn start(
        database: &Database,
        settings: &[(&str, &str)],
        inject: &[String],
    ) -> (Option<Self>, bool) {
        let folder = database.folder.path();
        let mut bare = command(folder);
        bare.env("PORTCULLIS_DATABASE__URL", database.url());
        // As few threads as possible make the n-th call of a thread nearly the n-th of the process.
        let few = [("DATABASE__POOL_SIZE", "1"), ("HASHING__THREADS", "1"), ("SERVER__WORKERS", "1")];
        for (name, value) in few.iter().chain(settings) {
            set(&mut bare, name, value);
        }
        let traced = Traced::new(&bare, folder, inject);
        match Server::try_of(traced.command) {
            Ok(server) => (Some(Self { server, trace: traced.trace }), false),
            Err(log) => {
                let was_injected = Traced::was_injected(&traced.trace);
                assert!(was_injected, "the server ended by itself: {log:#?}");
                (None, true)
            }
        }
    }

    /// Kills it, and returns whether a call was interfered with before.
    pub(crate) fn kill(self) -> bool {
        let was_injected = Traced::was_injected(&self.trace);
        let strace = self.server.process();
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
        for child in children.split_whitespace() {
            // It may be gone already.
            let _ = Command::new("kill").args(["-KILL", child]).stderr(Stdio::null()).status();
        }
        let (_, _) = self.server.ended();
        was_injected
    }
}

/// Sweeps over the calls of a serving server: a client works, the fault strikes, the server is killed and started again.
/// `every` skips calls: 1 takes each.
pub(crate) fn of_serving(fault: Fault, every: usize, seed: u64) -> Tally {
    let database = Database::sqlite();
    // The schema is there already: `of_starting` sweeps over its creation.
    Server::start(&database).kill();
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    let (mut ids, mut all, mut full) = (BTreeMap::new(), Vec::new(), 0);
    for n in fault.calls(every) {
        let history = History::new();
        let name = format!("s{n}");
        let mut client = Client::new(&history, name.clone(), Random::new(random.next()));
        let (traced, mut was_injected) = TracedServer::start(&database, &[], &fault.inject(n));
        if let Some(traced) = traced {
            for _ in 0..STEPS {
                let is_unknown = client.step(&traced.server) == Outcome::Unknown;
                if is_unknown && fault.kills() {
                    break;
                }
                if is_unknown {
                    client.read(&traced.server);
                }
            }
            if !fault.kills() {
                wait_until("writes go on by themselves", || client.register(&traced.server) == Outcome::Ok);
            }
            was_injected = traced.kill();
        }
        if !was_injected {
            break;
        }
        let server = Server::start(&database);
        server.wait_until_ready();
        client.probe(&server);
        server.kill();
        ids.extend(client.ids);
        full += client.turned_away_full;
        let operations = history.operations();
        let chain = Observed::verify_chain(&database);
        let observed = Observed::read(&database, &format!("{name}-"), &ids, &operations, chain);
        let mut violations = client.surprises;
        violations.extend(check(&operations, &observed));
        violations.extend(integrity(&database).err());
        let violations = violations.into_iter().map(|line| format!("{fault:?} {n}, seed {seed}: {line}"));
        tally.add(Tally::of(1, &operations, violations.collect()));
        all.extend(operations);
    }
    let observed = Observed::read(&database, "", &ids, &all, Ok(()));
    tally.violations.extend(check(&all, &observed));
    let is_unnoticed = fault == Fault::DiskFull && full == 0;
    tally.violations.extend(is_unnoticed.then(|| "no write got storage_full".to_owned()));
    tally
}

/// Sweeps over the calls of a first start, which makes the secret file and the schema: the next start completes it.
pub(crate) fn of_starting(fault: Fault, every: usize) -> Tally {
    let whole = boot::schemas(Database::sqlite).pop();
    let mut tally = Tally::default();
    let own_secret = [("SECRET", "")];
    for n in fault.calls(every) {
        let database = Database::sqlite();
        let (traced, mut was_injected) = TracedServer::start(&database, &own_secret, &fault.inject(n));
        if let Some(traced) = traced {
            was_injected = traced.kill();
        }
        if !was_injected {
            break;
        }
        let server = Server::start_with(&database, &own_secret);
        server.wait_until_ready();
        tally.rounds += 1;
        tally.acknowledged += usize::from(server.register("alice").status == 201);
        server.kill();
        let stray = || {
            let files = fs::read_dir(database.folder.path().join("data")).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            names.filter(|name| !name.starts_with("portcullis.db") && name != "portcullis.secret").count()
        };
        // A process that is killed cannot remove what it had begun.
        let left = if fault.kills() { 0 } else { stray() };
        let violations = [
            integrity(&database).err(),
            (left > 0).then(|| format!("{left} files are left")),
            (Some(boot::schema(&database)) != whole).then(|| "the schema differs".to_owned()),
            (tally.acknowledged != tally.rounds).then(|| "the next start does not work".to_owned()),
        ];
        let violations = violations.into_iter().flatten().map(|line| format!("{fault:?} {n}: {line}"));
        tally.violations.extend(violations);
    }
    tally
}

/// Sweeps over the calls of `portcullis user add` on a new database: it has added the user or not, and can be repeated.
pub(crate) fn of_adding_a_user(fault: Fault, every: usize) -> Tally {
    of_command(
        fault,
        every,
        &["user", "add", "alice"],
        |_| {},
        |database, was_success| {
            let again = bare(database, &["user", "add", "alice"]);
            let again = output_of(again);
            let is_taken = String::from_utf8_lossy(&again.stderr).contains("taken");
            let server = Server::start_with(database, &[("SECRET", "")]);
            let login = server.try_login("alice", PASSWORD).status;
            server.kill();
            let violations = [
                (was_success && !is_taken).then(|| format!("I1: the user was added and is lost: {again:?}")),
                (!again.status.success() && !is_taken).then(|| format!("it cannot be repeated: {again:?}")),
                (login != 200).then(|| format!("the user cannot log in: {login}")),
            ];
            violations.into_iter().flatten().collect()
        },
    )
}

/// Sweeps over the calls of a command, which reads [`PASSWORD`] from its input. `prepare` makes the database, and
/// `verify` returns what is wrong after the command, told whether that claimed to have succeeded.
fn of_command(
    fault: Fault,
    every: usize,
    arguments: &[&str],
    prepare: impl Fn(&Database),
    verify: impl Fn(&Database, bool) -> Vec<String>,
) -> Tally {
    let mut tally = Tally::default();
    for n in fault.calls(every) {
        let database = Database::sqlite();
        prepare(&database);
        let mut traced = Traced::new(&bare(&database, arguments), database.folder.path(), &fault.inject(n));
        traced.command.stdin(password_of(&database));
        let output = output_of(traced.command);
        if !Traced::was_injected(&traced.trace) {
            assert!(output.status.success(), "{output:?}");
            break;
        }
        let mut violations = verify(&database, output.status.success());
        violations.extend(integrity(&database).err());
        tally.rounds += 1;
        tally.acknowledged += usize::from(output.status.success());
        tally.unknown += usize::from(!output.status.success());
        tally.violations.extend(violations.into_iter().map(|line| format!("{line} ({fault:?} {n})")));
    }
    tally
}

/// A command that makes its own secret, with the password as its input.
fn bare(database: &Database, arguments: &[&str]) -> Command {
    let mut command = command(database.folder.path());
    command.args(arguments).env_remove("PORTCULLIS_SECRET").stdin(password_of(database));
    command
}

fn password_of(database: &Database) -> File {
    let path = database.folder.path().join("password");
    fs::write(&path, PASSWORD).unwrap();
    File::open(path).unwrap()
}

/// Every call with which SQLite and the secret file reach the disk.
pub(crate) const SYNCS: &str = "fsync,fdatasync";

/// The call with which SQLite writes. (The secret file is written with `write`, which also reaches sockets.)
const WRITES: &str = "pwrite64";

/// About how many writes there are for a sync.
const WRITES_OF_A_SYNC: usize = 5;

/// How many steps a client does under strace, unless a fault ends them.
const STEPS: usize = 60;

/// How many writes of a thread fail on a full disk before there is room again.
const FAILED_WRITES: usize = 20;
