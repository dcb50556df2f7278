//! Rounds of load, kill, restart and check.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_testkit::postgres::{PostgresPair, ThrowawayPostgres};

use super::load::Client;
use super::random::Random;
use super::tally::Tally;
use crate::database::{Database, Kind};
use crate::history::{History, Observed, Operation, Outcome, check};
use crate::server::{Server, wait_until};

/// What a round kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// `portcullis`, with SIGKILL.
    Server,
    /// PostgreSQL, with SIGQUIT to its postmaster. `portcullis` goes on.
    Postgres,
    Both,
}

/// Runs rounds over SQLite, of which each kills the server.
pub(crate) fn on_sqlite(rounds: usize, seed: u64) -> Tally {
    run(&Database::sqlite(), None, rounds, seed)
}

/// Runs rounds over a database of a PostgreSQL server, of which each kills `portcullis`, PostgreSQL or both.
pub(crate) fn on_postgres(postgres: &'static ThrowawayPostgres, rounds: usize, seed: u64) -> Tally {
    run(&Database::of(postgres, &postgres.create_database()), Some(postgres), rounds, seed)
}

/// Freezes the standby of a synchronous pair under load, and then kills the primary and promotes the standby. Returns
/// how long no write was acknowledged as well.
pub(crate) fn on_pair(seed: u64) -> (Tally, Duration) {
    let mut random = Random::new(seed);
    // The database's type wants a server that lives as long as the process.
    let pair: &'static PostgresPair = Box::leak(Box::new(PostgresPair::start()));
    let name = pair.create_database();
    let database = Database::of(pair.primary(), &pair.url(&name));
    let server = Server::start(&database);
    server.wait_until_ready();
    let history = History::new();
    let mut clients = clients(&history, "pair", &mut random);
    let mut outage = Duration::ZERO;
    let is_frozen_first = random.below(2) == 0;
    under_load(&server, &mut clients, false, |progress| {
        pair.standby().freeze();
        // Commits wait; reads go on.
        thread::sleep(Duration::from_micros(random.below(LONGEST_ROUND_MICROS)));
        pair.standby().thaw();
        progress.wait_for_more("commits go on after the thaw");
        let lost = Instant::now();
        if is_frozen_first {
            pair.primary().freeze();
            thread::sleep(Duration::from_micros(random.below(LONGEST_ROUND_MICROS)));
        }
        pair.primary().kill();
        pair.promote_standby();
        progress.wait_for_more("writes go on at the promoted standby");
        outage = lost.elapsed();
    });
    probe(&server, &mut clients);
    let database = Database::of(pair.standby(), &pair.standby().url(&name));
    let (mut ids, mut violations) = (BTreeMap::new(), Vec::new());
    take(clients, &mut ids, &mut violations);
    let operations = history.operations();
    drop(server);
    let observed = Observed::read(&database, "", &ids, &operations, Observed::verify_chain(&database));
    violations.extend(check(&operations, &observed));
    if !violations.is_empty() {
        violations.push(format!("seed {seed}, frozen first: {is_frozen_first}"));
    }
    // Nothing is dropped, and many rounds would leave many servers.
    pair.standby().stop();
    (Tally::of(1, &operations, violations), outage)
}

fn run(database: &Database, postgres: Option<&ThrowawayPostgres>, rounds: usize, seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let (mut ids, mut violations, mut all) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut server = Server::start(database);
    let mut done = 0;
    while done < rounds && violations.is_empty() {
        let blow = match (postgres, random.below(4)) {
            (None, _) | (_, 0 | 1) => Blow::Server,
            (_, 2) => Blow::Postgres,
            _ => Blow::Both,
        };
        let pause = Duration::from_micros(random.below(LONGEST_ROUND_MICROS));
        server.wait_until_ready();
        let (recovered, operations, found) =
            round(database, postgres, server, &mut ids, (blow, pause, format!("r{done}")), &mut random);
        server = recovered;
        violations.extend(found);
        all.extend(operations);
        if !violations.is_empty() {
            violations.push(format!("seed {seed}, round {done}, {blow:?} after {pause:?}"));
        }
        done += 1;
    }
    drop(server);
    // What was acknowledged in the first round is still there after the last.
    let observed = Observed::read(database, "", &ids, &all, Observed::verify_chain(database));
    violations.extend(check(&all, &observed));
    violations.extend(integrity(database).err());
    Tally::of(done, &all, violations)
}

