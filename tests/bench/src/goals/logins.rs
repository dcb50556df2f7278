//! P3, P4, P5 and P8: logins as fast as the machine hashes, while everything else stays quick.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::Measurement;
use crate::baseline::raw_hashes;
use crate::load::{Client, Schedule, Tally, Window, closed_loop, get_as, open_loop};
use crate::report::{Goal, Row, Unit};
use crate::server::{Server, Setting};
use crate::statistics::{longest, milliseconds, percentile};
use crate::{Bench, memory};

pub(crate) const STORM: Measurement = Measurement {
    ids: &["P3", "P4", "P8"],
    what: "login storm",
    estimate: |length| length * 6 + IDLENESS + Duration::from_secs(3),
    run: storms,
};

pub(crate) const SATURATED: Measurement = Measurement {
    ids: &["P5"],
    what: "logins on a busy machine",
    estimate: |length| length * 5 + Duration::from_secs(3),
    run: saturations,
};

fn storms(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    Server::start(&bench.server, folder.path(), WIDE)?.register(CLIENTS + 1)?;
    let (mut raw, mut storms) = (Vec::new(), Vec::new());
    for round in bench.progress.rounds() {
        for is_ours in round.order(&[false, true]) {
            match is_ours {
                false => raw.push(raw_hashes(COST, bench.length)?),
                true => storms.push(storm(bench, folder.path())?),
            }
        }
    }
    let rates = storms.iter().map(|storm| storm.logins.rate()).collect();
    let of_probes = |probes: fn(&Storm) -> &Tally| -> Vec<f64> {
        storms.iter().map(|storm| milliseconds(percentile(&probes(storm).answered, 99))).collect()
    };
    let (idle, busy) = (of_probes(|storm| &storm.idle), of_probes(|storm| &storm.busy));
    let (idle_memory, memory): (Vec<_>, Vec<_>) =
        storms.into_iter().map(|storm| (storm.idle_memory, storm.memory)).unzip();
    Ok(vec![
        Row::new("P3", "logins, 64 clients (bcrypt, cost 10)", Unit::PerSecond, rates)
            .against("raw hashes", &raw)
            .goal(Goal::AtLeast(0.97)),
        Row::new("P4", "p99 of `/protected` in the storm of P3 (150/s)", Unit::Milliseconds, busy)
            .against("idle", &idle)
            .goal(Goal::AtMost(1.5)),
        memory::idle_row(idle_memory),
        memory::load_row("P8", "the most memory (PSS) in the storm of P3", memory),
    ])
}

/// What one storm showed.
#[derive(Debug)]
struct Storm {
    logins: Tally,
    /// Requests of `/protected` before the storm, and in it.
    idle: Tally,
    busy: Tally,
    idle_memory: Result<f64>,
    memory: Result<f64>,
}

fn storm(bench: &Bench, folder: &Path) -> Result<Storm> {
    let server = Server::start_in_our_session(&bench.server, folder, WIDE)?;
    thread::sleep(IDLENESS);
    let idle_memory = server.memory();
    let session = server.log_in(0)?;
    let request = get_as(server.address, "/protected", &session.access_token);
    let probe = |length| {
        let clients = (0..PROBING).map(|_| Client::repeating(request.clone())).collect();
        open_loop(server.address, clients, Schedule { rate: PROBES, length })
    };
    let idle = probe(bench.length * 2)?;
    let length = bench.length * 3;
    let ((logins, busy), memory) = memory::highest_during(&server, || {
        beside(
            || {
                closed_loop(
                    server.address,
                    server.clients_logging_in(1..CLIENTS + 1),
                    Window { warm_up: WARM_UP, length },
                )
            },
            || {
                thread::sleep(WARM_UP);
                probe(length)
            },
        )
    });
    Ok(Storm { logins: logins?, idle, busy: busy?, idle_memory, memory })
}

fn saturations(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    Server::start(&bench.server, folder.path(), WIDE)?.register(CLIENTS + 1)?;
    let (mut raw, mut rates, mut waits, mut protected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in bench.progress.rounds() {
        for is_ours in round.order(&[false, true]) {
            if !is_ours {
                raw.push(raw_hashes(COST, bench.length)?);
                continue;
            }
            let (logins, requests) = saturate(bench, folder.path())?;
            let longest = longest(&logins.answered).max(longest(&logins.waiting));
            rates.push(logins.rate());
            waits.push(longest.as_secs_f64());
            protected.push(requests.rate());
        }
    }
    Ok(vec![
        Row::new("P5", "logins while 64 connections saturate `/protected`", Unit::PerSecond, rates)
            .against("raw hashes", &raw)
            .goal(Goal::AtLeast(0.02)),
        Row::new(
            "P5",
            "the longest wait of a login meanwhile, also without an answer to the end",
            Unit::Seconds,
            waits,
        )
        .goal(Goal::AtMost(10.0)),
        Row::new("P5", "`/protected` meanwhile", Unit::PerSecond, protected),
    ])
}

/// Logins, and requests of `/protected`, both as many as can be.
fn saturate(bench: &Bench, folder: &Path) -> Result<(Tally, Tally)> {
    let server = Server::start(&bench.server, folder, NARROW)?;
    let session = server.log_in(0)?;
    let request = get_as(server.address, "/protected", &session.access_token);
    let clients = (0..CLIENTS).map(|_| Client::repeating(request.clone())).collect();
    let window = Window { warm_up: WARM_UP, length: bench.length * 4 };
    let (logins, requests) = beside(
        || closed_loop(server.address, server.clients_logging_in(1..CLIENTS + 1), window),
        || closed_loop(server.address, clients, window),
    );
    Ok((logins?, requests?))
}

/// Puts two loads on at the same time, each from a thread.
pub(super) fn beside<T: Send>(
    one: impl FnOnce() -> Result<T> + Send,
    other: impl FnOnce() -> Result<T>,
) -> (Result<T>, Result<T>) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|_panic| Err(anyhow!("a load panicked"))), other)
    })
}

/// Hashes cost what they cost at least in production; the queue holds every client.
const WIDE: &[Setting<'_>] = &[
    ("LOG__LEVEL", "warn"),
    ("LIMITS__ENABLED", "false"),
    ("HASHING__BCRYPT_COST", "10"),
    ("HASHING__QUEUE", "128"),
];

/// The same with the queue as by default.
const NARROW: &[Setting<'_>] =
    &[("LOG__LEVEL", "warn"), ("LIMITS__ENABLED", "false"), ("HASHING__BCRYPT_COST", "10")];

const COST: u32 = 10;

/// Clients that log in, each a user of its own, and connections that saturate. User 0 only makes requests: too many
/// logins end the oldest session of a user.
const CLIENTS: usize = 64;

/// Probes in a second, and connections that share them.
const PROBES: f64 = 150.0;
const PROBING: usize = 4;

/// After a start, before memory is read.
const IDLENESS: Duration = Duration::from_secs(10);

const WARM_UP: Duration = Duration::from_secs(1);
