//! The command line of the Portcullis authentication server.

mod advice;
mod background;
mod bootstrap;
mod cli;
mod cli_error;
mod commands;
mod console;
mod listener;
mod logging;
mod machine;
mod rfc3339;
mod running;
mod secret_file;
mod settings;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

use self::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _drain = logging::DrainOnDrop;
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
