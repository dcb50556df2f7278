//! The command `migrate`: update the schema of the database, list its migrations, or show what an update would do.

use portcullis_adapters::db::{
    DatabaseUrl, MigrationPlan, MigrationStatus, Migrations, PlannedMigration, PlannedStatement, TableLock,
    TableWork,
};

use crate::cli_error::CliError;
use crate::console::print;
use crate::settings::Settings;
use crate::{bootstrap, logging};

/// What `migrate` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MigrateMode {
    Run,
    Status,
    Plan { json: bool },
}

/// Runs `migrate`.
pub(crate) fn run(settings: &Settings, mode: MigrateMode) -> Result<(), CliError> {
    let database = bootstrap::database(settings)?;
    match mode {
        MigrateMode::Run => {
            // The service does the same at its start.
            logging::init(&settings.log);
            Migrations::of(database).run()?;
            list(database)
        }
        MigrateMode::Status => list(database),
        MigrateMode::Plan { json } => plan(&Migrations::of(database).plan()?, json),
    }
}

fn list(database: &DatabaseUrl) -> Result<(), CliError> {
    let states = Migrations::of(database).states()?;
    print(states.into_iter().map(|state| match state.status {
        MigrationStatus::Applied => format!("applied  {}", state.name),
        MigrationStatus::Pending => format!("pending  {}", state.name),
        MigrationStatus::Unknown => format!("unknown  {} (applied by a newer version)", state.name),
    }))
}

fn plan(plan: &MigrationPlan, json: bool) -> Result<(), CliError> {
    match json {
        true => {
            let text = serde_json::to_string_pretty(plan)
                .map_err(|error| anyhow::Error::new(error).context("cannot write the plan as JSON"))?;
            print([text])
        }
        false => print(head(plan).into_iter().chain(plan.migrations.iter().flat_map(lines))),
    }
}

fn head(plan: &MigrationPlan) -> Vec<String> {
    let mut lines = match plan.migrations.len() {
        0 => vec!["no migration is pending".to_owned()],
        1 => vec!["1 migration is pending".to_owned()],
        pending => vec![format!("{pending} migrations are pending")],
    };
    if let Some(size) = plan.database_bytes {
        lines.push(format!("the database has {}", bytes(size)));
    }
    if !plan.unknown.is_empty() {
        let unknown = plan.unknown.join(", ");
        lines.push(format!("the database has migrations of a newer version: {unknown}"));
    }
    let MigrationPlan { oldest_binary, newest_known, .. } = plan;
    if oldest_binary > newest_known {
        lines.push(format!(
            "this version cannot use the database: it needs one that knows migration {oldest_binary}, and this one knows \
             migrations up to {newest_known}"
        ));
    }
    lines
}

fn lines(migration: &PlannedMigration) -> Vec<String> {
    let form = match migration.in_transaction {
        true => "in one transaction",
        false => "outside of a transaction, repeated if interrupted",
    };
    let undo = if migration.reversible { "reversible" } else { "not reversible" };
    let mut lines = vec![String::new(), format!("{}: {form}, {undo}", migration.name)];
    if let Some(version) = &migration.raises_oldest_binary_to {
        lines.push(format!(
            "  versions that do not know migration {version} cannot use the database afterwards"
        ));
    }
    lines.extend(migration.statements.iter().flat_map(statement_lines));
    lines
}

fn statement_lines(statement: &PlannedStatement) -> Vec<String> {
    let mut lines: Vec<_> = statement.sql.lines().map(|line| format!("  {line}")).collect();
    let table = statement.table.as_deref().map(|table| format!(" {table}{}", size(statement)));
    let cost = match (statement.lock, statement.work) {
        (TableLock::Unknown, _) | (_, TableWork::Unknown) => "unknown, read it".to_owned(),
        (TableLock::None, _) => "no lock on an existing table".to_owned(),
        (lock, work) => format!("{} on{}, {}", lock_text(lock), table.unwrap_or_default(), work_text(work)),
    };
    lines.push(format!("  -> {cost}"));
    lines
}

fn size(statement: &PlannedStatement) -> String {
    let rows = statement.rows.map(|rows| format!("about {rows} rows"));
    let size: Vec<_> = rows.into_iter().chain(statement.bytes.map(bytes)).collect();
    if size.is_empty() { String::new() } else { format!(" ({})", size.join(", ")) }
}

fn lock_text(lock: TableLock) -> &'static str {
    match lock {
        TableLock::RowExclusive => "ROW EXCLUSIVE (reads and writes go on)",
        TableLock::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE (reads and writes go on)",
        TableLock::Share => "SHARE (writes wait)",
        TableLock::ShareRowExclusive => "SHARE ROW EXCLUSIVE (writes wait)",
        TableLock::AccessExclusive => "ACCESS EXCLUSIVE (reads and writes wait)",
        TableLock::Database => "the database's write lock (writes wait)",
        _ => "an unknown lock",
    }
}

fn work_text(work: TableWork) -> &'static str {
    match work {
        TableWork::Catalog => "changes the catalog only",
        TableWork::Rows => "changes rows",
        TableWork::Scan => "reads the whole table",
        TableWork::Rewrite => "may rewrite the whole table",
        _ => "does unknown work",
    }
}

fn bytes(bytes: i64) -> String {
    match bytes {
        ..0x40_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
