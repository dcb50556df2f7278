//! Writes that hang: commits that wait for a standby that does not answer, and a disk that does not.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_testkit::postgres::{ThrowawayPostgres, find_or_install_program};

use crate::database::{Database, Kind};
use crate::server::{Answer, PASSWORD, Server, Tokens, race, wait_until};

/// A PostgreSQL server whose commits can be made to wait for a standby that does not exist.
struct StuckServer {
    postgres: ThrowawayPostgres,
    database: Database,
}

impl StuckServer {
    fn new() -> Self {
        let postgres = ThrowawayPostgres::start();
        let url = postgres.create_database();
        let folder = Database::sqlite().folder;
        // The shared server is only named, because the kind asks for one.
        let kind = Kind::Postgres { server: ThrowawayPostgres::shared(), url };
        Self { postgres, database: Database { folder, kind } }
    }

    /// Names the standby that commits wait for; none if it is empty.
    fn wait_for_standby(&self, name: &str) {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
        self.postgres.execute("postgres", &set);
        self.postgres.execute("postgres", "SELECT pg_reload_conf()");
    }

    /// How many commits wait for the standby.
    fn waiting_commits(&self) -> usize {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        self.postgres.execute("postgres", sql)[0][0].as_deref().unwrap().parse().unwrap()
    }
}

/// The end of a hang, also when an assertion fails: clients stop, and commits go on.
struct End<'a> {
    is_over: &'a AtomicBool,
    stuck: &'a StuckServer,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.stuck.wait_for_standby("");
    }
}

/// What one kind of request got in one second of the hang.
#[derive(Clone, Default)]
struct Second {
    statuses: Vec<u16>,
    slowest: Duration,
}

/// What every kind of request got, second by second.
struct Table {
    begun: Instant,
    rows: Mutex<Vec<[Second; KINDS.len()]>>,
}

const KINDS: [&str; 5] = ["/ready", "/protected", "/me", "/me/sessions", "/refresh"];

impl Table {
    fn new() -> Self {
        Self { begun: Instant::now(), rows: Mutex::default() }
    }

    /// Makes a request and notes what came of it, under the second in which it was made.
    fn note(&self, kind: usize, request: impl FnOnce() -> Answer) -> Answer {
        let asked = Instant::now();
        let answer = request();
        let second = usize::try_from((asked - self.begun).as_secs()).unwrap();
        let mut rows = self.rows.lock().unwrap();
        if rows.len() <= second {
            rows.resize(second + 1, Default::default());
        }
        let entry = &mut rows[second][kind];
        entry.statuses.push(answer.status);
        entry.slowest = entry.slowest.max(asked.elapsed());
        answer
    }

    /// The slowest request of a kind.
    fn slowest(&self, kind: usize) -> Duration {
        self.rows.lock().unwrap().iter().map(|row| row[kind].slowest).max().unwrap()
    }

