//! The secrets of the settings.

use std::path::Path;

use portcullis_adapters::db::Deployment;
use portcullis_adapters::secret::{Secret, Secrets};

use crate::cli_error::CliError;
use crate::secret_file;
use crate::settings::{InvalidSetting, Settings};

/// Returns the settings' secrets, or in development those of the secret file. Creates that file unless the database was
/// used with another secret.
pub(super) fn secrets(settings: &Settings) -> Result<Secrets, CliError> {
    let needs_file = settings.secret.is_none() && settings.secret_file().is_some();
    match needs_file && Deployment::at(&settings.database).is_used()? {
        true => known_secrets(settings),
        false => secrets_by(settings, secret_file::load_or_make),
    }
}

/// Like [`secrets`], but creates nothing.
pub(crate) fn known_secrets(settings: &Settings) -> Result<Secrets, CliError> {
    secrets_by(settings, secret_file::load)
}

fn secrets_by(
    settings: &Settings,
    from_file: impl FnOnce(&Path) -> anyhow::Result<Secret>,
) -> Result<Secrets, CliError> {
    let current = match (&settings.secret, settings.secret_file()) {
        (Some(secret), _) => secret.clone(),
        (None, Some(file)) => {
            from_file(&file).map_err(|error| InvalidSetting::new(format!("secret: {error:#}")))?
        }
        (None, None) => return Err(InvalidSetting::new("secret is not set").into()),
    };
    Ok(Secrets::new(current, settings.accepted_secrets.iter().cloned()))
}
