//! Puts the service together: where adapters meet ports.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use portcullis_adapters::db::Database;
use portcullis_adapters::hashing::SchemeHasher;
use portcullis_adapters::jwt::JwtCodec;
use portcullis_adapters::keys::{KeyCheck, KeyRing};
use portcullis_adapters::refresh_token::MacRefreshTokenCodec;
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_adapters::system::{OsEntropy, SystemClock};
use portcullis_domain::ports::Clock;
use portcullis_domain::time::UnixTime;
use portcullis_domain::{AuthService, Ports};

use crate::failure::Failure;
use crate::migrate::unprepared;
use crate::secret_file;
use crate::settings::{InvalidSetting, Settings};

/// The parts of one instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub service: AuthService,
    pub ports: Ports,
    database: Arc<Database>,
    current_key: KeyCheck,
    accepted_keys: Vec<KeyCheck>,
}

impl Instance {
    /// Puts an instance together. Nothing is looked at yet but the secret.
    pub(crate) fn wire(settings: &Settings) -> Result<Self, Failure> {
        let database = Arc::new(Database::new(settings.database.clone(), settings.pool));
        let secrets = secrets(settings)?;
        let clock = Arc::new(clock());
        let entropy = Arc::new(OsEntropy);
        let keys = key_ring(settings, &secrets, clock.now());
        let access_tokens =
            JwtCodec::new(keys, settings.tokens.issuer.clone(), settings.tokens.audience.clone());
        let ports = Ports {
            users: database.clone(),
            sessions: database.clone(),
            events: database.clone(),
            health: database.clone(),
            hasher: Arc::new(SchemeHasher::new(settings.hashing, entropy.clone())),
            access_tokens: Arc::new(access_tokens),
            refresh_tokens: Arc::new(MacRefreshTokenCodec::new(&secrets)),
            clock,
            entropy,
        };
        Ok(Self {
            service: AuthService::new(ports.clone(), settings.rules.clone()),
            ports,
            database,
            current_key: KeyCheck::of(secrets.current()),
            accepted_keys: secrets.iter().skip(1).map(KeyCheck::of).collect(),
        })
    }

    /// Makes the database ready and holds the secret against it.
    ///
    /// # Errors
    /// [`Failure::Config`] when trying again changes nothing.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        self.database.prepare(self.current_key, &self.accepted_keys).map_err(unprepared)?;
        self.service.poll_revocations().context("cannot look up ended sessions")?;
        Ok(())
    }
}

/// The settings' secrets, or the one that development makes for itself.
fn secrets(settings: &Settings) -> Result<Secrets, Failure> {
    secrets_by(settings, secret_file::load_or_make)
}

/// The same, but nothing is made.
pub(crate) fn known_secrets(settings: &Settings) -> Result<Secrets, Failure> {
    secrets_by(settings, secret_file::load)
}

fn secrets_by(
    settings: &Settings,
    from_file: impl FnOnce(&Path) -> anyhow::Result<Secret>,
) -> Result<Secrets, Failure> {
    let current = match (&settings.secret, settings.secret_file()) {
        (Some(secret), _) => secret.clone(),
        (None, Some(file)) => {
            from_file(&file).map_err(|error| InvalidSetting::new(format!("secret: {error:#}")))?
        }
        (None, None) => return Err(InvalidSetting::new("secret is not set").into()),
    };
    Ok(Secrets::new(current, settings.accepted_secrets.iter().cloned()))
}

pub(crate) fn key_ring(settings: &Settings, secrets: &Secrets, now: UnixTime) -> KeyRing {
    KeyRing::new(secrets, settings.tokens.algorithm, settings.tokens.key_rotation, now)
}

pub(crate) fn clock() -> SystemClock {
    SystemClock::starting_at_least(UnixTime::EPOCH)
}
