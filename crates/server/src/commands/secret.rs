//! The commands `secret`: create a secret, and replace a leaked one.

use clap::Subcommand;
use portcullis_adapters::secret::Secret;
use portcullis_adapters::system::OsRandom;

use crate::bootstrap::{DatabaseBackend, Purpose};
use crate::cli_error::CliError;
use crate::console::{confirm, print};
use crate::settings::{InvalidSetting, Settings};
use crate::{logging, machine};

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Print a new secret
    Generate,
    /// Put the configured secret in the place of the database's, which others know, for good, and end all sessions and
    /// running instances
    Adopt {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs a `secret` command. Loads the settings only for those that need them.
pub(crate) fn run(
    command: &SecretCommand,
    settings: impl FnOnce() -> Result<Settings, CliError>,
) -> Result<(), CliError> {
    match command {
        SecretCommand::Generate => generate(),
        SecretCommand::Adopt { yes } => adopt(&settings()?, *yes),
    }
}

/// Prints a new secret.
fn generate() -> Result<(), CliError> {
    print([Secret::generate(&OsRandom).expose()])
}

/// Puts the configured secret in the place of the one that the database is used with, refuses all others that it knows,
/// and ends all sessions and all running instances.
fn adopt(settings: &Settings, yes: bool) -> Result<(), CliError> {
    if !settings.accepted_secrets.is_empty() {
        return Err(InvalidSetting::new(
            "accepted_secrets: must be empty to adopt a secret, or whoever knows one of these could go on forging \
             tokens",
        )
        .into());
    }
    logging::init(&settings.log);
    machine::check_command(settings)?;
    let (backend, _secrets) = DatabaseBackend::open(settings, Purpose::Change)?;
    confirm(
        &format!(
            "Use {} with the configured secret alone, refuse all others that it knows for good, and end all sessions \
             and running instances?",
            settings.database
        ),
        yes,
    )?;
    backend.adopt()?;
    print([
        "the database is used with the configured secret alone and refuses all others that it knew for good, \
         and every session ended; running instances end by themselves within a second: start them with this \
         secret",
    ])
}
