//! Copies everything from one database to another, of the same kind or the other one.

mod digest;
mod tables;

use diesel::QueryableByName;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::Text;
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::time::UnixTime;

use self::digest::Contents;
use self::tables::{
    AttemptCounter, AuditHead, ChainLink, KnownSecret, SecurityEvent as Event, Session, Shared, Side, Table,
    User,
};
use super::connection::AnyConnection;
use super::deployment::home::{Home, mark_moved, mark_unfinished};
use super::deployment::read_shared;
use super::failure::DatabaseFailure;
use super::prepare::{ExclusiveConnection, Missing};
use super::secrets::Fingerprints;
use super::sqlite::file::{file_id, is_there};
use super::{DatabaseUrl, PrepareError};
use crate::audit::{self, AuditError, AuditKeys};

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// The step.
    pub step: CopyStep,
    /// The table, or `audit log`.
    pub what: &'static str,
    /// How many rows of all tables the step has come through.
    pub rows: u64,
    /// How many there are.
    pub of: u64,
}

/// A step of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Rows are read from the one database and written to the other.
    Copying,
    /// The rows that were written are read again and compared.
    Comparing,
    /// The audit log of the target is verified.
    Verifying,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The tables, each with its number of rows.
    pub tables: Vec<(&'static str, u64)>,
    /// Whether an earlier copy into the target had been interrupted, so that its rows were deleted first.
    pub started_over: bool,
}

