//! PostgreSQL with a standby: commits that wait for it, and commits that are lost with the primary.

use std::env;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_testkit::postgres::PostgresPair;
use tempfile::TempDir;

use crate::server::{Server, Tokens, command, set, wait_until};

/// In which time an end that is committed must be known to every instance.
const PROMISE: Duration = Duration::from_secs(1);

/// A pair of servers with a database, and the folder of the instances.
struct Rig {
    pair: PostgresPair,
    database: String,
    folder: TempDir,
}

impl Rig {
    fn new(pair: PostgresPair) -> Self {
        let database = pair.create_database();
        Self { pair, database, folder: TempDir::new().unwrap() }
    }

    /// Starts an instance over a URL. `PORTCULLIS_FAULTS_BINARY` names another build, to see what that does.
    fn start(&self, url: &str) -> Server {
        let bare = command(self.folder.path());
        let binary = env::var_os("PORTCULLIS_FAULTS_BINARY").map(PathBuf::from);
        let mut command = Command::new(binary.unwrap_or_else(|| bare.get_program().into()));
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        set(&mut command, "DATABASE__URL", url);
        Server::of(command)
    }

    /// Starts two instances over the primary.
    fn instances(&self) -> [Server; 2] {
        [(); 2].map(|()| self.start(&self.primary_url()))
    }

    fn primary_url(&self) -> String {
        self.pair.primary().url(&self.database)
    }

    /// Runs statements on the primary in a transaction that does not wait for the standby.
    fn execute_alone(&self, sql: &str) {
        let sql = format!("SET LOCAL synchronous_commit TO local; {sql}");
        self.pair.primary().execute(&self.database, &sql);
    }

    fn has_ended(&self, session: &str) -> bool {
        let sql = format!("SELECT 1 FROM sessions WHERE id = '{session}' AND ended_at IS NOT NULL");
        !self.pair.primary().execute(&self.database, &sql).is_empty()
    }
}

fn accepts(server: &Server, tokens: &Tokens) -> bool {
    server.get_as("/protected", &tokens.access).status == 200
}

/// The part of the standby that stops.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Frozen {
    Standby,
    Walreceiver,
}

impl Frozen {
    fn freeze(self, pair: &PostgresPair) {
        match self {
            Self::Standby => pair.standby().freeze(),
            Self::Walreceiver => pair.freeze_walreceiver(),
        }
    }

    fn thaw(self, pair: &PostgresPair) {
        match self {
            Self::Standby => pair.standby().thaw(),
            Self::Walreceiver => pair.thaw_walreceiver(),
        }
    }
}

/// While the commit of a logout waits for the standby, the database's clock goes on by more than a minute, in steps that
/// every instance follows.
// R-39
#[test]
fn an_end_that_waits_for_the_standby_is_known_a_second_after_its_commit() {
    let rig = Rig::new(PostgresPair::start());
    for sql in [
        "CREATE SCHEMA fake",
        "CREATE TABLE fake.shift (by interval NOT NULL)",
        "INSERT INTO fake.shift VALUES ('0')",
        "CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql
         AS 'SELECT pg_catalog.clock_timestamp() + (SELECT by FROM fake.shift)'",
        "GRANT USAGE ON SCHEMA fake TO public",
        "GRANT SELECT ON fake.shift TO public",
        &format!("ALTER DATABASE {} SET search_path = public, fake, pg_catalog", rig.database),
    ] {
        rig.pair.primary().execute(&rig.database, sql);
    }
    let instances = rig.instances();
    let there = &instances[1];
    let HeldUp { delay, seen } = held_up(&rig, &instances, Frozen::Standby, || {
        for step in 1..=25 {
            // Half a step more, and the clock would be off.
            let by = step * 4;
            rig.execute_alone(&format!("UPDATE fake.shift SET by = '{by} s'"));
            wait_until("the clock is followed", || there.get("/ready").json()["checks"]["clock"] == "ok");
            thread::sleep(SYNC_PAUSE);
        }
    });
    assert!(delay <= PROMISE, "{delay:?}\n{seen}");
}

/// Longer than instances pause between two polls.
const SYNC_PAUSE: Duration = Duration::from_millis(300);

/// The same in real time: for as many seconds as `PORTCULLIS_FAULTS_FROZEN_SECS` lists, after instances have run for
/// `PORTCULLIS_FAULTS_UPTIME_SECS`. It prints what both instances answer, second by second.
#[test]
#[ignore = "takes minutes; `make test-standby` runs it"]
fn ends_held_up_for_minutes_are_known_a_second_after_their_commit() {
    let seconds_of = |name: &str, default: &str| -> Vec<u64> {
        let seconds = env::var(name).unwrap_or_else(|_| default.to_owned());
        seconds.split(',').map(|seconds| seconds.trim().parse().unwrap()).collect()
    };
    let uptime = seconds_of("PORTCULLIS_FAULTS_UPTIME_SECS", "0")[0];
    let mut delays = Vec::new();
    for seconds in seconds_of("PORTCULLIS_FAULTS_FROZEN_SECS", "75,100") {
        for frozen in [Frozen::Standby, Frozen::Walreceiver] {
            println!("\n{frozen:?} frozen for {seconds} s");
            let rig = Rig::new(PostgresPair::start());
            let instances = rig.instances();
            thread::sleep(Duration::from_secs(uptime));
            let HeldUp { delay, seen } =
                held_up(&rig, &instances, frozen, || thread::sleep(Duration::from_secs(seconds)));
            println!("{seen}\nthe other instance refused the token {delay:.1?} after the commit");
            delays.push(delay);
        }
    }
    assert!(delays.iter().all(|delay| *delay <= PROMISE), "{delays:?}");
}

