//! Connects to the right one of a URL's hosts.
//!
//! libpq would begin with the first host each time, so a host that swallows packets would cost every connection its
//! timeout. And it would take a standby for the database. So each host is connected on its own here, beginning with the
//! one that answered last, and is asked what it is.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use diesel::connection::CacheSize;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _};

use crate::db::failure::DatabaseFailure;
use crate::db::url::{Host, Pooler, PostgresUrl};

/// The hosts of a URL, and what this process learned about them.
pub(in crate::db) struct Hosts {
    all: Vec<Host>,
    /// Where the next connection begins: at the host that answered last.
    first: AtomicUsize,
    /// The newest timeline of a primary among them; zero until all hosts were asked once.
    timeline: AtomicU32,
}

/// The servers that a connection may lead to if the URL names several hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) enum Wanted {
    /// Only a primary.
    Primary,
    /// A primary, or a standby if no host is one.
    AnyServer,
}

/// What a server is.
#[derive(Debug, QueryableByName)]
pub(in crate::db) struct ServerState {
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    /// Whether transactions only read by default.
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
    /// A primary's timeline in hexadecimal digits: each promotion begins a new one.
    #[diesel(sql_type = Nullable<Text>)]
    timeline: Option<String>,
}

/// The columns of a [`ServerState`].
pub(in crate::db) const SERVER_STATE: &str = "
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline
";

/// How well a server fits, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// It was replaced by a standby that was promoted.
    Replaced,
    Standby,
    ReadOnlyPrimary,
    Primary,
}

/// Connects to PostgreSQL without setting anything.
pub(in crate::db) fn establish(url: &PostgresUrl, wanted: Wanted) -> Result<PgConnection, DatabaseFailure> {
    if url.hosts().all.len() == 1 {
        return establish_one(url.as_str(), url.pooler());
    }
    url.hosts().find(wanted, |host| {
        let mut connection = establish_one(host, url.pooler())?;
        let state = diesel::sql_query(format!("SELECT {SERVER_STATE}")).get_result(&mut connection)?;
        Ok((connection, state))
    })
}

/// Connects to the only host of a URL.
pub(in crate::db) fn establish_one(url: &str, pooler: Pooler) -> Result<PgConnection, DatabaseFailure> {
    let mut connection = PgConnection::establish(url)?;
    if pooler == Pooler::Transaction {
        // A prepared statement stays in the server process, where other clients meet its name.
        connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    Ok(connection)
}

impl Hosts {
    pub(in crate::db) fn new(hosts: Vec<Host>) -> Self {
        Self { all: hosts, first: AtomicUsize::new(0), timeline: AtomicU32::new(0) }
    }

    /// Returns what `open` makes of the URL of the right host. Asks all hosts the first time: an old primary that came back
    /// is recognised by its timeline. Later connections end at the first host that fits.
    ///
    /// # Errors
    /// Fails if no host is usable. The error lists the reason for each host.
    pub(in crate::db) fn find<T>(
        &self,
        wanted: Wanted,
        open: impl Fn(&str) -> Result<(T, ServerState), DatabaseFailure>,
    ) -> Result<T, DatabaseFailure> {
        if let [only] = self.all.as_slice() {
            return open(&only.url).map(|(opened, _)| opened);
        }
        let (count, first) = (self.all.len(), self.first.load(Ordering::Relaxed));
        let mut newest = self.timeline.load(Ordering::Relaxed);
        let asks_all = newest == 0;
        let mut best: Option<Candidate<T>> = None;
        let (mut reasons, mut primaries) = (Vec::new(), Vec::new());
        for index in (0..count).map(|step| (first + step) % count) {
            let host = &self.all[index];
            let (opened, state) = match open(&host.url) {
                Ok(opened) => opened,
                Err(failure) => {
                    reasons.push(failure.to_string());
                    continue;
                }
            };
            let timeline = state.timeline();
            newest = newest.max(timeline);
            let fitness = state.fitness(timeline, newest);
            reasons.push(format!("{} {fitness}", host.name));
            primaries.extend((!state.is_standby).then_some((&host.name, timeline)));
            if fitness == Fitness::Replaced {
                continue;
            }
            let candidate = Candidate { fitness, timeline, index, opened };
            if best.as_ref().is_none_or(|best| best.order() < candidate.order()) {
                best = Some(candidate);
            }
            if fitness == Fitness::Primary && !asks_all {
                break;
            }
        }
        // Only now: connections that are made meanwhile ask all hosts themselves.
        self.timeline.fetch_max(newest, Ordering::Relaxed);
        if asks_all {
            report_replaced(&primaries, newest);
        }
        let Some(best) = best else { return Err(DatabaseFailure::new(reasons.join("; "))) };
        // A primary that only reads is better than none: its administrator may have switched all changes off.
        let least = match wanted {
            Wanted::Primary => Fitness::ReadOnlyPrimary,
            Wanted::AnyServer => Fitness::Standby,
        };
        if best.fitness < least {
            return Err(DatabaseFailure::new(format!("no host is the primary: {}", reasons.join("; "))));
        }
        // A command that reads a standby says nothing about where changes go.
        if best.fitness > Fitness::Standby {
            self.begin_at(best.index, !asks_all);
        }
        Ok(best.opened)
    }

    /// Begins later connections at a host. `is_logged` is false for the first connection of a process, which moves nothing.
    fn begin_at(&self, index: usize, is_logged: bool) {
        let before = self.first.swap(index, Ordering::Relaxed);
        if is_logged && before != index {
            let (from, to) = (&self.all[before].name, &self.all[index].name);
            log::warn!(from:% = from, to:% = to; "another host of the database answers");
        }
    }
}

/// Logs the hosts that accept changes although a standby was promoted in their place.
fn report_replaced(primaries: &[(&String, u32)], newest: u32) {
    for (host, timeline) in primaries.iter().filter(|(_, timeline)| *timeline < newest) {
        log::error!(host:% = host, timeline, newest; "an old primary still runs: stop it, or rebuild it as a standby");
    }
}

/// A server that answered.
struct Candidate<T> {
    fitness: Fitness,
    timeline: u32,
    index: usize,
    opened: T,
}

impl<T> Candidate<T> {
    /// Among primaries, the newest timeline decides before the settings.
    fn order(&self) -> (bool, u32, Fitness) {
        (self.fitness >= Fitness::ReadOnlyPrimary, self.timeline, self.fitness)
    }
}

impl ServerState {
    /// The number of a primary's timeline; zero for a standby.
    fn timeline(&self) -> u32 {
        self.timeline.as_deref().and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }

    fn fitness(&self, timeline: u32, newest: u32) -> Fitness {
        match self {
            Self { is_standby: true, .. } => Fitness::Standby,
            _ if timeline < newest => Fitness::Replaced,
            Self { is_read_only: true, .. } => Fitness::ReadOnlyPrimary,
            _ => Fitness::Primary,
        }
    }
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "is an old primary, on an earlier timeline than another host",
            Self::Standby => "is a standby",
            Self::ReadOnlyPrimary => "has default_transaction_read_only = on",
            Self::Primary => "is the primary",
        })
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|host| &host.name)).finish()
    }
}
