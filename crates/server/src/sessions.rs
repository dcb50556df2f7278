use anyhow::Context as _;

use crate::failure::Failure;
use crate::settings::Settings;
use crate::terminal::{confirm, print};
use crate::wire::{self, Purpose};

/// Ends all sessions of everybody.
pub(crate) fn end_all(settings: &Settings, yes: bool) -> Result<(), Failure> {
    let service = wire::for_command(settings, Purpose::Change)?;
    confirm("End all sessions of everybody?", yes)?;
    service.end_all_sessions().context("cannot end the sessions")?;
    print(["every session ended; running instances refuse their tokens within a second"])
}
