//! The rules of migrations that keep the previous release working beside the current one, checked over every migration
//! that is newer than the last release. A migration that raises `deployment.oldest_binary` is exempt from those about older
//! binaries: none runs any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::effect::{Dialect, TableLock, effect};
use super::embedded::{Embedded, embedded};
use super::run::MOST_LOCKED_TABLES;
use super::sql::{Statement, statements};
use super::statement::{Action, Kind, actions};
use crate::db::DatabaseUrl;

/// Returns what breaks a rule in a migration. `tables` are those that earlier migrations create.
fn violations(dialect: Dialect, migration: &Embedded, tables: &HashSet<String>) -> Vec<String> {
    let statements = statements(&migration.up);
    let version = |statement| effect(dialect, statement).raises_guard_to;
    let raised: Vec<_> = statements.iter().filter_map(version).collect();
    let mut violations: Vec<String> = statements
        .iter()
        .flat_map(|statement| actions(statement).into_iter().map(move |action| (statement, action)))
        .filter_map(|(statement, action)| {
            let violation = of_action(dialect, &action, tables, !raised.is_empty())?;
            Some(format!("{violation}: {}", statement.text))
        })
        .collect();
    violations.extend(of_guard(migration, &raised));
    if dialect == Dialect::Postgres {
        violations.extend(of_form(migration, &statements));
        violations.extend(of_locks(&statements, tables));
    }
    violations
}

fn of_action(
    dialect: Dialect,
    action: &Action,
    tables: &HashSet<String>,
    raises_guard: bool,
) -> Option<&'static str> {
    let is_earlier = action.table.as_ref().is_some_and(|table| tables.contains(table));
    match &action.kind {
        Kind::Unknown => Some("add the statement to those that are recognised"),
        Kind::CreateIndex { concurrently: false, .. } if is_earlier && dialect == Dialect::Postgres => {
            Some("build indexes of earlier tables CONCURRENTLY")
        }
        Kind::CreateIndex { concurrently: true, if_not_exists: false } => {
            Some("say IF NOT EXISTS, so that the migration can be repeated")
        }
        _ if raises_guard => None,
        Kind::DropTable
        | Kind::DropColumn
        | Kind::DropFunction
        | Kind::DropTrigger
        | Kind::DropConstraint => Some("drop nothing that older binaries may use"),
        Kind::DropIndex { .. } => Some("drop no index that the statements of older binaries may need"),
        Kind::Rename => Some("rename nothing that older binaries may use"),
        Kind::ChangeType => Some("change no type"),
        Kind::SetNotNull => Some("require no value that older binaries do not store"),
        Kind::AddColumn(column) if column.not_null && !column.has_default => {
            Some("give a required column a default, since older binaries do not store it")
        }
        Kind::AddColumn(column) if column.is_computed => Some("add no column that rewrites the table"),
        Kind::AddConstraint { not_valid: false, .. } => {
            Some("add constraints NOT VALID and validate them later")
        }
        _ => None,
    }
}

/// The guard names the migration itself: nothing older suffices, and nothing newer exists.
fn of_guard(migration: &Embedded, raised: &[String]) -> Option<String> {
    let wrong = raised.iter().find(|version| **version != migration.version)?;
    Some(format!("deployment.oldest_binary must become {}, not {wrong}", migration.version))
}

/// PostgreSQL refuses concurrent indexes in transactions. Other statements outside of one could be applied in part.
fn of_form(migration: &Embedded, statements: &[Statement]) -> Option<String> {
    let concurrent = statements.iter().filter(|statement| {
        let effect = effect(Dialect::Postgres, statement);
        let is_index = |kind: &Kind| {
            matches!(
                kind,
                Kind::CreateIndex { concurrently: true, .. } | Kind::DropIndex { concurrently: true }
            )
        };
        effect.lock == TableLock::ShareUpdateExclusive
            && actions(statement).iter().any(|action| is_index(&action.kind))
    });
    match (concurrent.count(), statements.len(), migration.is_in_transaction) {
        (0, _, true) | (1, 1, false) => None,
        (0, _, false) => Some("only CONCURRENTLY needs run_in_transaction = false".to_owned()),
        _ => Some(
            "a concurrent index stands alone in its migration, with run_in_transaction = false".to_owned(),
        ),
    }
}

/// A migration that waits for one table while it holds others keeps their statements waiting longer.
fn of_locks(statements: &[Statement], tables: &HashSet<String>) -> Option<String> {
    let effects = statements.iter().map(|statement| effect(Dialect::Postgres, statement));
    let stops_others = effects.filter(|effect| effect.lock >= TableLock::Share);
    let locked: HashSet<_> = stops_others.filter_map(|effect| effect.table).collect();
    let count = locked.intersection(tables).count();
    (count > MOST_LOCKED_TABLES as usize)
        .then(|| format!("lock at most {MOST_LOCKED_TABLES} earlier tables in one migration, not {count}"))
}

