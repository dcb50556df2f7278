//! The command `backup`: copy a SQLite database to a file, and verify the copy.

use std::path::Path;

use anyhow::anyhow;
use portcullis_adapters::db::{Backup, BackupError, BackupProgress, ExistingFile, backup};
use portcullis_adapters::files::absolute;

use crate::cli_error::CliError;
use crate::console::{Progress, print};
use crate::settings::{InvalidSetting, Settings};
use crate::{bootstrap, logging};

/// Backs up the database of the settings.
pub(crate) fn run(settings: &Settings, file: &Path, overwrite: bool) -> Result<(), CliError> {
    logging::init(&settings.log);
    let database = bootstrap::database(settings)?;
    let existing = if overwrite { ExistingFile::Replace } else { ExistingFile::Keep };
    let mut reported = Progress::new();
    let done = backup(database, file, existing, |progress| {
        reported.report(|| match progress {
            BackupProgress::Copying { bytes, of } => {
                format!("copied {} of {} MiB", bytes / MEBIBYTE, of / MEBIBYTE)
            }
            BackupProgress::Checking => "checking the copy".to_owned(),
        });
    });
    let Backup { bytes, users, sessions, events } = done.map_err(explain)?;
    print([format!(
        "backed up {database} to {}: {bytes} bytes, {users} users, {sessions} sessions, {events} events; keep the secret \
         elsewhere, and see docs/operations/backup.md for how to restore",
        absolute(file)
    )])
}

fn explain(error: BackupError) -> CliError {
    match error {
        BackupError::Source(error) => error.into(),
        BackupError::NotSqlite => InvalidSetting::new(
            "database.url: `portcullis backup` copies SQLite databases only; back up PostgreSQL with pg_dump or \
             pg_basebackup (docs/operations/backup.md)",
        )
        .into(),
        BackupError::Exists(_) => CliError::Usage(format!("{error}; pass --overwrite to replace it")),
        BackupError::IsDatabase(_) => CliError::Usage(error.to_string()),
        BackupError::UnderWay(_) | BackupError::Target(..) | BackupError::Damaged(_) => {
            anyhow!(error).context("there is no backup").into()
        }
    }
}

const MEBIBYTE: u64 = 1 << 20;
