//! The PostgreSQL server as it is found: whether the service can use it, and what a role lacks there.

use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _};

use super::pooler;
use crate::db::{DatabaseUrl, PrepareError};

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
    let mut connection = PgConnection::establish(to).map_err(|error| failed(error.into()))?;
    if pooler::stands_between(&mut connection, to).map_err(failed)? {
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
    match server.encoding.as_str() {
        "UTF8" => Ok(()),
        _ => Err(PrepareError::Encoding(server.encoding)),
    }
}

/// Returns advice for the administrator, from the state of the server instead of its messages, whose language varies.
pub(in crate::db) fn remedy(connection: &mut PgConnection, is_migration: bool) -> Option<String> {
    let rights: Rights = diesel::sql_query(RIGHTS).get_result(connection).ok()?;
    let Rights { role, schema, may_create, is_standby, is_read_only, tables } = rights;
    if is_standby {
        return Some("the server is a standby: set database.url to the primary".to_owned());
    }
    if is_read_only {
        return Some(
            "the server, the database or the role has default_transaction_read_only = on: switch it off"
                .to_owned(),
        );
    }
    let Some(schema) = schema else {
        return Some(format!(
            "no schema of the search_path exists or may be used: GRANT USAGE, CREATE ON SCHEMA public TO {role}, or \
             choose another with options=-csearch_path%3DNAME in database.url"
        ));
    };
    if is_migration && !may_create {
        return Some(format!(
            "GRANT CREATE ON SCHEMA {schema} TO {role}, or run `portcullis migrate` as the owner of the tables"
        ));
    }
    let tables = tables.filter(|_| !is_migration)?;
    Some(format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role} (docs/audit.md lists the rights one by one)"
    ))
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
