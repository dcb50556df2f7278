//! P6 and P10: what the server makes of PostgreSQL, beside pgbench with the same statement.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Measurement, clients_refreshing};
use crate::Bench;
use crate::load::{Client, Window, closed_loop, get_as};
use crate::postgres::Postgres;
use crate::report::{Goal, Row, Unit};
use crate::server::Server;

pub(crate) const MEASUREMENT: Measurement = Measurement {
    ids: &["P6", "P10"],
    what: "PostgreSQL",
    estimate: |length| length * 4 + Duration::from_secs(4),
    run,
};

#[derive(Clone, Copy, Debug)]
enum Side {
    Refresh,
    RotateOutcome,
    Me,
    Select,
}

fn run(bench: &Bench) -> Result<Vec<Row>> {
    let postgres = Postgres::start()?;
    let folder = bench.folder()?;
    start(bench, &postgres, folder.path())?.register(CONNECTIONS)?;
    postgres.execute(SESSIONS_OF_PGBENCH)?;
    let mut rates: [Vec<f64>; 4] = Default::default();
    for round in bench.progress.rounds() {
        for side in round.order(&[Side::Refresh, Side::RotateOutcome, Side::Me, Side::Select]) {
            postgres.checkpoint()?;
            let pgbench = |script: &str| postgres.pgbench(folder.path(), script, CONNECTIONS, bench.length);
            rates[side as usize].push(match side {
                Side::Refresh => refresh(bench, &start(bench, &postgres, folder.path())?)?,
                Side::Me => me(bench, &start(bench, &postgres, folder.path())?)?,
                Side::RotateOutcome => pgbench(&script(A_SESSION, ROTATION))?,
                Side::Select => pgbench(&script(A_USER, SELECT))?,
            });
        }
    }
    let [refresh, rotation, me, select] = rates;
    Ok(vec![
        Row::new("P6", "refresh on PostgreSQL, 32 connections", Unit::PerSecond, refresh)
            .against("pgbench, the same statement", &rotation)
            .goal(Goal::AtLeast(0.45)),
        Row::new("P10", "`/me` on PostgreSQL, 32 connections", Unit::PerSecond, me)
            .against("pgbench, select by key", &select)
            .goal(Goal::AtLeast(0.5)),
    ])
}

fn start(bench: &Bench, postgres: &Postgres, folder: &Path) -> Result<Server> {
    let settings = [
        ("DATABASE__URL", postgres.url.as_str()),
        ("LOG__LEVEL", "warn"),
        ("LIMITS__ENABLED", "false"),
        ("HASHING__BCRYPT_COST", "4"),
    ];
    Server::start(&bench.server, folder, &settings)
}

fn refresh(bench: &Bench, server: &Server) -> Result<f64> {
    let clients = clients_refreshing(server, CONNECTIONS)?;
    let window = Window { warm_up: WARM_UP, length: bench.length };
    Ok(closed_loop(server.address, clients, window)?.rate())
}

fn me(bench: &Bench, server: &Server) -> Result<f64> {
    let sessions = server.log_in_all(CONNECTIONS)?;
    let clients = sessions
        .iter()
        .map(|session| Client::repeating(get_as(server.address, "/me", &session.access_token)))
        .collect();
    let window = Window { warm_up: WARM_UP, length: bench.length };
    Ok(closed_loop(server.address, clients, window)?.rate())
}

/// A script in which each client looks up once what it works on, and then runs one statement again and again.
fn script(look_up: &str, statement: &str) -> String {
    format!("\\if :known\n\\else\n{look_up} \\gset\n\\set known 1\n\\endif\n{statement}\n")
}

const CONNECTIONS: usize = 32;

const WARM_UP: Duration = Duration::from_millis(500);

/// As many sessions as pgbench has clients, of nobody.
const SESSIONS_OF_PGBENCH: &str = "\
INSERT INTO sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at, address, agent)
SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000000', 0, now(), now(), now() + interval '30 days',
       now() + interval '90 days', '127.0.0.1', NULL
FROM generate_series(1, 32)";

const A_SESSION: &str = "\
SELECT id AS session, generation FROM sessions WHERE user_id = '00000000-0000-0000-0000-000000000000'
ORDER BY id OFFSET :client_id LIMIT 1";

/// The statement by which the server rotates a session (`succeed` in `adapters/src/db/stores/session.rs`).
const ROTATION: &str = "\
UPDATE sessions SET
    generation = :generation + 1,
    rotated_at = CASE WHEN generation = :generation THEN now() ELSE rotated_at END,
    expires_at = CASE WHEN generation = :generation
        THEN CASE WHEN absolute_expires_at > now() + interval '30 days'
            THEN now() + interval '30 days' ELSE absolute_expires_at END
        ELSE expires_at END
WHERE id = :session AND ended_at IS NULL AND expires_at > now()
    AND opened_at >= (SELECT session_floor FROM deployment LIMIT 1)
    AND (generation = :generation OR generation = :generation + 1
        AND rotated_at BETWEEN now() - interval '30 seconds' AND now() + interval '5 seconds')
RETURNING user_id, generation, opened_at, expires_at \\gset";

const A_USER: &str = "SELECT id AS the_user FROM users ORDER BY id OFFSET :client_id LIMIT 1";

/// The statement by which the server finds a user by key.
const SELECT: &str = "\
SELECT id, username, canonical_name, password_hash, credential_version, disabled_at, created_at
FROM users WHERE id = :the_user LIMIT 1;";
