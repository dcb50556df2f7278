//! The commands `db`: declare that a database moved.

use clap::Subcommand;

use crate::bootstrap::{DatabaseBackend, Purpose};
use crate::cli_error::CliError;
use crate::console::{confirm, print};
use crate::settings::Settings;
use crate::{logging, machine};

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Declare that the database moved and that no other copy of it is in use, so that the sessions stay
    ///
    /// Without this, a start on a database that was restored or copied ends every session. Run it before the first start
    /// after an upgrade of the PostgreSQL cluster or a move to another volume or machine.
    Moved {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs a `db` command.
pub(crate) fn run(command: &DbCommand, settings: &Settings) -> Result<(), CliError> {
    match command {
        DbCommand::Moved { yes } => moved(settings, *yes),
    }
}

fn moved(settings: &Settings, yes: bool) -> Result<(), CliError> {
    logging::init(&settings.log);
    machine::check_command(settings)?;
    let (backend, _secrets) = DatabaseBackend::open(settings, Purpose::Change)?;
    confirm(
        &format!(
            "Keep the sessions in {}? Only if it just moved and no other copy was used since: sessions that ended in \
             another copy would be valid again.",
            settings.database
        ),
        yes,
    )?;
    print([match backend.declare_moved()? {
        true => "the database is at home in its present place; its sessions stay",
        false => "the database is where it was when the service used it last; nothing was changed",
    }])
}
