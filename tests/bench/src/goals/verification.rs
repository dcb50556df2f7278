//! P1a, P1c and P2: `/protected` beside a bare hello.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::Measurement;
use crate::Bench;
use crate::baseline::Hello;
use crate::load::{Client, Window, closed_loop, get_as};
use crate::report::{Goal, Row, Unit};
use crate::server::{Server, Setting};

pub(crate) const MEASUREMENT: Measurement = Measurement {
    ids: &["P1a", "P1c", "P2"],
    what: "access tokens",
    estimate: |length| length * 5 + Duration::from_secs(9),
    run,
};

fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rates: [Vec<f64>; 5] = Default::default();
    for round in bench.progress.rounds() {
        for side in round.order(&[0, 1, 2, 3, 4]) {
            rates[side].push(match side {
                0 => hello(bench)?,
                side => protected(bench, SETTINGS[side - 1])?,
            });
        }
    }
    let [hello, hot, hot_logged, cold, cold_eddsa] = rates;
    let row = |id, what, rates| {
        Row::new(id, format!("`/protected`, {what}"), Unit::PerSecond, rates)
            .against("bare actix hello", &hello)
    };
    Ok(vec![
        row("P1a", "tokens seen before (`log.level=warn`)", hot).goal(Goal::AtLeast(0.85)),
        row("P1c", "the same with default settings: the log, at `info`, in a file", hot_logged)
            .goal(Goal::AtLeast(0.80)),
        row("P2", "ES256 tokens seen for the first time (`tokens.cache=0`: each time)", cold)
            .goal(Goal::AtLeast(0.18)),
        row("P2", "EdDSA tokens (`tokens.algorithm=EdDSA`), likewise", cold_eddsa).goal(Goal::AtLeast(0.22)),
    ])
}

fn hello(bench: &Bench) -> Result<f64> {
    let hello = Hello::start()?;
    load(bench, hello.address, &[Hello::request(hello.address)])
}

fn protected(bench: &Bench, settings: &[Setting<'_>]) -> Result<f64> {
    let folder = bench.folder()?;
    let server = Server::start(&bench.server, folder.path(), settings)?;
    server.register(USERS)?;
    let mut requests = Vec::new();
    for mut session in server.log_in_all(USERS)? {
        requests.push(get_as(server.address, "/protected", &session.access_token));
        for _ in 1..TOKENS_PER_SESSION {
            session = server.refresh(&session)?;
            requests.push(get_as(server.address, "/protected", &session.access_token));
        }
    }
    load(bench, server.address, &requests)
}

/// The rate at which these requests are answered, one after the other on each connection.
fn load(bench: &Bench, server: SocketAddr, requests: &[Vec<u8>]) -> Result<f64> {
    let clients = requests.iter().cycle().take(CONNECTIONS).cloned().map(Client::repeating).collect();
    let window = Window { warm_up: WARM_UP, length: bench.length };
    Ok(closed_loop(server, clients, window)?.rate())
}

/// The servers: hot without the access log, hot with the defaults, cold, cold with `EdDSA`. Other settings have their
/// defaults. Standard error is a file.
const SETTINGS: [&[Setting<'_>]; 4] = [
    &[("LOG__LEVEL", "warn")],
    &[],
    &[("LOG__LEVEL", "warn"), ("TOKENS__CACHE", "0")],
    &[("LOG__LEVEL", "warn"), ("TOKENS__CACHE", "0"), ("TOKENS__ALGORITHM", "EdDSA")],
];

const CONNECTIONS: usize = 64;

/// Each connection has a token of its own. So few logins, and so many refreshes of each, are within the limits.
const USERS: usize = 4;

const TOKENS_PER_SESSION: usize = 16;

const WARM_UP: Duration = Duration::from_millis(500);
