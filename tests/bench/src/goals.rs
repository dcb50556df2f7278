//! The measurements.

mod logins;
mod overload;
mod postgres;
mod sqlite;
mod start;
mod storm;
mod verification;

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::load::Client;
use crate::report::Row;
use crate::server::Server;

/// One measurement, of one goal or of several that are measured together.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub ids: &'static [&'static str],
    pub what: &'static str,
    /// About how long a repetition takes where one side takes so long.
    pub estimate: fn(Duration) -> Duration,
    pub run: fn(&Bench) -> Result<Vec<Row>>,
}

/// All of them, in the order of the table.
pub(crate) const MEASUREMENTS: &[Measurement] = &[
    verification::MEASUREMENT,
    logins::STORM,
    logins::SATURATED,
    postgres::MEASUREMENT,
    sqlite::MEASUREMENT,
    start::START,
    overload::MEASUREMENT,
    start::SIZE,
    storm::MEASUREMENT,
];

/// The names of all goals.
pub(crate) fn ids() -> Vec<&'static str> {
    MEASUREMENTS.iter().flat_map(|measurement| measurement.ids).copied().collect()
}

/// So many clients, each with a session of its own that it refreshes.
fn clients_refreshing(server: &Server, clients: usize) -> Result<Vec<Client>> {
    let sessions = server.log_in_all(clients)?;
    Ok(sessions.iter().map(|session| Client::refreshing(server.address, &session.refresh_token)).collect())
}
