use anyhow::Context as _;

use crate::bootstrap::{self, Purpose};
use crate::cli_error::CliError;
use crate::console::{confirm, print};
use crate::settings::Settings;

/// Ends all sessions of everybody.
pub(crate) fn end_all(settings: &Settings, yes: bool) -> Result<(), CliError> {
    let service = bootstrap::for_command(settings, Purpose::Change)?;
    confirm("End all sessions of everybody?", yes)?;
    service.end_all_sessions().context("cannot end the sessions")?;
    print(["every session ended; running instances refuse their tokens within a second"])
}
