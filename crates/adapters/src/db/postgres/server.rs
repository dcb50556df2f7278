//! The PostgreSQL server as it is found: whether the service can use it, and what a role lacks there.

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _};

use super::hosts::{Wanted, establish};
use super::{pooler, role};
use crate::db::error::is_connection_loss;
use crate::db::url::{Pooler, PostgresUrl};
use crate::db::{DatabaseUrl, PrepareError};

/// Why a server refuses a statement, with what its administrator can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The server is a standby.
    #[error("the server is a standby")]
    Standby,
    /// Transactions only read by default.
    #[error("the server, the database or the role has default_transaction_read_only = on: switch it off")]
    ReadOnly,
    /// There is no schema for the tables.
    #[error(
        "no schema of the search_path exists or may be used: GRANT USAGE, CREATE ON SCHEMA public TO {role}"
    )]
    NoSchema {
        /// The role, as an identifier in SQL.
        role: String,
    },
    /// The role may not create the tables.
    #[error("GRANT CREATE ON SCHEMA {schema} TO {role}")]
    NoCreate {
        /// The schema, as an identifier in SQL.
        schema: String,
        /// The role, as an identifier in SQL.
        role: String,
    },
    /// The role may not use tables.
    #[error("GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}")]
    NoAccess {
        /// The tables, separated by commas.
        tables: String,
        /// The role, as an identifier in SQL.
        role: String,
    },
}

/// Like [`check_server`], for callers that create nothing: a database that the server does not have is absent. A service that
/// starts waits for it instead.
pub(in crate::db) fn check_existing_server(url: &DatabaseUrl) -> Result<(), PrepareError> {
    check_server(url).map_err(|error| match error {
        PrepareError::Unreachable(failure) if failure.is_missing_database() => {
            PrepareError::Absent(format!("{url} does not exist"))
        }
        error => error,
    })
}

/// Checks that the service can use the PostgreSQL server, before anything is set or locked there. Does nothing for SQLite.
pub(in crate::db) fn check_server(url: &DatabaseUrl) -> Result<(), PrepareError> {
    let DatabaseUrl::Postgres(to) = url else { return Ok(()) };
    let failed = |failure| PrepareError::of(url, failure);
    url.check_files().map_err(PrepareError::Url)?;
    let mut connection = establish(to, Wanted::AnyServer).map_err(failed)?;
    if to.pooler() == Pooler::None && pooler::stands_between(&mut connection, to).map_err(failed)? {
        return Err(PrepareError::Pooler);
    }
    let server: Server = diesel::sql_query(
        "SELECT current_setting('server_encoding') AS encoding,
                current_setting('server_version_num')::integer AS version",
    )
    .get_result(&mut connection)
    .map_err(|error| failed(error.into()))?;
    if server.version < OLDEST_POSTGRES {
        return Err(PrepareError::TooOld(server.version));
    }
    if server.encoding != "UTF8" {
        return Err(PrepareError::Encoding(server.encoding));
    }
    match to.pooler() {
        Pooler::None => Ok(()),
        Pooler::Transaction => check_pooled_role(url, to, connection),
    }
}

