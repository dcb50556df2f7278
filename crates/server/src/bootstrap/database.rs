//! How the binary uses its database.

use portcullis_adapters::db::PrepareError;

use crate::cli_error::CliError;
use crate::settings::InvalidSetting;

/// How a command uses the database and a secret file beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Created if missing. Only `serve` and `user add` do this; `migrate` creates only the database.
    Create,
    /// Changed, and refused if missing.
    Change,
    /// Only read, also on read-only storage, and refused if missing.
    Read,
}

/// Sorts the failures to prepare a database: trying again helps, or the settings must change.
pub(crate) fn unprepared(error: PrepareError) -> CliError {
    match error {
        PrepareError::Absent(_) => InvalidSetting::new(format!(
            "database.url: {error}; run the command in the folder of the service and with its settings (only `serve`, \
             `migrate` and `user add` create a database)"
        ))
        .into(),
        PrepareError::Unusable(..)
        | PrepareError::Encoding(_)
        | PrepareError::Refused(_)
        | PrepareError::Url(_)
        | PrepareError::Pooler
        | PrepareError::TooOld(_) => InvalidSetting::new(format!("database.url: {error}")).into(),
        PrepareError::OtherSecret => InvalidSetting::new(format!(
            "secret: {error}; set that one, or add it to accepted_secrets to replace it; if it has leaked, \
             replace it with this one by `portcullis secret adopt`, which signs out all users"
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
