//! The commands `sessions`: end all sessions.

use anyhow::Context as _;
use clap::Subcommand;
use portcullis_domain::admin::Authority;

use crate::bootstrap::{self, Purpose};
use crate::cli_error::CliError;
use crate::console::{confirm, print};
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// End sessions: everybody has to log in again
    End {
        /// End all sessions of all users
        #[arg(long, required = true)]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs a `sessions` command.
pub(crate) fn run(command: &SessionsCommand, settings: &Settings) -> Result<(), CliError> {
    match command {
        SessionsCommand::End { all: _, yes } => end_all(settings, *yes),
    }
}

/// Ends all sessions of everybody.
fn end_all(settings: &Settings, yes: bool) -> Result<(), CliError> {
    let admin = bootstrap::for_command(settings, Purpose::Change)?;
    confirm("End all sessions of everybody?", yes)?;
    admin.end_all_sessions(&Authority::operator()).context("cannot end the sessions")?;
    print(["every session ended; running instances refuse their tokens within a second"])
}
