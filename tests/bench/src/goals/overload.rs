//! P11: who logs in beyond what the machine hashes is told so at once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Measurement;
use crate::Bench;
use crate::load::{Client, Tally, Window, closed_loop};
use crate::report::{Goal, Row, Unit};
use crate::server::{Server, Setting};
use crate::statistics::{count, longest, milliseconds, percentile};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    ids: &["P11"],
    what: "more logins than fit",
    estimate: |length| length * 6 + Duration::from_secs(4),
    run,
};

fn run(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.folder()?;
    Server::start(&bench.server, folder.path(), SETTINGS)?.register(CLIENTS)?;
    let (mut patient, mut impatient) = (Vec::new(), Vec::new());
    for round in bench.progress.rounds() {
        for are_patient in round.order(&[true, false]) {
            let tally = overload(bench, folder.path(), are_patient)?;
            if are_patient { patient.push(tally) } else { impatient.push(tally) }
        }
    }
    let row = |what: &str, unit, tallies: &[Tally], figure: fn(&Tally) -> f64| {
        Row::new("P11", what, unit, tallies.iter().map(figure).collect())
    };
    let slow_refusal = |tally: &Tally| milliseconds(percentile(&tally.refused, 99));
    let slowest_refusal = |tally: &Tally| milliseconds(longest(&tally.refused));
    let usual_wait = |tally: &Tally| percentile(&tally.answered, 50).as_secs_f64();
    let all: Vec<_> = patient.iter().chain(&impatient).cloned().collect();
    Ok(vec![
        row("p99 of a 503, 64 clients that come back when told", Unit::Milliseconds, &patient, slow_refusal)
            .goal(Goal::AtMost(50.0)),
        row("the slowest 503", Unit::Milliseconds, &patient, slowest_refusal),
        row("median wait of an accepted login", Unit::Seconds, &patient, usual_wait),
        row("the longest wait of an accepted login", Unit::Seconds, &patient, longest_wait)
            .goal(Goal::AtMost(LONGEST_WAIT)),
        row("p99 of a 503, 64 clients that come back at once", Unit::Milliseconds, &impatient, slow_refusal)
            .goal(Goal::AtMost(50.0)),
        row("the slowest 503", Unit::Milliseconds, &impatient, slowest_refusal),
        row("the longest wait of an accepted login", Unit::Seconds, &impatient, longest_wait),
        row("all refused logins with `Retry-After`", Unit::Percent, &all, told_when)
            .goal(Goal::AtLeast(100.0)),
    ])
}

fn overload(bench: &Bench, folder: &Path, are_patient: bool) -> Result<Tally> {
    let server = Server::start(&bench.server, folder, SETTINGS)?;
    let mut clients = server.clients_logging_in(0..CLIENTS);
    if are_patient {
        clients = clients.into_iter().map(Client::patiently).collect();
    }
    let window = Window { warm_up: Duration::from_secs(1), length: bench.length * 3 };
    let tally = closed_loop(server.address, clients, window)?;
    ensure!(!tally.refused.is_empty(), "no login was refused");
    ensure!(!tally.answered.is_empty(), "no login was accepted");
    Ok(tally)
}

/// Also of those that had no answer to the end.
fn longest_wait(tally: &Tally) -> f64 {
    longest(&tally.answered).max(longest(&tally.waiting)).as_secs_f64()
}

/// The percentage of refusals that say when to come back.
fn told_when(tally: &Tally) -> f64 {
    100.0 * (1.0 - count(tally.without_retry_after) / count(tally.refused.len()))
}

/// Cost and queue are those by default. The limits would refuse a client that logs in without a pause.
const SETTINGS: &[Setting<'_>] = &[("LOG__LEVEL", "warn"), ("LIMITS__ENABLED", "false")];

const CLIENTS: usize = 64;

/// "About a second", in seconds.
const LONGEST_WAIT: f64 = 1.5;
