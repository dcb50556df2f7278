//! The commands `db`: copy everything to another database, and declare that a database moved.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use portcullis_adapters::db::{Copied, CopyError, CopyProgress, CopyStep, DatabaseUrl, Deployment};
use zeroize::Zeroizing;

use crate::bootstrap::{DatabaseBackend, Purpose};
use crate::cli_error::CliError;
use crate::console::{Progress, confirm, print};
use crate::settings::text_file::read_text;
use crate::settings::wrapping::{Sensitivity, unwrapped};
use crate::settings::{InvalidSetting, Settings};
use crate::{advice, logging, machine};

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Copy everything to another database and keep the sessions, for example from SQLite to PostgreSQL
    ///
    /// Stop the service first. The target is created if it is missing, and must be empty. Afterwards no instance serves the
    /// source any more. If the command is interrupted, run it again: it starts over.
    Copy(CopyArguments),
    /// Declare that the database moved and that no other copy of it is in use, so that the sessions stay
    ///
    /// Without this, a start on a database that was restored or copied ends every session. Run it before the first start
    /// after an upgrade of the PostgreSQL cluster or a move to another volume or machine.
    Moved {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Other users of the machine can read the command line, so a URL with a password comes from a file.
#[derive(Args, Debug)]
pub(crate) struct CopyArguments {
    /// The database to copy from [default: database.url]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// A file that contains the URL to copy from
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// The database to copy to
    #[arg(long, value_name = "URL", required_unless_present = "to_file")]
    to: Option<String>,
    /// A file that contains the URL to copy to
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_file: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs a `db` command.
pub(crate) fn run(command: &DbCommand, settings: Settings) -> Result<(), CliError> {
    match command {
        DbCommand::Copy(arguments) => copy(arguments, settings),
        DbCommand::Moved { yes } => moved(&settings, *yes),
    }
}

fn copy(arguments: &CopyArguments, mut settings: Settings) -> Result<(), CliError> {
    let from = url("--from", arguments.from.as_deref(), arguments.from_file.as_deref())?;
    let to = url("--to", arguments.to.as_deref(), arguments.to_file.as_deref())?;
    let to = to.ok_or_else(|| CliError::Usage("--to or --to-file is missing".to_owned()))?;
    let holder = if from.is_some() { "--from" } else { "database.url" };
    settings.database = from.unwrap_or(settings.database);
    logging::init(&settings.log);
    machine::check_command(&settings)?;
    let exists = Deployment::at(&settings.database).check_exists();
    exists.map_err(|error| CliError::of_database(&error, holder))?;
    let (backend, _secrets) = DatabaseBackend::open(&settings, Purpose::Change)?;
    let from = &settings.database;
    confirm(
        &format!(
            "Copy everything from {from} to {to}, and let no instance serve {from} any more? The service must be stopped."
        ),
        arguments.yes,
    )?;
    let mut reported = Progress::new();
    let copied = backend.copy(&to, |progress| reported.report(|| line(progress)));
    let Copied { tables, started_over } = copied.map_err(|error| explain(error, holder))?;
    print(tables.iter().map(|(table, rows)| format!("{table}: {rows} rows, equal in both")))?;
    let interrupted = if started_over { ", over what an interrupted copy had left" } else { "" };
    print([
        "audit log: verified".to_owned(),
        format!("copied {from} to {to}{interrupted}; set database.url to {to} and start the service"),
    ])
}

fn moved(settings: &Settings, yes: bool) -> Result<(), CliError> {
    logging::init(&settings.log);
    machine::check_command(settings)?;
    let (backend, _secrets) = DatabaseBackend::open(settings, Purpose::Change)?;
    confirm(
        &format!(
            "Keep the sessions in {}? Only if it just moved and no other copy was used since: sessions that ended in \
             another copy would be valid again.",
            settings.database
        ),
        yes,
    )?;
    print([match backend.declare_moved()? {
        true => "the database is at home in its present place; its sessions stay",
        false => "the database is where it was when the service used it last; nothing was changed",
    }])
}

/// Returns the URL that an option or a file holds.
fn url(option: &str, url: Option<&str>, file: Option<&Path>) -> Result<Option<DatabaseUrl>, CliError> {
    if let Some(file) = file {
        let holder = format!("{option}-file");
        let text = read_text(file, LONGEST_URL_FILE).map(Zeroizing::new);
        let text = text.map_err(|error| invalid(format!("{holder}: {} {error}", file.display())))?;
        return parse(&text, &holder).map(Some);
    }
    let Some(url) = url.map(|url| parse(url, option)).transpose()? else { return Ok(None) };
    if url.has_password() {
        return Err(CliError::Usage(format!(
            "{option}: other users of this machine can read a password on the command line; write the URL to a file and \
             pass {option}-file"
        )));
    }
    Ok(Some(url))
}

fn parse(text: &str, holder: &str) -> Result<DatabaseUrl, CliError> {
    let text = unwrapped(text, Sensitivity::Secret);
    let text = text.map_err(|wrapping| invalid(format!("{holder} {wrapping}")))?;
    DatabaseUrl::parse(text)
        .map_err(|error| invalid(format!("{holder}: {}", advice::on_database_url(&error))))
}

fn invalid(text: String) -> CliError {
    InvalidSetting::new(text).into()
}

fn line(progress: CopyProgress) -> String {
    let CopyProgress { step, what, rows, of } = progress;
    let percent = rows.saturating_mul(100).checked_div(of).unwrap_or(100);
    match step {
        CopyStep::Copying => format!("copied {rows} of {of} rows ({percent} %), now {what}"),
        CopyStep::Comparing => format!("compared {rows} of {of} rows ({percent} %), now {what}"),
        CopyStep::Verifying => format!("verified the audit log up to seq {rows} of {of} ({percent} %)"),
    }
}

/// Names what holds the URL of the database at which a copy failed.
fn explain(error: CopyError, from: &str) -> CliError {
    match error {
        CopyError::Source(error) => CliError::of_database(&error, from),
        CopyError::Target(error) => CliError::of_database(&error, "--to"),
        CopyError::Same => invalid(format!("--to: {error}")),
        CopyError::NotEmpty(_) => invalid(format!("--to: {error}; copy to a new database")),
        CopyError::SourceRestored => invalid(format!(
            "{from}: {error}; start the service on it first, which ends every session, or, if it only moved, run \
             `portcullis db moved`"
        )),
        CopyError::Read(..) | CopyError::Write(..) | CopyError::Differs(_) => {
            anyhow!(error).context("nothing was copied").into()
        }
        CopyError::Audit(_) => {
            anyhow!(error).context("no instance serves the copy, and the source is unchanged").into()
        }
    }
}

/// In bytes.
const LONGEST_URL_FILE: u64 = 65_536;
