//! The rolling upgrade: migrate, replace one instance, the other, and one back.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::database::{Database, Kind};
use crate::record::command_of;
use crate::say;
use crate::server::{PASSWORD, Server, binary, wait_until};
use crate::traffic::{Balanced, Instance, Record, while_clients_work};

const PREVIOUS: &str = "previous";
const CURRENT: &str = "current";

/// Runs all of it and returns what failed.
pub(crate) fn run(previous: &Path) -> Vec<String> {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    let starting = |version: &'static str| {
        let binary = if version == PREVIOUS { previous.to_owned() } else { binary().to_owned() };
        let database = &database;
        move || start(database, version, &binary)
    };
    let both = Balanced::new(starting(PREVIOUS)(), starting(PREVIOUS)());
    let mut report = Report::default();
    while_clients_work(&both, PASSWORD, || {
        let stage = |report: &mut Report, name: &str| {
            thread::sleep(STAGE);
            report.add(name, both.take_record(), LATEST_END);
        };
        stage(&mut report, "two previous");

        // A long read holds the table that the migration changes.
        let migrated = thread::scope(|scope| {
            let read = format!("SELECT count(*), pg_sleep({}) FROM users", LONG_READ.as_secs());
            let reading = scope.spawn(move || {
                postgres.execute(url, &format!("LOCK TABLE sessions IN ACCESS SHARE MODE; {read}"))
            });
            let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'sessions'::regclass AND mode = 'AccessShareLock'
                            AND pid IN (SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep')";
            wait_until("the read holds the table", || database.number(locks) > 0);
            let begun = Instant::now();
            let output = command_of(&database, binary(), &[]).arg("migrate").output().unwrap();
            let took = begun.elapsed();
            drop(reading.join());
            (output, took)
        });
        let (output, took) = migrated;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let retries = log.lines().filter(|line| line.contains("it is tried again")).count();
        say(&format!(
            "migrated behind a read of {} s in {:.1} s, {retries} retries",
            LONG_READ.as_secs(),
            took.as_secs_f64()
        ));
        if !output.status.success() || retries == 0 {
            report.failures.push(format!("the migration: {} {log}", output.status));
        }
        report.add("migration behind a read", both.take_record(), LATEST_END + LONGEST_LOCK_WAIT);
        let without = "SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL AND ended_xid IS NULL";
        let before = database.number(without);
        stage(&mut report, "two previous, migrated");

        both.replace(0, starting(CURRENT));
        stage(&mut report, "current and previous");
        both.replace(1, starting(CURRENT));
        stage(&mut report, "two current");
        let log = both.replace(0, starting(PREVIOUS));
        let newer = log.iter().filter(|line| line.contains("a newer version migrated")).count();
        if newer > 0 {
            report.failures.push("the current version found migrations that it does not know".to_owned());
        }
        stage(&mut report, "previous and current");
        both.replace(0, starting(CURRENT));
        stage(&mut report, "two current again");

        // The previous version ended sessions too, and a trigger recorded the transactions.
        let (after, ended) =
            (database.number(without), database.number("SELECT count(ended_xid) FROM sessions"));
        say(&format!("{ended} ended sessions have their transaction, {after} ended before the migration"));
        if after != before || ended == 0 {
            report.failures.push(format!("{} ends since the migration have no transaction", after - before));
        }
    });
    report.add("the end", both.take_record(), LATEST_END);
    report.failures
}

fn start(database: &Database, version: &'static str, binary: &Path) -> Instance {
    let server = Server::of(command_of(database, binary, &[]));
    server.wait_until_ready();
    Instance { server, version }
}

#[derive(Default)]
struct Report {
    failures: Vec<String>,
}

impl Report {
    /// Prints the figures of a stage and keeps its failures.
    fn add(&mut self, stage: &str, mut record: Record, latest_end: Duration) {
        record.times.sort_unstable();
        let at = |part: usize| {
            let last = record.times.len().saturating_sub(1);
            let time = record.times.get((record.times.len() * part / 1_000).min(last));
            time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        say(&format!(
            "{stage}: {} requests, {} failed, median {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
            record.times.len(),
            record.failures.len(),
            at(500),
            at(990),
            at(1_000)
        ));
        if at(990) > SLOWEST_P99.as_secs_f64() * 1e3 {
            self.failures.push(format!("{stage}: p99 is {:.1} ms", at(990)));
        }
        for ended_by in [PREVIOUS, CURRENT] {
            for known_by in [PREVIOUS, CURRENT] {
                let ends =
                    record.ends.iter().filter(|end| end.ended_by == ended_by && end.known_by == known_by);
                let times: Vec<_> = ends.map(|end| end.after).collect();
                if let Some(slowest) = times.iter().max() {
                    if *slowest > latest_end {
                        self.failures.push(format!(
                            "{stage}: {known_by} knew of an end by {ended_by} after {slowest:?}"
                        ));
                    }
                    say(&format!(
                        "    {} ends by {ended_by} known to {known_by}, the slowest after {:.0} ms",
                        times.len(),
                        slowest.as_secs_f64() * 1e3
                    ));
                }
            }
        }
        if record.times.is_empty() {
            self.failures.push(format!("{stage}: no request was made"));
        }
        self.failures.extend(record.failures.into_iter().map(|failure| format!("{stage}: {failure}")));
    }
}

/// How long each stage lasts.
const STAGE: Duration = Duration::from_secs(6);

/// When the other instance must know of an end: a second, and something for the requests themselves.
const LATEST_END: Duration = Duration::from_millis(1_200);

/// How long the instances' own reads may wait behind a migration: for two locks of 1.4 s each.
const LONGEST_LOCK_WAIT: Duration = Duration::from_millis(2_800);

/// How long a read holds a table that is migrated.
const LONG_READ: Duration = Duration::from_secs(30);

/// The slowest 1 % of the requests may wait as long as a migration waits, and a little more.
const SLOWEST_P99: Duration = Duration::from_millis(3_500);
