//! A PostgreSQL server of this run, and pgbench beside ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::server::{find, in_own_session};

/// A database, with syncing on, which the server and pgbench both reach over TCP.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: ThrowawayPostgres,
    pub url: String,
}

impl Postgres {
    /// Starts a PostgreSQL server and makes an empty database.
    ///
    /// # Errors
    /// When this machine has none.
    pub(crate) fn start() -> Result<Self> {
        let server = ThrowawayPostgres::start_durable().map_err(|error| anyhow!(error))?;
        let url = server.create_database();
        Ok(Self { server, url })
    }

    /// Runs SQL.
    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        self.server.try_execute(&self.url, sql).map_err(|error| anyhow!("{error}")).map(drop)
    }

    /// Writes out what earlier measurements left to write, so that none pays for another: the first change of a page
    /// after a checkpoint costs more than the next.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.execute("CHECKPOINT")
    }

    /// How often a second pgbench runs a script, with so many clients over TCP and prepared statements. It has one
    /// thread, as the load on the server has.
    pub(crate) fn pgbench(
        &self,
        folder: &Path,
        script: &str,
        clients: usize,
        length: Duration,
    ) -> Result<f64> {
        let file = folder.join("pgbench.sql");
        std::fs::write(&file, script)?;
        let mut command = in_own_session(&self.program("pgbench")?);
        command.args(["--no-vacuum", "--protocol=prepared", "--define=known=0"]);
        command.arg(format!("--client={clients}")).arg(format!("--time={}", length.as_secs().max(1)));
        command.arg("--file").arg(file).arg(&self.url);
        let output = command.stdin(Stdio::null()).output().context("cannot run pgbench")?;
        let (out, error) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "pgbench failed ({}): {error}", output.status);
        rate(&out)
    }

    /// A program of PostgreSQL: beside the server's, or on the `PATH`.
    fn program(&self, name: &str) -> Result<PathBuf> {
        let beside = Some(self.server.programs().join(name)).filter(|file| file.is_file());
        beside.or_else(|| find(name)).with_context(|| format!("there is no {name} on this machine"))
    }
}

/// The transactions a second of pgbench's output.
fn rate(output: &str) -> Result<f64> {
    let value =
        |name: &str| output.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let failed = value("number of failed transactions:").unwrap_or("0");
    ensure!(failed == "0", "{failed} of pgbench's transactions failed");
    Ok(value("tps =").context("pgbench says no rate")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_pgbench_prints() {
        let output = "number of failed transactions: 0 (0.000%)\n\
                      tps = 9700.5 (without initial connection time)\n";
        assert_eq!(rate(output).unwrap().to_string(), "9700.5");
        assert!(rate(&output.replace(": 0 (", ": 3 (")).is_err());
        assert!(rate("").is_err());
    }
}