/// The tables that a migration creates.
fn created(migration: &Embedded) -> impl Iterator<Item = String> {
    let actions: Vec<_> = statements(&migration.up).iter().flat_map(actions).collect();
    let created = actions.into_iter().filter(|action| action.kind == Kind::CreateTable);
    created.filter_map(|action| action.table)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[derive(Deserialize)]
struct Releases {
    release: Vec<Release>,
}

#[derive(Deserialize)]
struct Release {
    version: String,
    last_migration: String,
    commit: String,
}

fn releases() -> Vec<Release> {
    let text = std::fs::read_to_string(root().join("migrations/releases.toml")).unwrap();
    toml::from_str::<Releases>(&text).unwrap().release
}

fn histories() -> [(Dialect, Vec<Embedded>); 2] {
    [(Dialect::Postgres, "postgres://localhost/x"), (Dialect::Sqlite, "sqlite://x")]
        .map(|(dialect, url)| (dialect, embedded(&DatabaseUrl::parse(url).unwrap()).unwrap()))
}

#[test]
fn migrations_since_the_last_release_keep_older_binaries_working() {
    let last = releases().pop().expect("there is a release").last_migration;
    for (dialect, history) in histories() {
        let mut tables = HashSet::new();
        let mut found = Vec::new();
        for migration in &history {
            if migration.name > last {
                let violations = violations(dialect, migration, &tables);
                found.extend(
                    violations.into_iter().map(|violation| format!("{}: {violation}", migration.name)),
                );
            }
            tables.extend(created(migration));
        }
        assert!(tables.contains("sessions"), "the tables are found: {tables:?}");
        assert!(found.is_empty(), "{dialect:?}:\n{}", found.join("\n"));
    }
}

#[test]
fn releases_name_their_migration_and_commit() {
    let releases = releases();
    let [(_, history), _] = histories();
    let mut migrations = Vec::new();
    for Release { version, last_migration, commit } in &releases {
        assert!(
            history.iter().any(|migration| migration.name == *last_migration),
            "{version}: {last_migration}"
        );
        assert!(
            commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{version}: {commit}"
        );
        migrations.push(last_migration);
    }
    assert!(
        !migrations.is_empty() && migrations.is_sorted(),
        "releases stand in their order: {migrations:?}"
    );
}

/// A statement, its violation on PostgreSQL and that on SQLite; empty where it keeps the rules.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("ALTER TABLE old ADD COLUMN a text", "", ""),
    ("ALTER TABLE old ADD COLUMN a text NOT NULL DEFAULT ''", "", ""),
    (
        "ALTER TABLE old ADD COLUMN a text NOT NULL",
        "give a required column a default",
        "give a required column",
    ),
    (
        "ALTER TABLE old ADD COLUMN a uuid DEFAULT gen_random_uuid()",
        "no column that rewrites",
        "no column that rewrites",
    ),
    ("ALTER TABLE old DROP COLUMN a", "drop nothing", "drop nothing"),
    ("ALTER TABLE old ADD COLUMN a text, DROP COLUMN b", "drop nothing", "drop nothing"),
    ("DROP TABLE old", "drop nothing", "drop nothing"),
    ("DROP INDEX a", "drop no index", "drop no index"),
    ("ALTER TABLE old RENAME COLUMN a TO b", "rename nothing", "rename nothing"),
    ("ALTER TABLE old ALTER COLUMN a TYPE bigint", "change no type", "change no type"),
    ("ALTER TABLE old ALTER COLUMN a SET NOT NULL", "require no value", "require no value"),
    ("ALTER TABLE old ADD CONSTRAINT c CHECK (a > 0)", "NOT VALID", "NOT VALID"),
    ("ALTER TABLE old ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "", ""),
    ("CREATE INDEX a ON old (b)", "CONCURRENTLY", ""),
    ("CREATE TABLE fresh (a int); CREATE INDEX b ON fresh (a)", "", ""),
    ("CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON old (b)", "stands alone", ""),
    ("CREATE INDEX CONCURRENTLY a ON old (b)", "say IF NOT EXISTS", "say IF NOT EXISTS"),
    ("VACUUM FULL old", "those that are recognised", "those that are recognised"),
    ("UPDATE deployment SET oldest_binary = '20270101000000'; ALTER TABLE old DROP COLUMN a", "", ""),
    ("UPDATE deployment SET oldest_binary = '20260101000000'", "must become 20270101000000", "must become"),
    ("UPDATE deployment SET oldest_binary = '20270101000000'; CREATE INDEX a ON old (b)", "CONCURRENTLY", ""),
];

#[test]
fn examples_break_the_rules_that_they_should() {
    let migration = |up: &str, is_in_transaction| Embedded {
        version: "20270101000000".to_owned(),
        name: "2027-01-01-000000_example".to_owned(),
        is_in_transaction,
        up: up.to_owned(),
        down: None,
    };
    let tables = HashSet::from(["old", "older", "oldest"].map(str::to_owned));
    let check = |dialect, up: &str, is_in_transaction, expected: &str| {
        let found = violations(dialect, &migration(up, is_in_transaction), &tables);
        match expected {
            "" => assert!(found.is_empty(), "{dialect:?} {up}: {found:?}"),
            _ => assert!(found.iter().any(|found| found.contains(expected)), "{dialect:?} {up}: {found:?}"),
        }
    };
    for (up, on_postgres, on_sqlite) in EXAMPLES {
        check(Dialect::Postgres, up, true, on_postgres);
        check(Dialect::Sqlite, up, true, on_sqlite);
    }
    let two = "ALTER TABLE old ADD x int; ALTER TABLE older ADD x int; CREATE TABLE fresh (a int)";
    check(Dialect::Postgres, two, true, "");
    check(Dialect::Postgres, &format!("{two}; ALTER TABLE oldest ADD x int"), true, "lock at most 2");
    let concurrently = "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON old (b)";
    check(Dialect::Postgres, concurrently, false, "");
    check(Dialect::Postgres, &format!("{concurrently}; {concurrently}"), false, "stands alone");
    check(Dialect::Postgres, "ALTER TABLE old ADD COLUMN a text", false, "only CONCURRENTLY");
}
