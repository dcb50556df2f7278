//! What commands other than `serve` need of an instance.

use portcullis_adapters::audit::{self, AuditError, AuditKeys, Link, Sealer, Verified};
use portcullis_adapters::db::{DatabaseUrl, Deployment};
use portcullis_adapters::system::SystemClock;
use portcullis_domain::admin::Admin;
use portcullis_domain::ports::Clock as _;

use super::backend::Backend as _;
use super::database::{DatabaseBackend, Purpose};
use super::instance::Instance;
use super::secrets::known_secrets;
use crate::cli_error::CliError;
use crate::settings::Settings;
use crate::{logging, machine};

/// The sealer as a command uses it.
pub(crate) fn sealer_for_command(settings: &Settings) -> Result<Sealer, CliError> {
    logging::init(&settings.log);
    let (backend, _secrets) = DatabaseBackend::open(settings, Purpose::Change)?;
    backend.prepare()?;
    Ok(backend.new_sealer(SystemClock::new().now()))
}

/// Verifies the audit log with the settings' secrets. Makes and changes nothing.
pub(crate) fn verify_audit(
    settings: &Settings,
    kept: Option<Link>,
    progress: impl FnMut(i64, i64),
) -> Result<Verified, CliError> {
    let database = database(settings)?;
    Deployment::at(database).check_exists()?;
    let keys = AuditKeys::of(&known_secrets(settings)?);
    audit::verify(database, &keys, kept, progress).map_err(|error| match error {
        AuditError::Unreachable(error) => error.into(),
        error => anyhow::Error::new(error).context("the audit log is not good").into(),
    })
}

/// Returns what a command administers users and sessions with. A clock that is off does not keep an operator from locking
/// somebody out.
pub(crate) fn for_command(settings: &Settings, purpose: Purpose) -> Result<Admin, CliError> {
    logging::init(&settings.log);
    machine::check_command(settings)?;
    let instance = Instance::assemble(settings, purpose)?;
    instance.backend().prepare()?;
    let admin = Admin::new(&instance.core);
    match instance.maintenance.set_clock().map_err(CliError::from) {
        Ok(()) => Ok(admin),
        Err(error @ CliError::Clock(_)) => {
            log::warn!("{error}");
            Ok(admin)
        }
        Err(error) => Err(error),
    }
}

/// Returns the settings' database for a command. Does not connect.
pub(crate) fn database(settings: &Settings) -> Result<&DatabaseUrl, CliError> {
    machine::check_command(settings)?;
    Ok(&settings.database)
}