/// What came of a logout whose commit was held up.
struct HeldUp {
    /// How long after the commit the other instance accepted the access token.
    delay: Duration,
    /// What both instances answered, second by second.
    seen: String,
}

/// Logs out on one instance while a standby is frozen, and thaws it after `meanwhile`.
fn held_up(rig: &Rig, [here, there]: &[Server; 2], frozen: Frozen, meanwhile: impl FnOnce()) -> HeldUp {
    here.register("alice");
    let tokens = here.login("alice");
    assert!(accepts(there, &tokens));
    frozen.freeze(&rig.pair);
    let begun = Instant::now();
    thread::scope(|scope| {
        let logout = scope.spawn(|| {
            let body = format!(r#"{{"refresh_token":"{}"}}"#, tokens.refresh);
            let request = format!(
                "POST /logout HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = here.raw(request.as_bytes());
            (begun.elapsed(), answer.lines().next().unwrap_or("none; the connection was closed").to_owned())
        });
        let record = scope.spawn(|| record(rig, here, there, &tokens, begun));
        // The end is not visible before its commit.
        wait_until("the commit waits", || {
            let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            !rig.pair.primary().execute(&rig.database, waiting).is_empty()
        });
        assert!(!rig.has_ended(&tokens.session) && accepts(there, &tokens));
        meanwhile();
        assert!(!rig.has_ended(&tokens.session) && accepts(there, &tokens));
        frozen.thaw(&rig.pair);
        wait_until("the end is committed", || rig.has_ended(&tokens.session));
        let committed = Instant::now();
        while accepts(there, &tokens) && committed.elapsed() < GIVEN_UP_AFTER {
            thread::sleep(Duration::from_millis(20));
        }
        let delay = committed.elapsed();
        let (after, answer) = logout.join().unwrap();
        let record = record.join().unwrap();
        HeldUp { delay, seen: format!("{record}the logout was answered after {after:.1?}: {answer}") }
    })
}

/// How long after the commit it is waited for the other instance to refuse the token.
const GIVEN_UP_AFTER: Duration = Duration::from_mins(1);

/// Notes once a second what the instances answer, until the other one refuses the token, or ten seconds after the commit.
fn record(rig: &Rig, here: &Server, there: &Server, tokens: &Tokens, begun: Instant) -> String {
    let mut record = "seconds | token here | token there | ready here | ready there | committed\n".to_owned();
    let mut ended = 0;
    loop {
        let [here_token, there_token] =
            [here, there].map(|server| server.get_as("/protected", &tokens.access).status);
        let [here_ready, there_ready] = [here, there].map(|server| server.get("/ready").status);
        let committed = rig.has_ended(&tokens.session);
        let seconds = begun.elapsed().as_secs();
        writeln!(
            record,
            "{seconds:7} | {here_token:10} | {there_token:11} | {here_ready:10} | {there_ready:11} | {committed}"
        )
        .unwrap();
        ended += u32::from(committed);
        if there_token == 401 || ended > 10 {
            return record;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The primary is lost with its newest commits, among them a logout.
// R-41
#[test]
fn ends_lost_with_the_primary_stay_ended() {
    let rig = Rig::new(PostgresPair::start_asynchronous());
    let url = format!("{}?target_session_attrs=read-write", rig.pair.url(&rig.database));
    let (here, there) = (rig.start(&url), rig.start(&url));
    here.register("alice");
    let [lost, kept] = [(); 2].map(|()| here.login("alice"));
    rig.pair.wait_until_replayed();
    rig.pair.freeze_walsender();
    assert_eq!(here.logout(&lost.refresh).status, 204);
    wait_until("the end is known", || !accepts(&there, &lost));
    rig.pair.primary().kill();
    let live = "SELECT 1 FROM sessions WHERE ended_at IS NULL";
    let live = || rig.pair.standby().execute(&rig.database, live).len();
    assert_eq!(live(), 2, "the standby lacks the logout");
    rig.pair.promote_standby();

    let refuse = |servers: [&Server; 2]| {
        for server in servers {
            assert_eq!(server.get_as("/protected", &lost.access).status, 401);
            // 503 until there are connections again.
            let refreshed = server.refresh(&lost.refresh).status;
            assert!([401, 503].contains(&refreshed), "{refreshed}");
        }
    };
    wait_until("the end is restored", || {
        refuse([&here, &there]);
        live() == 1
    });
    let restored = "ended sessions again whose end the database had lost";
    let went_back = "the database lost committed changes";
    wait_until("an instance says so", || here.lines_with(restored) + there.lines_with(restored) > 0);
    assert!(here.lines_with(went_back) + there.lines_with(went_back) > 0);
    for server in [&here, &there] {
        server.wait_until_ready();
    }

    // One that remembers nothing.
    there.kill();
    let there = rig.start(&url);
    refuse([&here, &there]);
    for server in [&here, &there] {
        server.refresh(&lost.refresh).is_problem(401, "invalid_refresh_token");
    }
    assert!(accepts(&there, &kept));
    assert_eq!(there.refresh(&kept.refresh).status, 200);
}
