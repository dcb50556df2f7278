use portcullis_adapters::db::Database;

use crate::failure::Failure;
use crate::logging;
use crate::settings::Settings;
use crate::terminal::print;
use crate::wire::{self, unprepared};

/// Brings the schema up to date. The service does the same at its start.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    logging::init(&settings.log);
    let database = wire::database(settings)?;
    database.migrate().map_err(unprepared)?;
    list(&database)
}

/// Lists the migrations and changes nothing.
pub(crate) fn status(settings: &Settings) -> Result<(), Failure> {
    list(&wire::database(settings)?)
}

fn list(database: &Database) -> Result<(), Failure> {
    let states = database.migrations().map_err(unprepared)?;
    print(states.into_iter().map(|state| {
        let applied = if state.applied { "applied" } else { "pending" };
        format!("{applied}  {}", state.name)
    }))
}
