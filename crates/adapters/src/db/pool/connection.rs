//! The connections of the pool: made, kept and replaced.

use std::error::Error as StdError;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::RunQueryDsl as _;
use diesel::r2d2::ManageConnection;
use portcullis_domain::ports::{StoreError, StoreErrorKind};

use crate::db::DatabaseUrl;
use crate::db::connection::AnyConnection;
use crate::db::error::{is_connection_loss, is_read_only};
use crate::db::failure::DatabaseFailure;

/// A connection in the pool.
pub(in crate::db) struct Pooled {
    connection: AnyConnection,
    opened: Instant,
    /// When it last worked.
    last_used: Instant,
    condition: Condition,
}

enum Condition {
    Sound,
    /// It does not go back to the pool.
    Suspect,
    /// It broke, and whatever cut it off may have cut off the others too.
    Lost,
}

impl Pooled {
    /// Wraps a connection that was opened at or after `opened`.
    fn new(connection: AnyConnection, opened: Instant) -> Self {
        Self { connection, opened, last_used: Instant::now(), condition: Condition::Sound }
    }

    /// Keeps it from the pool after an error that says something about the connection.
    pub(in crate::db) fn distrust(&mut self, error: &StoreError) {
        match error.kind() {
            StoreErrorKind::Unavailable | StoreErrorKind::Internal => self.discard(error),
            StoreErrorKind::Full | StoreErrorKind::Corrupt => {}
        }
    }

    /// Keeps the connection out of the pool, because the error left it in an unknown state.
    pub(in crate::db) fn discard(&mut self, error: &StoreError) {
        self.condition = if is_connection_loss(error) { Condition::Lost } else { Condition::Suspect };
    }

    /// Keeps the connection out of the pool after the error of a transaction, if another connection might succeed.
    pub(in crate::db) fn discard_if_stale(&mut self, error: &(dyn StdError + 'static)) {
        if is_connection_loss(error) {
            self.condition = Condition::Lost;
        } else if is_read_only(error) {
            self.condition = Condition::Suspect;
        }
    }
}

impl Deref for Pooled {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

/// The time since which a connection of the pool must have been opened to be used.
#[derive(Clone, Debug, Default)]
pub(in crate::db) struct Freshness(Arc<Mutex<Option<Instant>>>);

impl Freshness {
    /// Replaces every connection that was opened before `time`, at its next checkout or return.
    pub(in crate::db) fn replace_opened_before(&self, time: Instant) {
        let mut since = self.since();
        *since = Some(since.map_or(time, |since| since.max(time)));
    }

    fn is_fresh(&self, opened: Instant) -> bool {
        self.since().is_none_or(|since| opened >= since)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the pool's connections.
#[derive(Debug)]
pub(in crate::db) struct ConnectionFactory {
    url: DatabaseUrl,
    freshness: Freshness,
    /// Whether the connections only read.
    only_reads: bool,
    /// When a connection was last found broken. The pool asks one idle connection after the other, and a network that
    /// swallows packets lets each wait out its timeout: so only the first is asked, and what has not worked since is
    /// replaced.
    lost_at: Mutex<Option<Instant>>,
}

impl ConnectionFactory {
    pub(in crate::db) fn new(url: DatabaseUrl, freshness: Freshness, only_reads: bool) -> Self {
        Self { url, freshness, only_reads, lost_at: Mutex::default() }
    }

    fn note_loss(&self) {
        *self.lost_at() = Some(Instant::now());
    }

    fn lost_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ManageConnection for ConnectionFactory {
    type Connection = Pooled;
    type Error = DatabaseFailure;

    fn connect(&self) -> Result<Pooled, DatabaseFailure> {
        let opened = Instant::now();
        let connection = match self.only_reads {
            true => AnyConnection::connect_read_only(&self.url),
            false => AnyConnection::connect(&self.url),
        };
        connection.map(|connection| Pooled::new(connection, opened))
    }

    /// A connection that was idle for a while is asked first: its server may have restarted. Under load nothing is.
    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), DatabaseFailure> {
        if !self.freshness.is_fresh(pooled.opened) {
            return Err(DatabaseFailure::new("the connection is from before the database accepted changes"));
        }
        if self.lost_at().is_some_and(|lost_at| pooled.last_used <= lost_at) {
            return Err(DatabaseFailure::new("the connection to the database was lost"));
        }
        if pooled.last_used.elapsed() > TRUSTED_IDLE {
            let asked = diesel::sql_query("SELECT 1").execute(&mut pooled.connection);
            asked.inspect_err(|_error| self.note_loss())?;
            pooled.last_used = Instant::now();
        }
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        match pooled.condition {
            Condition::Sound => pooled.last_used = Instant::now(),
            Condition::Suspect => {}
            Condition::Lost => self.note_loss(),
        }
        std::thread::panicking()
            || !matches!(pooled.condition, Condition::Sound)
            || !self.freshness.is_fresh(pooled.opened)
    }
}

/// After how long idle a connection is asked whether it still works.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use diesel::QueryableByName;
    use diesel::result::DatabaseErrorKind;
    use diesel::sql_types::Text;
    use portcullis_testkit::postgres::ThrowawayPostgres;

    use super::*;

    #[derive(Debug, PartialEq, QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        setting: String,
    }

