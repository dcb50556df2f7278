//! The command line of the Portcullis authentication server.

mod background;
mod bootstrap;
mod cli_error;
mod commands;
mod console;
mod listener;
mod logging;
mod machine;
mod running;
mod secret_file;
mod settings;
mod signals;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis_adapters::audit::Link;

use self::cli_error::CliError;
use self::commands::{audit, config, health, key, migrate, openapi, secret, session, user};
use self::listener::serve;
use self::settings::{Settings, Sources};

/// A self-hosted authentication service: register, log in, refresh, protect.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, long_version = LONG_VERSION)]
struct Cli {
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
        #[arg(long)]
        status: bool,
    },
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

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check every setting and print it with where it came from, secrets masked
    Check,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user, whose password is asked for or read from standard input
    Add {
        /// The user's name
        username: String,
    },
    /// Disable a user, who cannot log in then, and end the user's sessions
    Disable {
        /// The user's name
        username: String,
    },
    /// Let a disabled user log in again
    Enable {
        /// The user's name
        username: String,
    },
    /// Delete a user, whose name is free then, and end the user's sessions
    Delete {
        /// The user's name
        username: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set a user's password, which is asked for or read from standard input, and end the user's sessions
    SetPassword {
        /// The user's name
        username: String,
    },
    /// Print a user's sessions, a line each: id, when opened, last refreshed and over, address, user agent
    Sessions {
        /// The user's name
        username: String,
        /// End all of them instead
        #[arg(long)]
        end: bool,
    },
    /// List users whose stored password hash cannot be used, as after an import (exit code 1 if there are any)
    CheckHashes,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
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

#[derive(Debug, Subcommand)]
enum SecretCommand {
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

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Print the id, the use and the time of each key, by this machine's clock
    List,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verify that nobody changed the audit log, and name the first place where somebody did (exit code 1 then)
    Verify {
        /// A head that was kept elsewhere, against which nobody can cut the log unnoticed
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<Link>,
    },
    /// Delete the sealed events that are older than audit.retention, where the service's own role may not
    Trim,
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _drain = logging::DrainOnDrop;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let sources = || Sources::new(cli.config.clone(), std::env::vars_os());
    let settings = || Ok::<_, CliError>(Settings::load(&sources()?)?);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            logging::start_queue()?;
            serve::run(settings()?)
        }
        Command::Migrate { status: false } => migrate::run(&settings()?),
        Command::Migrate { status: true } => migrate::status(&settings()?),
        Command::Config(ConfigCommand::Check) => config::run(&sources()?),
        Command::User(command) => run_on_user(command, &settings()?),
        Command::Sessions(SessionsCommand::End { all: _, yes }) => session::end_all(&settings()?, yes),
        Command::Secret(SecretCommand::Generate) => secret::generate(),
        Command::Secret(SecretCommand::Adopt { yes }) => secret::adopt(&settings()?, yes),
        Command::Keys(KeysCommand::List) => key::list(&settings()?),
        Command::Audit(AuditCommand::Verify { head }) => audit::verify(&settings()?, head),
        Command::Audit(AuditCommand::Trim) => audit::trim(&settings()?),
        Command::Openapi => openapi::run(),
        Command::Healthcheck => health::run(&sources()?),
    }
}

fn run_on_user(command: UserCommand, settings: &Settings) -> Result<(), CliError> {
    match command {
        UserCommand::Add { username } => user::add(settings, username),
        UserCommand::Disable { username } => user::disable(settings, &username),
        UserCommand::Enable { username } => user::enable(settings, &username),
        UserCommand::Delete { username, yes } => user::delete(settings, &username, yes),
        UserCommand::SetPassword { username } => user::set_password(settings, &username),
        UserCommand::Sessions { username, end: false } => user::sessions(settings, &username),
        UserCommand::Sessions { username, end: true } => user::end_sessions(settings, &username),
        UserCommand::CheckHashes => user::check_hashes(settings),
    }
}
