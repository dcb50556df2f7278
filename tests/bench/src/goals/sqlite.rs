//! P7: refreshes on SQLite that commit together, beside the same server committing each alone.

use std::time::Duration;

use anyhow::Result;

use super::{Measurement, clients_refreshing};
use crate::Bench;
use crate::load::{Window, closed_loop};
use crate::report::{Goal, Row, Unit};
use crate::server::{Server, Setting};

pub(crate) const MEASUREMENT: Measurement =
    Measurement { ids: &["P7"], what: "SQLite", estimate: |length| length * 2 + Duration::from_secs(2), run };

fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in bench.progress.rounds() {
        for side in round.order(&[0, 1]) {
            rates[side].push(refresh(bench, SIDES[side])?);
        }
    }
    let [together, alone] = rates;
    let row = Row::new("P7", "refresh on SQLite, 32 connections", Unit::PerSecond, together);
    Ok(vec![row.against("each commits alone", &alone).goal(Goal::AtLeast(4.0))])
}

fn refresh(bench: &Bench, side: &[Setting<'_>]) -> Result<f64> {
    let folder = bench.folder()?;
    let settings = [SETTINGS, side].concat();
    let server = Server::start(&bench.server, folder.path(), &settings)?;
    server.register(CONNECTIONS)?;
    let clients = clients_refreshing(&server, CONNECTIONS)?;
    let window = Window { warm_up: Duration::from_millis(500), length: bench.length };
    Ok(closed_loop(server.address, clients, window)?.rate())
}

/// As by default, and one commit a write.
const SIDES: [&[Setting<'_>]; 2] = [&[], &[("DATABASE__GROUP_COMMIT", "1")]];

const SETTINGS: &[Setting<'_>] =
    &[("LOG__LEVEL", "warn"), ("LIMITS__ENABLED", "false"), ("HASHING__BCRYPT_COST", "4")];

const CONNECTIONS: usize = 32;