/// The copy is not complete, and no instance serves it. The source is as it was, except that its schema is up to date, or it
/// is marked as moved already: then another call completes the copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both are the same database.
    #[error("the source and the target are the same database")]
    Same,
    /// The source cannot be used.
    #[error("{0}")]
    Source(PrepareError),
    /// The source is a restored backup or a copy on which no instance was started yet.
    #[error("the source is a restored backup or a copy, whose sessions may have ended since")]
    SourceRestored,
    /// The target cannot be used.
    #[error("{0}")]
    Target(PrepareError),
    /// The target has rows that no interrupted copy left there.
    #[error("the target is not empty: its table {0} has rows")]
    NotEmpty(&'static str),
    /// The source fails at a table.
    #[error("cannot read the table {0} of the source: {1}")]
    Read(&'static str, DatabaseFailure),
    /// The target fails at a table.
    #[error("cannot write the table {0} of the target: {1}")]
    Write(&'static str, DatabaseFailure),
    /// The target does not return what was written.
    #[error("the table {0} differs between source and target")]
    Differs(&'static str),
    /// The audit log of the target fails verification. The log of the source fails, too.
    #[error("the audit log is not good: {0}")]
    Audit(AuditError),
}

/// Copies every row from one database to another that is empty or has been left by an interrupted copy, and creates that
/// one if it is missing. The services over both must be stopped: nothing can be written to the source meanwhile.
///
/// The rows that arrive are compared with those that were read, and the audit log is verified. Then the source is marked as
/// moved, so that no instance serves it any more, and the target becomes usable. Sessions and tokens stay valid. An
/// interrupted copy leaves the source usable, or both unusable until the copy is repeated. `keys` are those of the secrets
/// at hand, one of which must be the source's.
///
/// # Errors
/// [`CopyError`].
pub fn copy(
    from: &DatabaseUrl,
    to: &DatabaseUrl,
    keys: &AuditKeys,
    event: impl Fn(EventKind, UnixTime) -> SecurityEvent,
    mut progress: impl FnMut(CopyProgress),
) -> Result<Copied, CopyError> {
    let of_source = |error: Error| CopyError::Source(PrepareError::of(from, error.into()));
    let of_target = |error: Error| CopyError::Target(PrepareError::of(to, error.into()));
    let mut source = open_source(from, keys)?;
    if is_same(from, source.connection(), to)? {
        return Err(CopyError::Same);
    }
    let home = source.home().map_err(CopyError::Source)?;
    if home.is_elsewhere() {
        return Err(CopyError::SourceRestored);
    }
    let mut target = ExclusiveConnection::open(to, Missing::Create).map_err(CopyError::Target)?;
    target.migrate().map_err(CopyError::Target)?;
    let started_over = target.home().map_err(CopyError::Target)?.is_unfinished();
    // A source that was marked as moved may only be copied again where the copy was interrupted after the mark.
    if let Some(at) = home.moved_at().filter(|_at| !started_over) {
        return Err(CopyError::Source(PrepareError::Moved(at)));
    }

    let (source, target) = (source.connection(), target.connection());
    begin(source).and_then(|()| hold(source)).map_err(of_source)?;
    let rows = count(source)?;
    begin(target).map_err(of_target)?;
    if started_over {
        clear(target)?;
    }
    check_empty(target)?;
    let copied = copy_tables(source, target, rows, &mut progress)?;
    compare_tables(target, &copied, rows, &mut progress)?;
    mark_unfinished(target).and_then(|()| target.commit()).map_err(of_target)?;

    let verified = audit::verify(to, keys, None, |at, end| {
        let [rows, of] = [at, end].map(|seq| u64::try_from(seq).unwrap_or(0));
        progress(CopyProgress { step: CopyStep::Verifying, what: "audit log", rows, of });
    });
    verified.map_err(CopyError::Audit)?;
    source.commit().map_err(of_source)?;
    let home = Home::read(to, target).map_err(CopyError::Target)?;
    begin(target).map_err(of_target)?;
    let settled = home.settle_moved(target, &event);
    settled.map_err(|error| CopyError::Target(PrepareError::of(to, error.into())))?;
    target.commit().map_err(of_target)?;
    let tables = copied.iter().map(|(name, contents)| (*name, contents.rows())).collect();
    Ok(Copied { tables, started_over })
}

/// Opens a database that the secrets at hand may use, and brings its schema up to date.
fn open_source<'a>(from: &'a DatabaseUrl, keys: &AuditKeys) -> Result<ExclusiveConnection<'a>, CopyError> {
    let open = || {
        let mut source = ExclusiveConnection::open(from, Missing::Refuse)?;
        source.migrate()?;
        source.known_secrets()?.admit(&Fingerprints::of(keys))?;
        match source.home()?.is_unfinished() {
            true => Err(PrepareError::UnfinishedCopy),
            false => Ok(source),
        }
    };
    open().map_err(CopyError::Source)
}

/// Whether both are one database, whose lock could not be taken twice.
fn is_same(from: &DatabaseUrl, source: &mut AnyConnection, to: &DatabaseUrl) -> Result<bool, CopyError> {
    let of_target = |failure| CopyError::Target(PrepareError::of(to, failure));
    match (from, to) {
        (DatabaseUrl::Sqlite(from), DatabaseUrl::Sqlite(to)) => {
            if !is_there(to).map_err(|error| of_target(error.into()))? {
                return Ok(false);
            }
            let same_path = from.canonicalize().ok() == to.canonicalize().ok();
            Ok(same_path
                || matches!((file_id(from), file_id(to)), (Ok(Some(from)), Ok(Some(to))) if from == to))
        }
        (DatabaseUrl::Postgres(_), DatabaseUrl::Postgres(_)) => {
            let mut target = AnyConnection::connect_read_only(to).map_err(of_target)?;
            let source = server_database(source);
            let source = source.map_err(|error| CopyError::Source(PrepareError::of(from, error.into())))?;
            Ok(source == server_database(&mut target).map_err(|error| of_target(error.into()))?)
        }
        _ => Ok(false),
    }
}

/// What identifies a database among those of all PostgreSQL servers.
fn server_database(connection: &mut AnyConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        database: String,
    }
    let query = "SELECT system_identifier || ' ' || oid AS database
                   FROM pg_control_system(), pg_database WHERE datname = current_database()";
    let Row { database } = diesel::sql_query(query).get_result(connection)?;
    Ok(database)
}

/// Begins a transaction that may last as long as a copy.
fn begin(connection: &mut AnyConnection) -> QueryResult<()> {
    if let AnyConnection::Postgres(connection) = connection {
        connection.batch_execute("SET idle_in_transaction_session_timeout TO 0")?;
    }
    connection.begin()
}

/// Keeps others from writing to the source, and marks it as moved. Both end if the transaction is not committed. The mark
/// comes first, so that a source that accepts no changes fails at once.
fn hold(source: &mut AnyConnection) -> QueryResult<()> {
    if let AnyConnection::Postgres(source) = source {
        tables::lock(source)?;
    }
    let time = read_shared(source)?.time;
    mark_moved(source, time.now.max(time.high_water_mark))
}

/// Calls a function for each table.
macro_rules! for_each_table {
    ($function:ident($($argument:expr),*)) => {{
        $function::<User>($($argument),*)?;
        $function::<Session>($($argument),*)?;
        $function::<AttemptCounter>($($argument),*)?;
        $function::<Event>($($argument),*)?;
        $function::<ChainLink>($($argument),*)?;
        $function::<AuditHead>($($argument),*)?;
        $function::<KnownSecret>($($argument),*)?;
    }};
}

