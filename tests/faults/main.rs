//! What `make test-faults` runs: the faults of `tests/e2e/faults` in more rounds, and those that need root.
//!
//! `ROUNDS` is the number of kill rounds over each database, 20 by default. Arguments choose parts; without any, all run.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it has nobody to give an error to: where it cannot go on, it says why and ends"
)]

/// The tests' own modules, under the names that they have there.
#[path = "../e2e"]
#[expect(dead_code, reason = "what only tests need")]
mod e2e {
    pub(crate) mod database;
    pub(crate) mod faults;
    pub(crate) mod history;
    pub(crate) mod server;
}

mod power_cut;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::{database, faults, history, server};

use database::Database;
use faults::boot;
use faults::rounds;
use faults::strace::{self, Fault};
use faults::tally::Tally;
use faults::{LONGEST_FAILOVER, new_seed};

/// A part: its name, what it does, and how.
type Part = (&'static str, &'static str, fn(usize) -> Tally);

const PARTS: [Part; 6] = [
    ("sqlite", "kill -9 under load over SQLite", sqlite),
    ("postgres", "kill -9 and crashes of PostgreSQL under load", postgres),
    ("pair", "frozen standby, killed primary, promotion", pair),
    ("strace", "kills, I/O errors and full disks at each call", strace),
    ("boot", "instances that start together, interrupted migrations", boot),
    ("power", "power cuts", power_cut::run),
];

fn main() -> ExitCode {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let unknown = chosen.iter().find(|name| PARTS.iter().all(|(part, ..)| part != name));
    let rounds = match std::env::var("ROUNDS").as_deref() {
        Err(_) => Ok(20),
        Ok(number) => number.parse(),
    };
    let (None, Ok(rounds @ 1..)) = (unknown, rounds) else {
        let names = PARTS.map(|(name, ..)| name).join(", ");
        say(&format!("ROUNDS is a number from 1 on, and an argument is one of: {names}"));
        return ExitCode::FAILURE;
    };
    let mut table = Vec::new();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    for (name, what, run) in PARTS.into_iter().filter(|(name, ..)| is_chosen(name)) {
        say(&format!("=== {name}: {what}"));
        let begun = Instant::now();
        let tally = run(rounds);
        for violation in &tally.violations {
            say(violation);
        }
        table.push((name, tally, begun.elapsed()));
    }
    say("");
    for (name, tally, time) in &table {
        say(&format!("{name:>10} {tally} in {} s", time.as_secs()));
    }
    let is_clean = table.iter().all(|(_, tally, _)| tally.violations.is_empty());
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sqlite(rounds: usize) -> Tally {
    in_batches(rounds, |rounds| rounds::on_sqlite(rounds, new_seed()))
}

fn postgres(rounds: usize) -> Tally {
    let server = Database::server_of_its_own();
    in_batches(rounds, |rounds| rounds::on_postgres(server, rounds, new_seed()))
}

/// A database for some rounds, so that no check reads what a thousand rounds left.
fn in_batches(rounds: usize, run: impl Fn(usize) -> Tally) -> Tally {
    let mut total = Tally::default();
    while total.rounds < rounds && total.violations.is_empty() {
        total.add(run(ROUNDS_OF_A_DATABASE.min(rounds - total.rounds)));
        say(&total.to_string());
    }
    total
}

/// Every round starts a pair, so these are a tenth.
fn pair(rounds: usize) -> Tally {
    let mut total = Tally::default();
    let mut longest = Duration::ZERO;
    for _ in 0..rounds.div_ceil(10) {
        let (mut tally, outage) = rounds::on_pair(new_seed());
        longest = longest.max(outage);
        let is_late = outage > LONGEST_FAILOVER;
        tally.violations.extend(is_late.then(|| format!("writes failed for {outage:?}")));
        total.add(tally);
        say(&format!("{total}, writes failed for at most {longest:.1?}"));
    }
    total
}

/// Every call from some rounds on, else some.
fn strace(rounds: usize) -> Tally {
    let every = if rounds < MANY_ROUNDS { FEW_CALLS } else { 1 };
    let mut total = Tally::default();
    for fault in Fault::ALL {
        for (what, tally) in [
            ("serving", strace::of_serving(fault, every, new_seed())),
            ("first start", strace::of_starting(fault, every)),
            ("user add", strace::of_adding_a_user(fault, every)),
        ] {
            say(&format!("{tally} {fault:?}, {what}"));
            total.add(tally);
        }
    }
    total
}

/// A quarter as many rounds as kills on each database, at most [`MOST_BOOTS`].
fn boot(rounds: usize) -> Tally {
    let mut total = Tally::default();
    for (name, make) in [("SQLite", Database::sqlite as fn() -> Database), ("PostgreSQL", Database::postgres)]
    {
        let schemas = boot::schemas(make);
        let together = rounds.div_ceil(4).min(MOST_BOOTS);
        for round in 0..together {
            let before = round % (schemas.len() - 1);
            total.violations.extend(boot::together(&make(), before, &schemas));
        }
        total.rounds += together;
        say(&format!("{name}: {together} times instances started together"));
    }
    let every = if rounds < MANY_ROUNDS { FEW_CALLS } else { 1 };
    let (interrupted, violations) = boot::interrupted(Database::server_of_its_own(), every);
    say(&format!("PostgreSQL: migrations interrupted after {interrupted} statements"));
    total.rounds += interrupted;
    total.violations.extend(violations);
    total
}

/// After so many kill rounds a new database begins, so that no check reads what a thousand rounds left.
const ROUNDS_OF_A_DATABASE: usize = 25;

/// From so many rounds on, sweeps take every call.
const MANY_ROUNDS: usize = 100;

/// With fewer rounds, sweeps take one call of so many.
const FEW_CALLS: usize = 6;

/// The most times that instances start together over a database.
const MOST_BOOTS: usize = 50;

fn say(line: &str) {
    let _nobody_listens = writeln!(io::stderr(), "{line}");
}
