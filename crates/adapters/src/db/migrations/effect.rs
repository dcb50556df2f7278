//! What a statement costs while the service runs: the lock that it takes on a table, and the work that it does.

use serde::Serialize;

use super::sql::Statement;
use super::statement::{Action, Kind, NewColumn, actions};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// The lock of a statement on its table, from the weakest to the strongest. The names are PostgreSQL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TableLock {
    /// No lock on a table that exists.
    None,
    /// Reads and writes go on.
    RowExclusive,
    /// Reads and writes go on; other migrations and `VACUUM` wait.
    ShareUpdateExclusive,
    /// Reads go on; writes wait.
    Share,
    /// Reads go on; writes wait.
    ShareRowExclusive,
    /// Reads and writes wait.
    AccessExclusive,
    /// SQLite's only lock: writes to any table wait, reads go on.
    Database,
    /// The statement is not recognised.
    Unknown,
}

/// The work of a statement, from the cheapest to the most expensive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TableWork {
    /// The catalog alone is changed, whatever the size of the table.
    Catalog,
    /// Rows are inserted, updated or deleted.
    Rows,
    /// The whole table is read.
    Scan,
    /// The whole table may be written again.
    Rewrite,
    /// The statement is not recognised.
    Unknown,
}

/// The cost of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) table: Option<String>,
    pub(super) lock: TableLock,
    pub(super) work: TableWork,
    /// The newest migration that a binary must know afterwards, if the statement names one.
    pub(super) raises_guard_to: Option<String>,
}

/// Returns the cost of a statement: that of its most expensive part.
pub(super) fn effect(dialect: Dialect, statement: &Statement) -> Effect {
    let actions = actions(statement);
    let costs: Vec<_> = actions.iter().map(|action| cost(dialect, action)).collect();
    Effect {
        table: actions.iter().find_map(|action| action.table.clone()),
        lock: costs.iter().map(|(lock, _)| *lock).max().unwrap_or(TableLock::Unknown),
        work: costs.iter().map(|(_, work)| *work).max().unwrap_or(TableWork::Unknown),
        raises_guard_to: actions.into_iter().find_map(|action| match action.kind {
            Kind::RaiseGuard(version) => Some(version),
            _ => None,
        }),
    }
}

fn cost(dialect: Dialect, action: &Action) -> (TableLock, TableWork) {
    match dialect {
        Dialect::Postgres => cost_on_postgres(&action.kind),
        Dialect::Sqlite => {
            let work = work_on_sqlite(&action.kind);
            let is_known = work != TableWork::Unknown;
            (if is_known { TableLock::Database } else { TableLock::Unknown }, work)
        }
    }
}

/// As the manual of PostgreSQL has it, in "Explicit Locking" and on the page of each statement.
fn cost_on_postgres(kind: &Kind) -> (TableLock, TableWork) {
    match kind {
        Kind::CreateTable | Kind::CreateFunction | Kind::DropFunction => {
            (TableLock::None, TableWork::Catalog)
        }
        Kind::ChangeRows | Kind::RaiseGuard(_) => (TableLock::RowExclusive, TableWork::Rows),
        Kind::CreateIndex { concurrently: true, .. } | Kind::ValidateConstraint => {
            (TableLock::ShareUpdateExclusive, TableWork::Scan)
        }
        Kind::DropIndex { concurrently: true } => (TableLock::ShareUpdateExclusive, TableWork::Catalog),
        Kind::CreateIndex { concurrently: false, .. } => (TableLock::Share, TableWork::Scan),
        Kind::CreateTrigger => (TableLock::ShareRowExclusive, TableWork::Catalog),
        Kind::AddConstraint { foreign: true, not_valid } => {
            (TableLock::ShareRowExclusive, scan_unless(*not_valid))
        }
        Kind::AddConstraint { foreign: false, not_valid } => {
            (TableLock::AccessExclusive, scan_unless(*not_valid))
        }
        Kind::DropTable
        | Kind::DropIndex { concurrently: false }
        | Kind::DropColumn
        | Kind::DropConstraint
        | Kind::DropTrigger
        | Kind::Rename
        | Kind::RelaxColumn => (TableLock::AccessExclusive, TableWork::Catalog),
        Kind::SetNotNull => (TableLock::AccessExclusive, TableWork::Scan),
        Kind::ChangeType => (TableLock::AccessExclusive, TableWork::Rewrite),
        Kind::AddColumn(NewColumn { has_reference: true, .. }) | Kind::Unknown => {
            (TableLock::Unknown, TableWork::Unknown)
        }
        Kind::AddColumn(NewColumn { is_computed: true, .. }) => {
            (TableLock::AccessExclusive, TableWork::Rewrite)
        }
        Kind::AddColumn(column) => {
            (TableLock::AccessExclusive, scan_unless(!column.is_checked && !column.is_unique))
        }
    }
}

