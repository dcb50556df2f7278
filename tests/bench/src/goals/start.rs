//! P9 and P13: how long a start takes, and how large the binary is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Measurement;
use crate::Bench;
use crate::postgres::Postgres;
use crate::report::{Goal, Row, Unit};
use crate::server::{Server, Setting};
use crate::statistics::milliseconds;

pub(crate) const START: Measurement =
    Measurement { ids: &["P9"], what: "start", estimate: |_length| Duration::from_secs(2), run: starts };

pub(crate) const SIZE: Measurement =
    Measurement { ids: &["P13"], what: "size", estimate: |_length| Duration::ZERO, run: size };

fn starts(bench: &Bench) -> Result<Vec<Row>> {
    let on_sqlite = times(bench, &[])?;
    let mut rows = vec![row("SQLite", on_sqlite)];
    let on_postgres =
        Postgres::start().and_then(|postgres| times(bench, &[("DATABASE__URL", postgres.url.as_str())]));
    rows.push(match on_postgres {
        Ok(times) => row("PostgreSQL", times),
        Err(why) => Row::unmeasured("P9", &why),
    });
    Ok(rows)
}

fn row(database: &str, times: Vec<f64>) -> Row {
    let what = format!("start to the first answer of `/health`, {database} that is migrated");
    Row::new("P9", what, Unit::Milliseconds, times).goal(Goal::AtMost(80.0))
}

fn times(bench: &Bench, settings: &[Setting<'_>]) -> Result<Vec<f64>> {
    let folder = bench.folder()?;
    let start = |folder: &Path| Server::start(&bench.server, folder, settings);
    // The first start migrates.
    start(folder.path())?;
    bench.progress.rounds().map(|_round| Ok(milliseconds(start(folder.path())?.started_in))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no binary is that large")]
fn size(bench: &Bench) -> Result<Vec<Row>> {
    let bytes = bench.server.metadata().context("cannot look at the server's binary")?.len();
    let row = Row::new("P13", "release binary", Unit::Megabytes, vec![bytes as f64 / 1e6]);
    Ok(vec![row.goal(Goal::AtMost(15.0))])
}
