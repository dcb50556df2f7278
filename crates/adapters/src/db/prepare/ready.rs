//! Recognises a PostgreSQL database that an instance can use as it is.
//!
//! Most starts change nothing. They take no lock and set nothing for the session, because a pooler in transaction mode
//! would keep either for its next client.

use diesel::connection::{AnsiTransactionManager, CacheSize, Connection as _, SimpleConnection as _};
use diesel::{PgConnection, QueryResult};

use super::{Missing, PrepareError};
use crate::db::DatabaseUrl;
use crate::db::connection::AnyConnection;
use crate::db::deployment::home::Home;
use crate::db::migrations::FoundSchema;
use crate::db::postgres::hosts::{Wanted, establish};
use crate::db::postgres::server::{check_existing_server, check_server};
use crate::db::postgres::session::{LOCK_TIMEOUT, STATEMENT_TIMEOUT, check_session};
use crate::db::secrets::{Fingerprints, Known};

/// Returns the database's secrets, if every migration of this build is applied, the database is where it was, and it knows
/// all secrets of the instance, its current one as the one in use. Otherwise, or if the tables cannot be read now, the caller prepares the database under
/// the lock. For SQLite this is always so: its lock is a file's, and no pooler keeps it.
///
/// # Errors
/// [`PrepareError`], if the database cannot be used by this build or with these secrets.
pub(in crate::db) fn read_if_ready(
    url: &DatabaseUrl,
    missing: Missing,
    fingerprints: &Fingerprints,
) -> Result<Option<Known>, PrepareError> {
    let DatabaseUrl::Postgres(to) = url else { return Ok(None) };
    match missing {
        Missing::Create => check_server(url)?,
        Missing::Refuse => check_existing_server(url)?,
    }
    let failed = |failure| PrepareError::of(url, failure);
    let mut connection = establish(to, Wanted::Primary).map_err(failed)?;
    // Named statements would be a session's, too.
    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    if let Err(error) = begin(&mut connection) {
        return unread(url, failed(error.into()));
    }
    if let Err(failure) = check_session(&mut connection) {
        return unread(url, failed(failure));
    }
    let mut connection = AnyConnection::Postgres(connection);
    let read = read(url, &mut connection);
    // It changed nothing, so a failure to end the transaction loses nothing.
    let _ended = connection.commit();
    let (schema, known) = match read {
        Ok(read) => read,
        Err(error) => return unread(url, error),
    };
    schema.admit_binary()?;
    let Some((known, home)) = known else { return Ok(None) };
    known.admit(fingerprints)?;
    home.check_served()?;
    if !(known.is_current(fingerprints) && home.is_present()) {
        return Ok(None);
    }
    schema.log_unknown();
    Ok(Some(known))
}

/// Leaves a failure to the preparation under the lock, which explains it. Without a direct URL there is no such preparation.
fn unread(url: &DatabaseUrl, error: PrepareError) -> Result<Option<Known>, PrepareError> {
    match url.for_preparation() {
        Ok(_) => Ok(None),
        Err(_) => Err(error),
    }
}

/// Begins a transaction that only reads, with limits that end with it.
fn begin(connection: &mut PgConnection) -> QueryResult<()> {
    AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN READ ONLY")?;
    connection.batch_execute(&format!(
        "SET LOCAL statement_timeout TO {}; SET LOCAL lock_timeout TO {}",
        STATEMENT_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis()
    ))
}

/// Reads the schema, and the secrets and the home if the schema is that of this build or newer.
fn read(
    url: &DatabaseUrl,
    connection: &mut AnyConnection,
) -> Result<(FoundSchema, Option<(Known, Home)>), PrepareError> {
    let schema = FoundSchema::read(url, connection)?;
    if !schema.is_current() {
        return Ok((schema, None));
    }
    let known = Known::read(connection).map_err(|error| PrepareError::of(url, error.into()))?;
    let home = Home::read(url, connection)?;
    Ok((schema, Some((known, home))))
}
