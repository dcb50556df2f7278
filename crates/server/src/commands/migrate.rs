//! The command `migrate`: update the schema of the database, or list its migrations.

use portcullis_adapters::db::{DatabaseUrl, Migrations};

use crate::cli_error::CliError;
use crate::console::print;
use crate::settings::Settings;
use crate::{bootstrap, logging};

/// Runs `migrate`, or `migrate --status` if `only_status` is set.
pub(crate) fn run(settings: &Settings, only_status: bool) -> Result<(), CliError> {
    if only_status { status(settings) } else { migrate(settings) }
}

/// Brings the schema up to date. The service does the same at its start.
fn migrate(settings: &Settings) -> Result<(), CliError> {
    logging::init(&settings.log);
    let database = bootstrap::database(settings)?;
    Migrations::of(database).run()?;
    list(database)
}

/// Lists the migrations and changes nothing.
fn status(settings: &Settings) -> Result<(), CliError> {
    list(bootstrap::database(settings)?)
}

fn list(database: &DatabaseUrl) -> Result<(), CliError> {
    let states = Migrations::of(database).states()?;
    print(states.into_iter().map(|state| {
        let applied = if state.applied { "applied" } else { "pending" };
        format!("{applied}  {}", state.name)
    }))
}