    /// Prints the table; `--nocapture` shows it.
    #[expect(clippy::print_stderr, reason = "the figures are the point of a long run")]
    fn print(&self, summary: &str) {
        eprintln!("{summary}\n| second | {} |", KINDS.join(" | "));
        for (second, row) in self.rows.lock().unwrap().iter().enumerate() {
            let cells = row.iter().map(|Second { statuses, slowest }| {
                let mut kinds = statuses.clone();
                kinds.sort_unstable();
                kinds.dedup();
                let count = |kind: &u16| statuses.iter().filter(|status| *status == kind).count();
                let counts: Vec<_> = kinds.iter().map(|kind| format!("{}x {kind}", count(kind))).collect();
                format!("{}, {} ms", counts.join(" "), slowest.as_millis())
            });
            eprintln!("| {second} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

/// R-44.
#[test]
fn hanging_commits_are_answered_and_reads_go_on() {
    let stuck = StuckServer::new();
    // The grace covers clients whose refresh is committed long after they were told that its outcome is unknown.
    let server = Server::start_with(&stuck.database, &[("TOKENS__REFRESH_GRACE", "60s")]);
    let other = Server::start(&stuck.database);
    server.wait_until_ready();
    other.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
    let [reader, leaving, late] = [(); 3].map(|()| server.login("alice"));
    let refreshing: Vec<_> = (0..WRITERS).map(|_| server.login("alice")).collect();

    stuck.wait_for_standby("absent");
    let first = &refreshing[0];
    let (table, is_over) = (OnceLock::new(), AtomicBool::new(false));
    let is_on = || !is_over.load(Ordering::SeqCst);
    thread::scope(|scope| {
        let end = End { is_over: &is_over, stuck: &stuck };
        // PostgreSQL heeds it a moment later. The commit that waits first is the oldest of the hang.
        let held_up = scope.spawn(|| {
            let mut token = first.refresh.clone();
            loop {
                let asked = Instant::now();
                let answer = server.refresh(&token);
                if answer.status != 200 {
                    return (answer, asked.elapsed());
                }
                token = answer.tokens().refresh;
            }
        });
        wait_until("a commit waits", || stuck.waiting_commits() > 0);
        let table = table.get_or_init(Table::new);
        let logout = scope.spawn(|| {
            let asked = Instant::now();
            (server.logout(&leaving.refresh), asked.elapsed())
        });
        wait_until("the logout waits too", || stuck.waiting_commits() > 1);
        let writers: Vec<_> = refreshing[1..]
            .iter()
            .map(|tokens| {
                let server = &server;
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    while is_on() {
                        answers.push(table.note(4, || server.refresh(&tokens.refresh)));
                        thread::sleep(Duration::from_millis(20));
                    }
                    answers
                })
            })
            .collect();
        let unready_after = read_while_writes_hang(table, [&server, &other], &reader);
        assert!(unready_after.is_some_and(|after| after <= READY_WITHIN), "{unready_after:?}");
        for (kind, path) in KINDS.iter().enumerate().take(4) {
            assert!(table.slowest(kind) < LONGEST_READ, "{path} took {:?}", table.slowest(kind));
        }
        assert!(table.slowest(4) < LONGEST_ANSWER, "{:?}", table.slowest(4));

        // Both were answered while they hung, and were not cancelled.
        for (answer, took) in [held_up.join().unwrap(), logout.join().unwrap()] {
            answer.is_problem(503, "storage_unavailable");
            assert!(answer.header("retry-after").is_some() && !answer.text.contains("Nothing"), "{answer:?}");
            assert!((LONGEST_WORK..LONGEST_ANSWER).contains(&took), "{took:?}");
        }
        // A commit that waits is not visible yet.
        assert_eq!(server.get_as("/protected", &leaving.access).status, 200);
        let refused = Instant::now();
        server.logout(&late.refresh).is_problem(503, "storage_unavailable");
        assert!(refused.elapsed() < LONGEST_READ, "it fails at once: {:?}", refused.elapsed());

        drop(end);
        wait_until("no commit waits", || stuck.waiting_commits() == 0);
        let released = Instant::now();
        // The logout was completed: by its own thread here, and by the sync elsewhere.
        for server in [&server, &other] {
            wait_until("it is refused", || server.get_as("/protected", &leaving.access).status == 401);
        }
        assert!(released.elapsed() < Duration::from_secs(2), "{:?}", released.elapsed());
        assert_eq!(server.get_as("/protected", &late.access).status, 200, "a refused change was not made");
        server.wait_until_ready();
        let answers: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)), "{answers:?}");
        table.print(&format!(
            "unready after {unready_after:?}; ready again {:?} after the release; {} refreshes answered",
            released.elapsed(),
            answers.len()
        ));
    });
    // Each client repeats its last token, and gets the successor that was committed.
    for tokens in &refreshing[1..] {
        assert_eq!(server.refresh(&tokens.refresh).status, 200);
    }
}

/// Reads from both instances until the hang is over, and returns when the first became unready.
fn read_while_writes_hang(table: &Table, servers: [&Server; 2], reader: &Tokens) -> Option<Duration> {
    let mut unready_after = None;
    while table.begun.elapsed() < hang() {
        let ready = table.note(0, || servers[0].get("/ready"));
        if ready.status == 503 {
            unready_after.get_or_insert(table.begun.elapsed());
            let checks = &ready.json()["checks"];
            assert_eq!(checks["writes"], "failing", "{ready:?}");
            for check in ["database", "migrations", "revocations", "clock"] {
                assert_eq!(checks[check], "ok", "the sync and the reads go on: {ready:?}");
            }
        } else {
            assert_eq!(unready_after, None, "it stays unready: {ready:?}");
        }
        for (kind, path) in KINDS.iter().enumerate().skip(1).take(3) {
            for server in servers {
                let answer = table.note(kind, || server.get_as(path, &reader.access));
                assert_eq!(answer.status, 200, "{path} after {:?}: {answer:?}", table.begun.elapsed());
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    unready_after
}

/// A login that waits for its commit is answered too, though its pool waits longer for hashes.
#[test]
fn hanging_logins_are_answered() {
    let stuck = StuckServer::new();
    let server = Server::start(&stuck.database);
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
    stuck.wait_for_standby("absent");
    let answers = race(2, |_| {
        loop {
            let asked = Instant::now();
            let answer = server.try_login("alice", PASSWORD);
            if answer.status != 200 {
                return (answer, asked.elapsed());
            }
        }
    });
    for (answer, took) in answers {
        answer.is_problem(503, "storage_unavailable");
        assert!(took < LONGEST_ANSWER, "{took:?}");
    }
    stuck.wait_for_standby("");
    server.wait_until_ready();
    assert_eq!(server.try_login("alice", PASSWORD).status, 200);
}

/// The commits are not lost: PostgreSQL completes them without the instance.
#[test]
fn a_stop_ends_although_commits_hang() {
    let stuck = StuckServer::new();
    let server = Server::start_with(&stuck.database, &[("SERVER__SHUTDOWN_TIMEOUT", "1s")]);
    server.wait_until_ready();
    stuck.wait_for_standby("absent");
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut statuses = (0..).map(|n| server.raw(&register(&format!("user{n}"))));
            statuses.find(|answer| !answer.starts_with("HTTP/1.1 201")).unwrap()
        });
        wait_until("a commit waits", || stuck.waiting_commits() > 0);
        server.signal("TERM");
        assert_eq!(clients.join().unwrap(), "", "it is cut off");
    });
    let stopping = Instant::now();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(1), "{log:#?}");
    assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
    assert!(log.iter().any(|line| line.contains("work under way has not ended")), "{log:#?}");
}

