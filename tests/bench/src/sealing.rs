//! Whether sealing slows anybody down: logins in a storm and a flood of failed ones, with the sealer and without, by turns.
//!
//! Each side has a database of its own, so that neither seals what the other left, and both grow alike, and a server that
//! runs to the end: one that was started anew each time would wait for the turn of the one before. The hashes are of the
//! lowest cost: the database is then what everybody waits for.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use portcullis_adapters::db::DatabaseUrl;

use crate::growth::{Binary, Kind, Site, Sites, connect, count, say};
use crate::load::{Client, Window, closed_loop};
use crate::progress::Round;
use crate::server::Server;
use crate::statistics::{median, spread};

/// What `portcullis-bench sealing` is told.
#[derive(Args, Debug)]
pub(crate) struct Sealing {
    /// How many rounds; each has both sides
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=1_000))]
    rounds: u32,
    /// How many seconds of load a side has in each round
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// The kinds of database
    #[arg(long, value_delimiter = ',', default_values_t = [Kind::Sqlite, Kind::Postgres])]
    databases: Vec<Kind>,
    /// A PostgreSQL server in whose place none is started: the URL of a database whose user may create others
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The server's binary [default: `portcullis` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

/// The loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Right passwords.
    Storm,
    /// Names that nobody has.
    Flood,
}

impl Load {
    const fn name(self) -> &'static str {
        match self {
            Self::Storm => "logins",
            Self::Flood => "failed logins",
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// Also where the sealer did not keep up: that would have been no measurement.
pub(crate) fn run(sealing: &Sealing) -> Result<()> {
    let binary = Binary::find(sealing.server.as_deref())?;
    let mut rows = Vec::new();
    for kind in &sealing.databases {
        let sites = Sites::open(*kind, sealing.postgres.as_deref())?;
        for load in [Load::Storm, Load::Flood] {
            say(&format!("{kind}: {}, {} rounds", load.name(), sealing.rounds));
            rows.push(format!("| {kind}: {} | {} |", load.name(), compare(sealing, &binary, &sites, load)?));
        }
    }
    writeln!(
        io::stdout(),
        "| | a second, sealed | not sealed | ratio | from .. to | sealed meanwhile |\n|---|---|---|---|---|---|\n{}\n\n{} \
         rounds of {} s a side, {CLIENTS} clients; the ratio is the median of those of the rounds.",
        rows.join("\n"),
        sealing.rounds,
        sealing.seconds,
    )
    .context("cannot print the table")
}

/// One row of the table.
fn compare(sealing: &Sealing, binary: &Binary, sites: &Sites, load: Load) -> Result<String> {
    let both = [Side::make(binary, sites, true)?, Side::make(binary, sites, false)?];
    let window = Window { warm_up: WARM_UP, length: Duration::from_secs(sealing.seconds) };
    let mut rates = [Vec::new(), Vec::new()];
    for number in 0..sealing.rounds {
        for side in (Round { number }).order(&[0, 1]) {
            rates[side].push(both[side].rate(load, window, number)?);
        }
    }
    let [(events, sealed), (_, of_the_other)] = [both[0].counts()?, both[1].counts()?];
    let kept_up = 2 * sealed > events;
    ensure!(kept_up && of_the_other == 0, "{sealed} of {events} and {of_the_other} events were sealed");
    let [with, without] = &rates;
    let ratios: Vec<_> = with.iter().zip(without).map(|(with, without)| with / without).collect();
    let middle = |values: &[f64]| median(values).context("nothing was measured");
    let (least, most) = spread(&ratios).context("nothing was measured")?;
    Ok(format!(
        "{:.0} | {:.0} | {:.3} | {least:.3} .. {most:.3} | {sealed} of {events}",
        middle(with)?,
        middle(without)?,
        middle(&ratios)?,
    ))
}

/// A server that seals its events, or does not, and its database.
struct Side {
    server: Server,
    site: Site,
}

impl Side {
    fn make(binary: &Binary, sites: &Sites, is_sealed: bool) -> Result<Self> {
        let site = sites.create(binary)?;
        let setting = ("AUDIT__SEAL", if is_sealed { "true" } else { "false" });
        let server = binary.start_with(&site, &[setting])?;
        server.register(CLIENTS)?;
        Ok(Self { server, site })
    }

    /// How many logins are answered in a second.
    fn rate(&self, load: Load, window: Window, round: u32) -> Result<f64> {
        let address = self.server.address;
        let clients = match load {
            Load::Storm => self.server.clients_logging_in(0..CLIENTS),
            // No name comes twice.
            Load::Flood => (0..CLIENTS)
                .map(|guesser| Client::guessing(address, round as usize * CLIENTS + guesser))
                .collect(),
        };
        Ok(closed_loop(address, clients, window)?.rate())
    }

    /// How many events there are, and how many of them are sealed.
    fn counts(&self) -> Result<(i64, i64)> {
        let mut direct = connect(&DatabaseUrl::parse(self.site.url())?)?;
        Ok((count(&mut direct, "security_events")?, count(&mut direct, "audit_chain")?))
    }
}

const WARM_UP: Duration = Duration::from_secs(1);

/// So many that the database has several requests at any time, and all have a place in the queue before the hashes.
const CLIENTS: usize = 32;