    #[test]
    fn connections_from_before_are_replaced_also_when_they_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let freshness = Freshness::default();
        let factory =
            ConnectionFactory::new(DatabaseUrl::Sqlite(folder.path().join("x.db")), freshness.clone(), false);
        let [mut idle, mut busy] = [(); 2].map(|()| factory.connect().unwrap());
        factory.is_valid(&mut idle).unwrap();
        assert!(!factory.has_broken(&mut busy));
        freshness.replace_opened_before(Instant::now());
        factory.is_valid(&mut idle).unwrap_err();
        assert!(factory.has_broken(&mut busy));
        let mut new = factory.connect().unwrap();
        factory.is_valid(&mut new).unwrap();
        freshness.replace_opened_before(idle.opened);
        factory.is_valid(&mut idle).unwrap_err();
    }

    #[test]
    fn after_one_lost_connection_the_others_are_replaced_unasked() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let factory = ConnectionFactory::new(DatabaseUrl::parse(&url).unwrap(), Freshness::default(), false);
        let [mut cut, mut idle, mut busy] = [(); 3].map(|()| factory.connect().unwrap());
        factory.is_valid(&mut cut).unwrap();

        let pid = diesel::sql_query("SELECT pg_backend_pid()::text AS setting");
        let Setting { setting: pid } = pid.get_result(&mut *cut).unwrap();
        server.execute(&url, &format!("SELECT pg_terminate_backend({pid}, 10000)"));
        cut.last_used -= TRUSTED_IDLE * 2;
        factory.is_valid(&mut cut).unwrap_err();

        diesel::sql_query("SELECT 1").execute(&mut *idle).unwrap();
        factory.is_valid(&mut idle).unwrap_err();
        assert!(!factory.has_broken(&mut busy), "it worked after the loss");
        factory.is_valid(&mut busy).unwrap();
        factory.is_valid(&mut factory.connect().unwrap()).unwrap();
    }

    #[test]
    fn a_connection_that_breaks_in_use_is_a_loss_and_a_timeout_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("x.db"));
        let factory = ConnectionFactory::new(url, Freshness::default(), false);
        let [mut suspect, mut lost] = [(); 2].map(|()| factory.connect().unwrap());
        let said = |kind| {
            let message = Box::new("x".to_owned());
            crate::db::error::store_error(diesel::result::Error::DatabaseError(kind, message))
        };
        suspect.distrust(&said(DatabaseErrorKind::Unknown));
        assert!(factory.has_broken(&mut suspect) && factory.lost_at().is_none());
        lost.distrust(&said(DatabaseErrorKind::ClosedConnection));
        assert!(factory.has_broken(&mut lost) && factory.lost_at().is_some());
    }
}
