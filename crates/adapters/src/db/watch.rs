//! The connection over which an instance polls session changes. It is outside the pool, so that no number of callers
//! delays it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portcullis_domain::ports::StoreError;

use super::access::Access;
use super::connection::AnyConnection;
use super::deployment::Shared;
use super::error::{store_error, unavailable};
use super::postgres::pooler;
use super::{Database, DatabaseUrl, PrepareError, deployment};

impl Database {
    /// Runs queries over a connection outside the pool, which no other work delays, after reading what all instances share.
    /// Also passes the number of the connection.
    pub(super) fn watch<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection, &Shared, u32) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.may_be_used()?;
        let polled = self.watch.poll(
            &self.url,
            |(process, _)| *process,
            |connection, number| {
                let shared = deployment::read_shared(connection).map_err(store_error)?;
                self.compare_shared(&shared);
                self.follow_timeline(&shared);
                self.may_be_used()?;
                Ok((shared.process, work(connection, &shared, number)?))
            },
        )?;
        match polled {
            Ok((_process, seen)) => Ok(seen),
            Err(BehindPooler) => {
                *self.access_mut() = Access::Pooled;
                Err(unavailable(PrepareError::Pooler))
            }
        }
    }

    /// Replaces the connections of the pool after another server became the primary: theirs may still run, and accept
    /// changes that no other instance will see.
    fn follow_timeline(&self, shared: &Shared) {
        let Some(cursor) = shared.cursor else { return };
        let before = self.watch.timeline.swap(cursor.epoch(), Ordering::Relaxed);
        if before != 0 && before != cursor.epoch() {
            self.freshness.replace_opened_before(Instant::now());
        }
    }
}

/// One connection, made when it is needed and given up at the first error.
#[derive(Default)]
pub(super) struct Watch {
    kept: Mutex<Kept>,
    /// The server process that serves the connection, as long as no pooler moves it to another. It has a lock of its own, so
    /// that reading it never waits for queries over the connection.
    process: Mutex<Option<i32>>,
    /// The timeline of the last poll; zero before the first, and for SQLite.
    timeline: AtomicU64,
}

#[derive(Default)]
struct Kept {
    connection: Option<AnyConnection>,
    /// How many connections were made so far.
    made: u32,
}

/// A pooler in front of the database shares server processes among clients.
pub(super) struct BehindPooler;

/// The result of the queries, or [`BehindPooler`].
pub(super) type Polled<T> = Result<Result<T, BehindPooler>, StoreError>;

impl Watch {
    /// Runs queries that only read, over a connection of which they get the number. `process` returns the server process from
    /// their result. Looks for a pooler with each
    /// new connection except the first, which follows on the preparation's own check, and if the process changed: an
    /// operator may have added one after the start.
    pub(super) fn poll<T>(
        &self,
        url: &DatabaseUrl,
        process: impl FnOnce(&T) -> i32,
        work: impl FnOnce(&mut AnyConnection, u32) -> Result<T, StoreError>,
    ) -> Polled<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match kept.connection.take() {
            Some(connection) => connection,
            None => {
                *self.known_process() = None;
                kept.made = kept.made.wrapping_add(1);
                if kept.made > 1 && pooler::stands_before(url).map_err(unavailable)? {
                    return Ok(Err(BehindPooler));
                }
                AnyConnection::connect_to_watch(url).map_err(unavailable)?
            }
        };
        let seen = work(&mut connection, kept.made)?;
        let process = process(&seen);
        let is_moved = self.known_process().replace(process).is_some_and(|before| before != process);
        if is_moved && !url.shares_processes() {
            return Ok(Err(BehindPooler));
        }
        kept.connection = Some(connection);
        Ok(Ok(seen))
    }

    /// The server process of the last queries; `None` while there is no connection, and for SQLite.
    pub(super) fn process(&self) -> Option<i32> {
        self.known_process().filter(|process| *process != 0)
    }

    fn known_process(&self) -> MutexGuard<'_, Option<i32>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}