fn count(source: &mut AnyConnection) -> Result<u64, CopyError> {
    fn add<T: Table>(source: &mut AnyConnection, sum: &mut u64) -> Result<(), CopyError> {
        let rows = T::count(source).map_err(|error| CopyError::Read(T::NAME, error.into()))?;
        *sum += u64::try_from(rows).unwrap_or(0);
        Ok(())
    }
    let mut sum = 0;
    for_each_table!(add(source, &mut sum));
    Ok(sum)
}

fn clear(target: &mut AnyConnection) -> Result<(), CopyError> {
    fn delete<T: Table>(target: &mut AnyConnection) -> Result<(), CopyError> {
        T::clear(target).map_err(|error| CopyError::Write(T::NAME, error.into()))
    }
    for_each_table!(delete(target));
    let cleared = Shared::default().store(target);
    cleared.map_err(|error| CopyError::Write(DEPLOYMENT, error.into()))
}

fn check_empty(target: &mut AnyConnection) -> Result<(), CopyError> {
    fn check<T: Table>(target: &mut AnyConnection) -> Result<(), CopyError> {
        match T::count(target).map_err(|error| CopyError::Write(T::NAME, error.into()))? {
            0 => Ok(()),
            _ => Err(CopyError::NotEmpty(T::NAME)),
        }
    }
    for_each_table!(check(target));
    let shared = Shared::read(target).map_err(|error| CopyError::Write(DEPLOYMENT, error.into()))?;
    if shared.is_used() { Err(CopyError::NotEmpty(DEPLOYMENT)) } else { Ok(()) }
}

/// Copies every table and returns what was read.
fn copy_tables(
    source: &mut AnyConnection,
    target: &mut AnyConnection,
    of: u64,
    progress: &mut impl FnMut(CopyProgress),
) -> Result<Vec<(&'static str, Contents)>, CopyError> {
    fn copy<T: Table>(
        source: &mut AnyConnection,
        target: &mut AnyConnection,
        all: &mut Vec<(&'static str, Contents)>,
        copied: &mut dyn FnMut(&'static str, usize),
    ) -> Result<(), CopyError> {
        let contents = T::copy(source, target, &mut |rows| copied(T::NAME, rows));
        let contents = contents.map_err(|side| match side {
            Side::From(error) => CopyError::Read(T::NAME, error.into()),
            Side::To(error) => CopyError::Write(T::NAME, error.into()),
        })?;
        all.push((T::NAME, contents));
        Ok(())
    }
    let (mut all, mut sum) = (Vec::new(), 0);
    let mut copied = |what, rows: usize| {
        sum += rows as u64;
        progress(CopyProgress { step: CopyStep::Copying, what, rows: sum, of });
    };
    for_each_table!(copy(source, target, &mut all, &mut copied));
    let shared = Shared::read(source).map_err(|error| CopyError::Read(DEPLOYMENT, error.into()))?;
    shared.store(target).map_err(|error| CopyError::Write(DEPLOYMENT, error.into()))?;
    all.push((DEPLOYMENT, shared.contents()));
    Ok(all)
}

/// Reads what was written, and compares it with what was read from the source.
fn compare_tables(
    target: &mut AnyConnection,
    copied: &[(&'static str, Contents)],
    of: u64,
    progress: &mut impl FnMut(CopyProgress),
) -> Result<(), CopyError> {
    fn compare<T: Table>(
        target: &mut AnyConnection,
        copied: &[(&'static str, Contents)],
        read: &mut dyn FnMut(&'static str, usize),
    ) -> Result<(), CopyError> {
        let written = T::contents(target, &mut |rows| read(T::NAME, rows));
        let written = written.map_err(|error| CopyError::Write(T::NAME, error.into()))?;
        match copied.contains(&(T::NAME, written)) {
            true => Ok(()),
            false => Err(CopyError::Differs(T::NAME)),
        }
    }
    let mut sum = 0;
    let mut read = |what, rows: usize| {
        sum += rows as u64;
        progress(CopyProgress { step: CopyStep::Comparing, what, rows: sum, of });
    };
    for_each_table!(compare(target, copied, &mut read));
    let shared = Shared::read(target).map_err(|error| CopyError::Write(DEPLOYMENT, error.into()))?;
    match copied.contains(&(DEPLOYMENT, shared.contents())) {
        true => Ok(()),
        false => Err(CopyError::Differs(DEPLOYMENT)),
    }
}

/// The table of one row.
const DEPLOYMENT: &str = "deployment";
