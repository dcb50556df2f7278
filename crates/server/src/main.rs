//! The command line of the Portcullis authentication server.

mod config_check;
mod failure;
mod healthcheck;
mod keeper;
mod keys;
mod logging;
mod migrate;
mod openapi;
mod secret;
mod secret_file;
mod serve;
mod settings;
mod user;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;
use self::settings::{Settings, Sources};

/// A self-hosted authentication service: register, log in, refresh, protect.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, long_version = LONG_VERSION)]
struct Cli {
    /// Read this file instead of those in config/
    #[arg(short, long, global = true, value_name = "FILE")]
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
    /// Look after the secret
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Look at the keys that sign access tokens
    #[command(subcommand)]
    Keys(KeysCommand),
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
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Print a new secret
    Generate,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Print the id, the use and the time of each key
    List,
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
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let sources = || Sources::new(cli.config.clone(), std::env::vars_os());
    let settings = || Ok::<_, Failure>(Settings::load(&sources()?)?);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&settings()?),
        Command::Migrate { status: false } => migrate::run(&settings()?),
        Command::Migrate { status: true } => migrate::status(&settings()?),
        Command::Config(ConfigCommand::Check) => config_check::run(&sources()?),
        Command::User(UserCommand::Add { username }) => user::add(&settings()?, username),
        Command::Secret(SecretCommand::Generate) => secret::generate(),
        Command::Keys(KeysCommand::List) => keys::list(&settings()?),
        Command::Openapi => openapi::run(),
        Command::Healthcheck => healthcheck::run(&settings()?),
    }
}