/// As SQLite's pages "ALTER TABLE" and "CREATE INDEX" have it.
fn work_on_sqlite(kind: &Kind) -> TableWork {
    match kind {
        Kind::CreateTable
        | Kind::CreateTrigger
        | Kind::DropTrigger
        | Kind::DropIndex { concurrently: false }
        | Kind::Rename => TableWork::Catalog,
        Kind::AddColumn(column) => scan_unless(!column.is_checked),
        Kind::ChangeRows | Kind::RaiseGuard(_) => TableWork::Rows,
        Kind::CreateIndex { concurrently: false, .. } | Kind::DropTable => TableWork::Scan,
        Kind::DropColumn => TableWork::Rewrite,
        _ => TableWork::Unknown,
    }
}

fn scan_unless(is_unneeded: bool) -> TableWork {
    if is_unneeded { TableWork::Catalog } else { TableWork::Scan }
}

#[cfg(test)]
mod tests {
    use super::super::embedded::embedded;
    use super::super::sql::statements;
    use super::*;
    use crate::db::DatabaseUrl;

    fn of(dialect: Dialect, sql: &str) -> (TableLock, TableWork) {
        let effect = effect(dialect, &statements(sql)[0]);
        (effect.lock, effect.work)
    }

    #[test]
    fn costs_on_postgres_follow_its_manual() {
        use TableLock::{AccessExclusive, RowExclusive, Share, ShareRowExclusive, ShareUpdateExclusive};
        use TableWork::{Catalog, Rewrite, Rows, Scan};
        for (sql, expected) in [
            ("CREATE TABLE a (b int)", (TableLock::None, Catalog)),
            ("CREATE INDEX a ON b (c)", (Share, Scan)),
            ("CREATE INDEX CONCURRENTLY a ON b (c)", (ShareUpdateExclusive, Scan)),
            ("ALTER TABLE a ADD b int", (AccessExclusive, Catalog)),
            ("ALTER TABLE a ADD b int NOT NULL DEFAULT 0", (AccessExclusive, Catalog)),
            ("ALTER TABLE a ADD b int DEFAULT random()", (AccessExclusive, Rewrite)),
            ("ALTER TABLE a ADD b int CHECK (b > 0)", (AccessExclusive, Scan)),
            ("ALTER TABLE a ADD b int REFERENCES c", (TableLock::Unknown, TableWork::Unknown)),
            ("ALTER TABLE a ALTER b TYPE bigint", (AccessExclusive, Rewrite)),
            ("ALTER TABLE a ALTER b SET NOT NULL", (AccessExclusive, Scan)),
            ("ALTER TABLE a ALTER b SET DEFAULT 1", (AccessExclusive, Catalog)),
            ("ALTER TABLE a ADD CONSTRAINT b CHECK (c > 0) NOT VALID", (AccessExclusive, Catalog)),
            ("ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c", (ShareRowExclusive, Scan)),
            ("ALTER TABLE a VALIDATE CONSTRAINT b", (ShareUpdateExclusive, Scan)),
            ("UPDATE a SET b = 1", (RowExclusive, Rows)),
            ("TRUNCATE a", (TableLock::Unknown, TableWork::Unknown)),
        ] {
            assert_eq!(of(Dialect::Postgres, sql), expected, "{sql}");
        }
    }

    #[test]
    fn costs_on_sqlite_follow_its_manual() {
        for (sql, expected) in [
            ("CREATE TABLE a (b int)", TableWork::Catalog),
            ("ALTER TABLE a ADD COLUMN b INTEGER NOT NULL DEFAULT 0", TableWork::Catalog),
            ("ALTER TABLE a ADD COLUMN b BLOB CHECK (length(b) = 16)", TableWork::Scan),
            ("ALTER TABLE a DROP COLUMN b", TableWork::Rewrite),
            ("CREATE INDEX a ON b (c)", TableWork::Scan),
            ("DELETE FROM a", TableWork::Rows),
        ] {
            assert_eq!(of(Dialect::Sqlite, sql), (TableLock::Database, expected), "{sql}");
        }
        assert_eq!(of(Dialect::Sqlite, "VACUUM"), (TableLock::Unknown, TableWork::Unknown));
    }

    /// A plan without gaps: a new kind of statement is added to the table above.
    #[test]
    fn statements_of_all_migrations_are_recognised() {
        for (dialect, url) in [(Dialect::Postgres, "postgres://localhost/x"), (Dialect::Sqlite, "sqlite://x")]
        {
            for migration in embedded(&DatabaseUrl::parse(url).unwrap()).unwrap() {
                let down = migration.down.as_deref().unwrap_or_default();
                let (up, down) = (statements(&migration.up), statements(down));
                assert!(!up.is_empty(), "{}", migration.name);
                for statement in up.iter().chain(&down) {
                    let effect = effect(dialect, statement);
                    assert_ne!(effect.work, TableWork::Unknown, "{}: {}", migration.name, statement.text);
                    assert_ne!(effect.lock, TableLock::Unknown, "{}: {}", migration.name, statement.text);
                }
            }
        }
    }
}
