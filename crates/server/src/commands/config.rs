//! The command `config check`: check every setting and print it with its source.

use clap::Subcommand;
use portcullis_domain::maintenance::{RETENTION, Retention};

use crate::cli_error::CliError;
use crate::console::print;
use crate::settings::{Sources, describe};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check every setting and print it with where it came from, secrets masked
    Check,
}

/// Runs a `config` command.
pub(crate) fn run(command: &ConfigCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check => check(sources),
    }
}

/// Checks every setting as a start would, then prints them, and how long the database keeps what is written.
fn check(sources: &Sources) -> Result<(), CliError> {
    let settings = describe(sources)?;
    print([format!("# environment: {}", sources.environment.name())])?;
    print(settings)?;
    print(RETENTION.map(|(what, kept)| match kept {
        Retention::Configured => format!("# kept: {what}: as long as audit.retention says"),
        kept => format!("# kept: {what}: {kept}"),
    }))
}