/// One round: load, blow, recovery, probes and checks.
fn round(
    database: &Database,
    postgres: Option<&ThrowawayPostgres>,
    server: Server,
    ids: &mut BTreeMap<String, String>,
    (blow, pause, name): (Blow, Duration, String),
    random: &mut Random,
) -> (Server, Vec<Operation>, Vec<String>) {
    let history = History::new();
    let mut clients = clients(&history, &name, random);
    under_load(&server, &mut clients, blow != Blow::Postgres, |progress| {
        progress.wait_for_more("the round begins");
        thread::sleep(pause);
        if blow != Blow::Postgres {
            server.signal("KILL");
        }
        if let Some(postgres) = postgres.filter(|_| blow != Blow::Server) {
            postgres.crash();
            postgres.restart();
        }
        if blow == Blow::Postgres {
            progress.wait_for_more("the server recovers by itself");
        }
    });
    let server = if blow == Blow::Postgres { server } else { Server::start(database) };
    server.wait_until_ready();
    probe(&server, &mut clients);
    let mut violations = Vec::new();
    take(clients, ids, &mut violations);
    let operations = history.operations();
    let observed = Observed::read(database, &format!("{name}-"), ids, &operations, Ok(()));
    violations.extend(check(&operations, &observed));
    (server, operations, violations)
}

/// What SQLite finds wrong with its file. PostgreSQL finds it when it reads its rows.
pub(crate) fn integrity(database: &Database) -> Result<(), String> {
    if !matches!(database.kind, Kind::Sqlite) {
        return Ok(());
    }
    let found = database.text("SELECT group_concat(integrity_check) FROM pragma_integrity_check");
    if found == "ok" { Ok(()) } else { Err(format!("integrity_check: {found}")) }
}

pub(crate) fn clients<'a>(history: &'a History, round: &str, random: &mut Random) -> Vec<Client<'a>> {
    (0..CLIENTS).map(|n| Client::new(history, format!("{round}-c{n}"), Random::new(random.next()))).collect()
}

pub(crate) fn take(
    clients: Vec<Client<'_>>,
    ids: &mut BTreeMap<String, String>,
    violations: &mut Vec<String>,
) {
    for client in clients {
        ids.extend(client.ids);
        violations.extend(client.surprises);
    }
}

/// How far the clients are.
pub(crate) struct Progress {
    acknowledged: AtomicUsize,
    is_over: AtomicBool,
}

impl Progress {
    /// Waits until some more operations are acknowledged.
    pub(crate) fn wait_for_more(&self, what: &str) {
        let before = self.acknowledged.load(Ordering::SeqCst);
        wait_until(what, || self.acknowledged.load(Ordering::SeqCst) >= before + 2 * CLIENTS);
    }
}

/// Lets the clients work until `blow` returns, or, if it ends the server, until each of them has noticed.
pub(crate) fn under_load(
    server: &Server,
    clients: &mut [Client<'_>],
    ends_server: bool,
    blow: impl FnOnce(&Progress),
) {
    let progress = Progress { acknowledged: AtomicUsize::new(0), is_over: AtomicBool::new(false) };
    thread::scope(|scope| {
        for client in clients {
            let progress = &progress;
            scope.spawn(move || {
                while !progress.is_over.load(Ordering::SeqCst) {
                    match client.step(server) {
                        Outcome::Ok => {
                            progress.acknowledged.fetch_add(1, Ordering::SeqCst);
                        }
                        Outcome::Unknown if ends_server => break,
                        Outcome::Unknown => thread::sleep(PAUSE),
                        Outcome::Fail => {}
                    }
                }
            });
        }
        blow(&progress);
        if !ends_server {
            progress.is_over.store(true, Ordering::SeqCst);
        }
    });
}

pub(crate) fn probe(server: &Server, clients: &mut [Client<'_>]) {
    thread::scope(|scope| {
        for client in clients {
            scope.spawn(move || client.probe(server));
        }
    });
}

/// Clients that work at the same time.
const CLIENTS: usize = 4;

/// The longest time from the begin of a round to the blow, in microseconds.
const LONGEST_ROUND_MICROS: u64 = 150_000;

/// How long a client waits after a response with an unknown outcome before it goes on.
const PAUSE: Duration = Duration::from_millis(5);
