//! What `run` would do, without doing it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use super::effect::{Dialect, TableLock, TableWork, effect};
use super::embedded::Embedded;
use super::found_schema::FoundSchema;
use super::sql::{self, Statement};
use crate::db::connection::AnyConnection;

/// The pending migrations of a database, and which binaries may use it.
#[derive(Clone, Debug, Serialize)]
pub struct MigrationPlan {
    /// The pending migrations, in the order in which they are applied.
    pub migrations: Vec<PlannedMigration>,
    /// The versions of applied migrations that this build lacks: a newer one applied them.
    pub unknown: Vec<String>,
    /// The newest migration that a binary must know to use the database as it is. Empty if every binary may.
    pub oldest_binary: String,
    /// The newest migration that this build knows.
    pub newest_known: String,
    /// The size of the database in bytes.
    pub database_bytes: Option<i64>,
}

/// A pending migration.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedMigration {
    /// Its version and name.
    pub name: String,
    /// Whether it is applied as a whole or not at all. Other migrations are repeated if they are interrupted.
    pub in_transaction: bool,
    /// Whether this build contains the statements that undo it.
    pub reversible: bool,
    /// The newest migration that a binary must know afterwards, if the migration changes that.
    pub raises_oldest_binary_to: Option<String>,
    /// Its statements in order.
    pub statements: Vec<PlannedStatement>,
}

/// A statement of a pending migration.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStatement {
    /// The statement, with the comments before it.
    pub sql: String,
    /// The table that it locks or changes.
    pub table: Option<String>,
    /// The lock that it takes on the table.
    pub lock: TableLock,
    /// The work that it does there.
    pub work: TableWork,
    /// About how many rows the table has; absent for a table that does not exist yet, or if counting would take long.
    pub rows: Option<i64>,
    /// How large the table is, without its indexes; absent on SQLite.
    pub bytes: Option<i64>,
}

pub(super) fn plan(schema: &FoundSchema, connection: &mut AnyConnection) -> QueryResult<MigrationPlan> {
    let dialect = match connection {
        AnyConnection::Postgres(_) => Dialect::Postgres,
        AnyConnection::Sqlite(_) => Dialect::Sqlite,
    };
    let migrations: QueryResult<_> =
        schema.pending().map(|migration| planned(dialect, migration, connection)).collect();
    Ok(MigrationPlan {
        migrations: migrations?,
        unknown: schema.unknown().into_iter().map(str::to_owned).collect(),
        oldest_binary: schema.oldest_binary.clone(),
        newest_known: schema.newest_embedded().to_owned(),
        database_bytes: database_bytes(connection)?,
    })
}

fn planned(
    dialect: Dialect,
    migration: &Embedded,
    connection: &mut AnyConnection,
) -> QueryResult<PlannedMigration> {
    let mut raises_oldest_binary_to = None;
    let mut planned = |statement: Statement| {
        let effect = effect(dialect, &statement);
        if let Some(version) = effect.raises_guard_to {
            raises_oldest_binary_to = Some(version);
        }
        let size = effect.table.as_deref().map(|table| size(connection, table)).transpose()?;
        let Size { rows, bytes } = size.unwrap_or_default();
        Ok(PlannedStatement {
            sql: statement.text,
            table: effect.table,
            lock: effect.lock,
            work: effect.work,
            rows,
            bytes,
        })
    };
    let statements: QueryResult<_> = sql::statements(&migration.up).into_iter().map(&mut planned).collect();
    Ok(PlannedMigration {
        name: migration.name.clone(),
        in_transaction: migration.is_in_transaction,
        reversible: migration.down.is_some(),
        statements: statements?,
        raises_oldest_binary_to,
    })
}

#[derive(Debug, Default, QueryableByName)]
struct Size {
    #[diesel(sql_type = Nullable<BigInt>)]
    rows: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    bytes: Option<i64>,
}

/// Returns the size of a table, if it exists.
fn size(connection: &mut AnyConnection, table: &str) -> QueryResult<Size> {
    if matches!(connection, AnyConnection::Postgres(_)) {
        let query = diesel::sql_query(
            "SELECT nullif(reltuples, -1)::bigint AS rows, pg_table_size(oid) AS bytes
               FROM pg_class WHERE oid = to_regclass(quote_ident($1))",
        );
        let found: Option<Size> = query.bind::<Text, _>(table).get_result(connection).optional()?;
        return Ok(found.unwrap_or_default());
    }
    let query =
        diesel::sql_query("SELECT name AS text FROM sqlite_schema WHERE type = 'table' AND name = $1");
    let found: Option<Name> = query.bind::<Text, _>(table).get_result(connection).optional()?;
    let Some(Name { text: name }) = found else { return Ok(Size::default()) };
    // SQLite stores no number of rows.
    let count = format!(
        "SELECT count(*) AS rows, NULL AS bytes FROM (SELECT 1 FROM \"{name}\" LIMIT {})",
        MOST_COUNTED + 1
    );
    let size: Size = diesel::sql_query(count).get_result(connection)?;
    Ok(Size { rows: size.rows.filter(|rows| *rows <= MOST_COUNTED), bytes: None })
}

fn database_bytes(connection: &mut AnyConnection) -> QueryResult<Option<i64>> {
    let query = match connection {
        AnyConnection::Postgres(_) => {
            "SELECT NULL::bigint AS rows, pg_database_size(current_database()) AS bytes"
        }
        AnyConnection::Sqlite(_) => {
            "SELECT NULL AS rows, page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size"
        }
    };
    Ok(diesel::sql_query(query).get_result::<Size>(connection)?.bytes)
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    text: String,
}

/// Tables of SQLite with more rows are not counted.
const MOST_COUNTED: i64 = 100_000;
