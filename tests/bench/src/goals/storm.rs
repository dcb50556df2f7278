//! A minute of ten times as many logins as the machine hashes: everything else answers as when it is idle.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use super::{Measurement, clients_refreshing};
use crate::baseline::{cores, raw_hashes};
use crate::load::{Client, Connection, PATIENCE, Schedule, Tally, get, get_as, open_loop};
use crate::report::{Goal, Row, Unit};
use crate::server::{Server, Setting};
use crate::statistics::{count, milliseconds, percentile};
use crate::{Bench, memory};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    ids: &["storm"],
    what: "ten times as many logins as fit",
    estimate: |length| length * 24 + Duration::from_secs(5),
    run,
};

fn run(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    Server::start(&bench.server, folder.path(), SETTINGS)?.register(USERS)?;
    let storms: Result<Vec<_>> = bench.progress.rounds().map(|_round| storm(bench, folder.path())).collect();
    let storms = storms?;
    let mut rows = Vec::new();
    for (place, (path, _rate)) in PROBES.iter().enumerate() {
        let p99 = |tallies: fn(&Storm) -> &Vec<Tally>| -> Vec<f64> {
            storms.iter().map(|storm| milliseconds(percentile(&tallies(storm)[place].answered, 99))).collect()
        };
        let row = Row::new("storm", format!("p99 of `{path}`"), Unit::Milliseconds, p99(|storm| &storm.busy));
        rows.push(row.against("idle", &p99(|storm| &storm.idle)).goal(Goal::AtMost(1.5)));
    }
    let recoveries = storms.iter().map(|storm| storm.recovery.as_secs_f64()).collect();
    let recovery =
        Row::new("storm", "its end to the first login answered at once", Unit::Seconds, recoveries);
    let memory = storms.into_iter().map(|storm| storm.memory).collect();
    rows.push(memory::load_row("storm", "the most memory (PSS)", memory));
    rows.push(recovery.goal(Goal::AtMost(1.0)));
    Ok(rows)
}

/// What one storm showed. Its probes are in the order of [`PROBES`].
#[derive(Debug)]
struct Storm {
    idle: Vec<Tally>,
    busy: Vec<Tally>,
    memory: Result<f64>,
    /// How long after its end a login was answered again within [`AT_ONCE`] times a hash.
    recovery: Duration,
}

fn storm(bench: &Bench, folder: &Path) -> Result<Storm> {
    let capacity = raw_hashes(COST, bench.length)?;
    let one_hash = Duration::from_secs_f64(count(cores()) / capacity);
    let server = Server::start_in_our_session(&bench.server, folder, SETTINGS)?;
    let idle = probe(&server, probes(&server)?, bench.length * 3)?;
    let probes = probes(&server)?;
    let length = bench.length * 20;
    let mut logins: Vec<_> = (PROBING..USERS).map(|user| server.login(user)).collect();
    // Each begins with another user: more than a few at once would be taken for guessing.
    let clients = (0..CONNECTIONS).map(|_| {
        logins.rotate_left(1);
        Client::logging_in(logins.clone())
    });
    let clients = clients.collect();
    let schedule = Schedule { rate: 10.0 * capacity, length };
    let (outcomes, memory) = memory::highest_during(&server, || {
        let begun = Instant::now();
        thread::scope(|scope| {
            let logins = scope.spawn(|| open_loop(server.address, clients, schedule));
            let recovery = scope.spawn(|| {
                thread::sleep(length.saturating_sub(begun.elapsed()));
                recover(&server, one_hash * AT_ONCE)
            });
            let busy = probe(&server, probes, length);
            (busy, logins.join(), recovery.join())
        })
    });
    let (busy, logins, recovery) = outcomes;
    let logins = logins.map_err(|_panic| anyhow!("the storm panicked"))??;
    ensure!(!logins.refused.is_empty(), "it was no storm: no login was refused");
    let recovery = recovery.map_err(|_panic| anyhow!("the login after the storm panicked"))??;
    Ok(Storm { idle, busy: busy?, memory, recovery })
}

/// Clients for each of [`PROBES`], with sessions of their own.
fn probes(server: &Server) -> Result<[Vec<Client>; 3]> {
    let session = server.log_in(0)?;
    let protected = get_as(server.address, "/protected", &session.access_token);
    let health = get(server.address, "/health");
    let repeating = |request: &Vec<u8>| (0..PROBING).map(|_| Client::repeating(request.clone())).collect();
    Ok([repeating(&protected), clients_refreshing(server, PROBING)?, repeating(&health)])
}

/// Asks each of [`PROBES`] at its rate.
fn probe(server: &Server, clients: [Vec<Client>; 3], length: Duration) -> Result<Vec<Tally>> {
    thread::scope(|scope| {
        let probes: Vec<_> = clients
            .into_iter()
            .zip(PROBES)
            .map(|(clients, (_path, rate))| {
                scope.spawn(move || open_loop(server.address, clients, Schedule { rate, length }))
            })
            .collect();
        probes.into_iter().map(|probe| probe.join().map_err(|_panic| anyhow!("a probe panicked"))?).collect()
    })
}

/// Logs in until that is answered within `at_once`, and says how long it took until then.
fn recover(server: &Server, at_once: Duration) -> Result<Duration> {
    let begun = Instant::now();
    let request = server.login(PROBING);
    let mut connection = Connection::open(server.address)?;
    while begun.elapsed() < PATIENCE {
        let sent = Instant::now();
        let answer = connection.ask(&request)?;
        if answer.status == 200 && sent.elapsed() <= at_once {
            return Ok(begun.elapsed());
        }
    }
    bail!("no login was answered at once within {PATIENCE:?}")
}

/// What is asked meanwhile, and how often in a second.
const PROBES: [(&str, f64); 3] = [("/protected", 150.0), ("/refresh", 50.0), ("/health", 50.0)];

/// The connections of each.
const PROBING: usize = 4;

/// Cost and queue are those by default.
const SETTINGS: &[Setting<'_>] = &[("LOG__LEVEL", "warn"), ("LIMITS__ENABLED", "false")];

/// The default.
const COST: u32 = 12;

/// The users, and over how many connections they log in. The first only make requests: too many logins end the oldest
/// session of a user.
const USERS: usize = 64;
const CONNECTIONS: usize = 64;

/// Times a hash: one that waits for no other, on a machine that is not quite calm yet.
const AT_ONCE: u32 = 3;
