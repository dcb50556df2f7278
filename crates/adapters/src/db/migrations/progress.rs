//! What a migration that takes long does, for the log: how long it runs, and which lock it waits for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use diesel::sql_types::{Integer, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _};

use crate::db::postgres::hosts::{Wanted, establish};
use crate::db::url::PostgresUrl;

/// The outcome of some work that was watched.
pub(super) struct Watched<T> {
    pub(super) outcome: T,
    pub(super) took: Duration,
    /// The lock that it waited for when it was last seen.
    pub(super) blocked: Option<Blocked>,
}

/// A lock that a session waits for.
#[derive(Debug, Default, PartialEq, Eq, QueryableByName)]
pub(super) struct Blocked {
    /// The lock: `AccessExclusiveLock on sessions`.
    #[diesel(sql_type = Text)]
    pub(super) waits_for: String,
    /// The sessions that hold it or wait before it. No statement is shown, since it may contain personal data.
    #[diesel(sql_type = Text)]
    pub(super) blocked_by: String,
}

/// Does some work for the migration `name`, and logs every now and then that it still runs. The server process that
/// works, if there is one, is observed over a connection to `url`.
pub(super) fn watch<T>(
    name: &str,
    server: Option<(&PostgresUrl, i32)>,
    work: impl FnOnce() -> T,
) -> Watched<T> {
    let begun = Instant::now();
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut observer = server.map(|(url, process)| Observer { url, process, connection: None });
            let mut blocked = None;
            let mut next_line = FIRST_LINE;
            // Ends when the sender is dropped.
            while is_done.recv_timeout(OBSERVE_EVERY) == Err(RecvTimeoutError::Timeout) {
                blocked = observer.as_mut().and_then(Observer::look);
                if begun.elapsed() >= next_line {
                    next_line += next_line.min(LONGEST_SILENCE);
                    log_line(name, begun.elapsed(), blocked.as_ref());
                }
            }
            blocked
        });
        let outcome = work();
        let took = begun.elapsed();
        drop(done);
        Watched { outcome, took, blocked: watcher.join().unwrap_or_default() }
    })
}

fn log_line(migration: &str, running: Duration, blocked: Option<&Blocked>) {
    let seconds = running.as_secs();
    match blocked {
        Some(Blocked { waits_for, blocked_by }) => {
            log::info!(migration, seconds, waits_for, blocked_by; "a migration waits for a lock");
        }
        None => log::info!(migration, seconds; "a migration is running"),
    }
}

/// Observes a server process over a separate connection. If it cannot observe something, only the log lacks it.
struct Observer<'a> {
    url: &'a PostgresUrl,
    process: i32,
    connection: Option<PgConnection>,
}

impl Observer<'_> {
    fn look(&mut self) -> Option<Blocked> {
        if self.connection.is_none() {
            self.connection = establish(self.url, Wanted::Primary).ok();
        }
        let query = diesel::sql_query(BLOCKED).bind::<Integer, _>(self.process);
        let seen = query.load(self.connection.as_mut()?);
        if seen.is_err() {
            self.connection = None;
        }
        seen.ok()?.pop()
    }
}

const BLOCKED: &str = "
    SELECT awaited.mode || ' on ' || coalesce(awaited.relation::regclass::text, awaited.locktype) AS waits_for,
           coalesce(string_agg(DISTINCT format('process %s (%s)', holder.pid, concat_ws(', ',
               holder.usename, coalesce(holder.state, 'state hidden'),
               'transaction of ' || extract(epoch FROM now() - holder.xact_start)::bigint || ' s'
           )), '; '), '') AS blocked_by
      FROM pg_locks AS awaited
      LEFT JOIN pg_stat_activity AS holder ON holder.pid = ANY (pg_blocking_pids(awaited.pid))
     WHERE awaited.pid = $1 AND NOT awaited.granted
     GROUP BY awaited.mode, awaited.relation, awaited.locktype
";

/// How often a process is observed: more often than a migration gives up waiting for a lock.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);

/// When a running migration is first logged; the pauses between lines double from then on.
const FIRST_LINE: Duration = Duration::from_secs(2);

/// The longest pause between two lines.
const LONGEST_SILENCE: Duration = Duration::from_mins(1);