fn register(name: &str) -> Vec<u8> {
    let body = format!(r#"{{"username":"{name}","password":"{PASSWORD}"}}"#);
    let head = "POST /register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// R-44. A disk on which no sync returns: strace holds each sync of the running server up until it lets go.
#[test]
fn a_disk_that_hangs_leaves_reads_alone() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
    let tokens = server.login("alice");
    let disk = HangingDisk::below(&server);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let asked = Instant::now();
            (server.register("bob"), asked.elapsed())
        });
        let begun = Instant::now();
        let mut unready_after = None;
        while !writer.is_finished() || unready_after.is_none() {
            for path in ["/protected", "/me", "/me/sessions"] {
                let asked = Instant::now();
                assert_eq!(server.get_as(path, &tokens.access).status, 200, "{path}");
                assert!(asked.elapsed() < LONGEST_READ, "{path}: {:?}", asked.elapsed());
            }
            if server.get("/ready").status == 503 {
                unready_after.get_or_insert(begun.elapsed());
            }
            assert!(begun.elapsed() < 2 * LONGEST_ANSWER, "{unready_after:?}");
            thread::sleep(Duration::from_millis(50));
        }
        assert!(unready_after.is_some_and(|after| after <= READY_WITHIN), "{unready_after:?}");
        let (answer, took) = writer.join().unwrap();
        answer.is_problem(503, "storage_unavailable");
        assert!((LONGEST_WORK..LONGEST_ANSWER).contains(&took), "{took:?}");
        let refused = Instant::now();
        server.refresh(&tokens.refresh).is_problem(503, "storage_unavailable");
        assert!(refused.elapsed() < LONGEST_READ, "it fails at once: {:?}", refused.elapsed());
    });
    drop(disk);
    server.wait_until_ready();
    assert_eq!(server.try_login("bob", PASSWORD).status, 200, "the registration was completed");
    assert_eq!(server.refresh(&tokens.refresh).status, 200);
}

/// A strace that holds up every sync of a server. Dropping it lets them go.
struct HangingDisk(Child);

impl HangingDisk {
    fn below(server: &Server) -> Self {
        let mut strace = Command::new(find_or_install_program("strace", "strace").unwrap());
        strace.args(["--follow-forks", "--quiet=all", "--trace=fsync,fdatasync", "--output=/dev/null"]);
        // For longer than any test takes.
        strace
            .args(["--inject=fsync,fdatasync:delay_enter=600s", "--attach"])
            .arg(server.process().to_string());
        let child = strace.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let status = format!("/proc/{}/status", server.process());
        wait_until("strace is attached", || {
            let status = std::fs::read_to_string(&status).unwrap();
            status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
        });
        Self(child)
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        // SIGTERM lets it detach; a killed one would leave the threads where they stand.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// How long the hang takes: longer than a client waits for its answer. `make test-rolling` makes it longer.
fn hang() -> Duration {
    let seconds = std::env::var("PORTCULLIS_TEST_HANG_SECONDS").ok();
    Duration::from_secs(seconds.map_or(13, |seconds| seconds.parse().unwrap()))
}

/// Clients that refresh all the time: more than there are connections.
const WRITERS: usize = 24;

/// Until when `/ready` fails.
const READY_WITHIN: Duration = Duration::from_secs(6);

/// `LONGEST_WORK` of `crates/http/src/blocking/data.rs`, after which a hanging write is answered.
const LONGEST_WORK: Duration = Duration::from_secs(10);

/// The same with the wait for a thread, on a busy machine.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// How long a read may take meanwhile, on a busy machine.
const LONGEST_READ: Duration = Duration::from_millis(1_500);
