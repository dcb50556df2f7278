use portcullis_adapters::db::{Database, PrepareError};

use crate::failure::Failure;
use crate::logging;
use crate::settings::{InvalidSetting, Settings};
use crate::terminal::print;

/// Brings the schema up to date. The service does the same at its start.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    logging::init(&settings.log);
    let database = Database::new(settings.database.clone(), settings.pool);
    database.migrate().map_err(unprepared)?;
    list(&database)
}

/// Lists the migrations and changes nothing.
pub(crate) fn status(settings: &Settings) -> Result<(), Failure> {
    list(&Database::new(settings.database.clone(), settings.pool))
}

fn list(database: &Database) -> Result<(), Failure> {
    let states = database.migrations().map_err(unprepared)?;
    print(states.into_iter().map(|state| {
        let applied = if state.applied { "applied" } else { "pending" };
        format!("{applied}  {}", state.name)
    }))
}

/// What cannot be used is a matter of settings; what cannot be reached may come back.
pub(crate) fn unprepared(error: PrepareError) -> Failure {
    match error {
        PrepareError::Unusable(..)
        | PrepareError::Encoding(_)
        | PrepareError::Refused(_)
        | PrepareError::Url(_)
        | PrepareError::Pooler
        | PrepareError::TooOld(_) => InvalidSetting::new(format!("database.url: {error}")).into(),
        PrepareError::OtherSecret => InvalidSetting::new(format!(
            "secret: {error}; set that one, or add it to accepted_secrets to replace it; if others know it, \
             `portcullis secret adopt` puts this one in its place for good and signs everybody out"
        ))
        .into(),
        PrepareError::RefusedSecret => {
            InvalidSetting::new(format!("secret: {error}; set the one in use, or adopt a new one")).into()
        }
        PrepareError::RefusedAcceptedSecret => {
            InvalidSetting::new(format!("accepted_secrets: {error}; take it out")).into()
        }
        PrepareError::Unreachable(_)
        | PrepareError::Denied(..)
        | PrepareError::Outdated
        | PrepareError::Migration(_) => anyhow::Error::new(error).into(),
    }
}