/// Checks that the role has the settings that sessions otherwise get, and that the pooler allows transactions. In statement
/// mode it closes a connection that begins one.
fn check_pooled_role(
    url: &DatabaseUrl,
    to: &PostgresUrl,
    mut connection: PgConnection,
) -> Result<(), PrepareError> {
    let failed = |failure| PrepareError::of(url, failure);
    if let Some(statements) = role::missing_settings(&mut connection).map_err(failed)? {
        return Err(PrepareError::RoleSettings(statements));
    }
    for _ in 0..CLOSED_BY_POOLER {
        match connection.batch_execute("BEGIN") {
            Ok(()) => {
                // Otherwise the pooler would close its server connection, too.
                return connection.batch_execute("ROLLBACK").map_err(|error| failed(error.into()));
            }
            // The server may have been stopped at this moment, so that a new connection is tried too.
            Err(error) if is_connection_loss(&error) => {
                connection = establish(to, Wanted::AnyServer).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    Err(PrepareError::StatementPooler)
}

/// Checks that two URLs lead to the same tables: the one past the pooler was written down separately.
pub(in crate::db) fn check_same_database(
    url: &DatabaseUrl,
    direct: &DatabaseUrl,
) -> Result<(), PrepareError> {
    match (place(url)?, place(direct).map_err(|error| PrepareError::Direct(Box::new(error)))?) {
        (here, there) if here == there => Ok(()),
        _ => Err(PrepareError::OtherDatabase),
    }
}

/// Returns where the tables of a PostgreSQL URL are; `None` for SQLite.
fn place(url: &DatabaseUrl) -> Result<Option<Place>, PrepareError> {
    let DatabaseUrl::Postgres(to) = url else { return Ok(None) };
    let failed = |failure| PrepareError::of(url, failure);
    let mut connection = establish(to, Wanted::AnyServer).map_err(failed)?;
    let place = diesel::sql_query(PLACE).get_result(&mut connection);
    place.map(Some).map_err(|error| failed(error.into()))
}

/// The same on a primary and its standbys, and for every role that finds the same tables.
#[derive(QueryableByName, PartialEq)]
struct Place {
    #[diesel(sql_type = Text)]
    system: String,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
}

const PLACE: &str = "
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
           current_database()::text AS database,
           current_schema()::text AS schema
";

/// Returns why the server refuses, from its state instead of its messages, whose language varies.
pub(in crate::db) fn denial(connection: &mut PgConnection, is_migration: bool) -> Option<Denial> {
    let rights: Rights = diesel::sql_query(RIGHTS).get_result(connection).ok()?;
    let Rights { role, schema, may_create, is_standby, is_read_only, tables } = rights;
    if is_standby {
        return Some(Denial::Standby);
    }
    if is_read_only {
        return Some(Denial::ReadOnly);
    }
    let Some(schema) = schema else { return Some(Denial::NoSchema { role }) };
    if is_migration && !may_create {
        return Some(Denial::NoCreate { schema, role });
    }
    let tables = tables.filter(|_| !is_migration)?;
    Some(Denial::NoAccess { tables, role })
}

/// Reasons that may keep a role from preparing the database.
#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Text)]
    role: String,
    /// The schema in which new tables are created.
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Bool)]
    may_create: bool,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
    /// The service's tables that the role may not read.
    #[diesel(sql_type = Nullable<Text>)]
    tables: Option<String>,
}

const RIGHTS: &str = "
    SELECT quote_ident(current_user) AS role,
           quote_ident(current_schema()) AS schema,
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
           pg_is_in_recovery() AS is_standby,
           current_setting('transaction_read_only')::boolean AS is_read_only,
           (SELECT string_agg(relation::text, ', ')
              FROM unnest(ARRAY['__diesel_schema_migrations', 'users', 'sessions', 'attempt_counters', 'known_secrets',
                                'deployment', 'security_events', 'audit_chain', 'audit_heads']) AS name,
                   to_regclass(name) AS relation
             WHERE NOT has_table_privilege(relation, 'SELECT')
                OR name IN ('known_secrets', 'security_events') AND NOT has_table_privilege(relation, 'INSERT')
                OR name = 'deployment' AND NOT has_table_privilege(relation, 'UPDATE')) AS tables
";

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    encoding: String,
    /// Such as `150004` for version 15.4.
    #[diesel(sql_type = Integer)]
    version: i32,
}

/// The oldest server that is used, as `server_version_num`. The PostgreSQL project maintains no older version, and
/// the service sets only session settings that exist since this version.
pub(in crate::db) const OLDEST_POSTGRES: i32 = 140_000;

/// How many connections in a row a pooler must close at the begin of a transaction to be one in statement mode.
const CLOSED_BY_POOLER: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::schema;

    #[test]
    fn the_rights_to_all_tables_are_checked() {
        let tables = schema::tables();
        assert!(tables.len() >= 9, "{tables:?}");
        for table in tables {
            assert!(RIGHTS.contains(&format!("'{table}'")), "RIGHTS lacks the table {table}");
        }
    }
}
