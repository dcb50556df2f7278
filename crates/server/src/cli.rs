//! The command line: its options, and the command that each of its words stands for.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cli_error::CliError;
use crate::commands::audit::AuditCommand;
use crate::commands::config::ConfigCommand;
use crate::commands::db::DbCommand;
use crate::commands::key::KeysCommand;
use crate::commands::migrate::MigrateMode;
use crate::commands::secret::SecretCommand;
use crate::commands::session::SessionsCommand;
use crate::commands::user::UserCommand;
use crate::commands::{audit, backup, config, db, health, key, migrate, openapi, secret, session, user};
use crate::listener::serve;
use crate::logging;
use crate::settings::{Settings, Sources};

/// A self-hosted authentication service: register, log in, refresh, protect.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, long_version = LONG_VERSION)]
pub(crate) struct Cli {
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        help = "Read this file instead of those in config/, as the variable PORTCULLIS_CONFIG does"
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (what happens without a command)
    Serve,
    /// Bring the database's schema up to date
    Migrate {
        /// Only list the migrations and whether the database has them
        #[arg(long, conflicts_with = "plan")]
        status: bool,
        /// Only show what would run: the statements, with the lock and the work of each
        #[arg(long)]
        plan: bool,
        /// Show the plan as JSON
        #[arg(long, requires = "plan")]
        json: bool,
    },
    /// Back up a SQLite database to a file, also while the service runs
    Backup {
        /// Where to write the backup
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Copy the database to another one, or declare that it moved
    #[command(subcommand)]
    Db(DbCommand),
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after users
    #[command(subcommand)]
    User(UserCommand),
    /// Look after everybody's sessions
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Look after the secret
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Look at the keys that sign access tokens
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look after the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print the OpenAPI description of the HTTP interface
    Openapi,
    /// Ask the service on this machine whether it lives (exit code 0 if it does)
    Healthcheck,
}

/// Runs the command of a command line; `serve` if it names none.
pub(crate) fn run(cli: Cli) -> Result<(), CliError> {
    let sources = || Sources::new(cli.config.clone(), std::env::vars_os());
    let settings = || Ok::<_, CliError>(Settings::load(&sources()?)?);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            logging::start_queue()?;
            serve::run(settings()?)
        }
        Command::Migrate { status, plan, json } => {
            let mode = match (status, plan) {
                (true, _) => MigrateMode::Status,
                (_, true) => MigrateMode::Plan { json },
                _ => MigrateMode::Run,
            };
            migrate::run(&settings()?, mode)
        }
        Command::Backup { file, overwrite } => backup::run(&settings()?, &file, overwrite),
        Command::Db(command) => db::run(&command, settings()?),
        Command::Config(command) => config::run(&command, &sources()?),
        Command::User(command) => user::run(&command, &settings()?),
        Command::Sessions(command) => session::run(&command, &settings()?),
        Command::Secret(command) => secret::run(&command, settings),
        Command::Keys(command) => key::run(&command, &settings()?),
        Command::Audit(command) => audit::run(&command, &settings()?),
        Command::Openapi => openapi::run(),
        Command::Healthcheck => health::run(&sources()?),
    }
}

#[cfg(not(feature = "governor"))]
const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nLicensed under MIT OR Apache-2.0.");

#[cfg(feature = "governor")]
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nThe source is licensed under MIT OR Apache-2.0. This binary links actix-governor and is therefore\n\
     conveyed under GPL-3.0-or-later; its source is at ",
    env!("CARGO_PKG_REPOSITORY"),
);
