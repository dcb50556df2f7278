//! Puts the service together: where adapters meet ports.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use portcullis_adapters::account_keys::MacAccountKeys;
use portcullis_adapters::audit::{AuditError, AuditKeys, Link, Sealer, Verified};
use portcullis_adapters::db::{Database, PrepareError};
use portcullis_adapters::hashing::{HashPool, SchemeHasher};
use portcullis_adapters::keys::{KeyRing, SecretFingerprint};
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_adapters::system::{OsRandom, SystemClock};
use portcullis_adapters::token::jwt::JwtCodec;
use portcullis_adapters::token::refresh::MacRefreshTokenCodec;
use portcullis_domain::admin::Admin;
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::uuid_v7;
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::password::PasswordHasher;
use portcullis_domain::ports::{Clock as _, SecureRandom};
use portcullis_domain::time::UnixTime;
use portcullis_domain::{Core, Ports};

use crate::cli_error::CliError;
use crate::settings::{Audit, InvalidSetting, Settings};
use crate::{logging, machine, secret_file};

/// How a command uses the database and a secret file beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Created if missing. Only `serve` and `user add` do this; `migrate` creates only the database.
    Create,
    /// Changed, and refused if missing.
    Change,
    /// Only read, also on read-only storage, and refused if missing.
    Read,
}

/// The parts of one instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub core: Arc<Core>,
    pub maintenance: Maintenance,
    pub ports: Ports,
    database: Arc<Database>,
    current_key: SecretFingerprint,
    audit: Audit,
    audit_keys: Arc<AuditKeys>,
    purpose: Purpose,
}

impl Instance {
    /// Puts an instance together. With [`Purpose::Create`], only the secret is read.
    pub(crate) fn assemble(settings: &Settings, purpose: Purpose) -> Result<Self, CliError> {
        let database = match purpose {
            Purpose::Create | Purpose::Change => Database::new(settings.database.clone(), settings.pool),
            Purpose::Read => Database::read_only(settings.database.clone(), settings.pool),
        };
        let database = Arc::new(database);
        let secrets = match purpose {
            Purpose::Create => secrets(settings, &database)?,
            Purpose::Change | Purpose::Read => {
                database.check_exists().map_err(unprepared)?;
                known_secrets(settings)?
            }
        };
        let clock = Arc::new(SystemClock::new());
        let random = Arc::new(OsRandom);
        let keys = key_ring(settings, &secrets, clock.now());
        let access_tokens =
            JwtCodec::new(keys, settings.tokens.issuer.clone(), settings.tokens.audience.clone())
                .remembering(settings.tokens.cache);
        let ports = Ports {
            store: database.clone(),
            hasher: Arc::new(hash_threads(settings, random.clone())?),
            access_tokens: Arc::new(access_tokens),
            refresh_tokens: Arc::new(MacRefreshTokenCodec::new(&secrets)),
            account_keys: Arc::new(MacAccountKeys::new(&secrets)),
            clock,
            random,
        };
        let core = Core::new(ports.clone(), settings.rules.clone());
        Ok(Self {
            maintenance: Maintenance::new(&core),
            core,
            ports,
            database,
            current_key: SecretFingerprint::of(secrets.current()),
            audit: settings.audit,
            audit_keys: Arc::new(AuditKeys::of(&secrets)),
            purpose,
        })
    }

    /// Makes the database ready, holds the secret against it, and sets the clock by it.
    ///
    /// # Errors
    /// [`CliError::Config`] when trying again changes nothing; [`CliError::Clock`] when only the clock is not ready.
    pub(crate) fn prepare(&self) -> Result<(), CliError> {
        self.open_stores()?;
        // Readiness fails until the first check. The background thread repeats the check and logs its outcome.
        let _checked = self.maintenance.check_writes();
        Ok(self.maintenance.sync()?)
    }

    fn open_stores(&self) -> Result<(), CliError> {
        let event = |now| self.operators_event(EventKind::SecretReplaced, now);
        let prepared = match self.purpose {
            Purpose::Create => self.database.prepare_with(&self.audit_keys, event),
            Purpose::Change => self.database.prepare_existing(&self.audit_keys, event),
            Purpose::Read => self.database.prepare_to_read(&self.audit_keys),
        };
        prepared.map_err(unprepared)
    }

    /// What seals the audit log, unless a setting says that nothing does.
    pub(crate) fn sealer(&self) -> Option<Sealer> {
        self.audit.seal.then(|| self.new_sealer())
    }

    fn new_sealer(&self) -> Sealer {
        let instance = uuid_v7(self.ports.clock.now(), self.ports.random.as_ref());
        let keys = Arc::clone(&self.audit_keys);
        Sealer::new(Arc::clone(&self.database), keys, instance, self.audit.retention)
    }

    /// Fails if the database's secret was replaced, or if an unsupported pooler was put in front of the database.
    pub(crate) fn check_database(&self) -> Result<(), CliError> {
        if self.database.is_pooled() {
            return Err(unprepared(PrepareError::Pooler));
        }
        match self.database.is_foreign() {
            true => Err(InvalidSetting::new(
                "secret: the database's was replaced while this instance ran; start it with the one in use, and \
                 after `portcullis secret adopt` with that one alone",
            )
            .into()),
            false => Ok(()),
        }
    }

    /// Makes the database one that is used with this instance's secret, and ends all sessions.
    pub(crate) fn adopt(&self) -> Result<(), CliError> {
        let event = |now| self.operators_event(EventKind::SecretAdopted, now);
        self.database
            .replace_compromised(self.current_key, self.audit_keys.current(), event)
            .map_err(unprepared)
    }

    fn operators_event(&self, kind: EventKind, now: UnixTime) -> SecurityEvent {
        SecurityEvent::new(kind, now, &ClientInfo::default(), self.ports.random.as_ref())
    }
}

/// The sealer as a command uses it.
pub(crate) fn sealer_for_command(settings: &Settings) -> Result<Sealer, CliError> {
    logging::init(&settings.log);
    let instance = Instance::assemble(settings, Purpose::Change)?;
    instance.open_stores()?;
    Ok(instance.new_sealer())
}

/// Verifies the audit log with the settings' secrets. Makes and changes nothing.
pub(crate) fn verify_audit(
    settings: &Settings,
    kept: Option<Link>,
    progress: impl FnMut(i64, i64),
) -> Result<Verified, CliError> {
    let database = database(settings)?;
    database.check_exists().map_err(unprepared)?;
    let keys = AuditKeys::of(&known_secrets(settings)?);
    database.verify_audit(&keys, kept, progress).map_err(|error| match error {
        AuditError::Unreachable(error) => unprepared(error),
        error => anyhow::Error::new(error).context("the audit log is not good").into(),
    })
}

/// Returns what a command administers users and sessions with. A clock that is off does not keep an operator from locking somebody out.
pub(crate) fn for_command(settings: &Settings, purpose: Purpose) -> Result<Admin, CliError> {
    logging::init(&settings.log);
    machine::check_command(settings)?;
    let instance = Instance::assemble(settings, purpose)?;
    instance.open_stores()?;
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
pub(crate) fn database(settings: &Settings) -> Result<Database, CliError> {
    machine::check_command(settings)?;
    Ok(Database::new(settings.database.clone(), settings.pool))
}

/// Sorts the failures to prepare a database: trying again helps, or the settings must change.
pub(crate) fn unprepared(error: PrepareError) -> CliError {
    match error {
        PrepareError::Absent(_) => InvalidSetting::new(format!(
            "database.url: {error}; run the command in the folder of the service and with its settings (only `serve`, \
             `migrate` and `user add` create a database)"
        ))
        .into(),
        PrepareError::Unusable(..)
        | PrepareError::Encoding(_)
        | PrepareError::Refused(_)
        | PrepareError::Url(_)
        | PrepareError::Pooler
        | PrepareError::TooOld(_) => InvalidSetting::new(format!("database.url: {error}")).into(),
        PrepareError::OtherSecret => InvalidSetting::new(format!(
            "secret: {error}; set that one, or add it to accepted_secrets to replace it; if it has leaked, \
             replace it with this one by `portcullis secret adopt`, which signs out all users"
        ))
        .into(),
        PrepareError::RefusedSecret => {
            InvalidSetting::new(format!("secret: {error}; set the one in use, or adopt a new one")).into()
        }
        PrepareError::RefusedAcceptedSecret => {
            InvalidSetting::new(format!("accepted_secrets: {error}; take it out")).into()
        }
        PrepareError::Unreachable(_)
        | PrepareError::Denied(..)
        | PrepareError::Outdated
        | PrepareError::Migration(_) => anyhow::Error::new(error).into(),
    }
}

/// Returns the settings' secrets, or in development those of the secret file. Creates that file unless the database was
/// used with another secret.
fn secrets(settings: &Settings, database: &Database) -> Result<Secrets, CliError> {
    let needs_file = settings.secret.is_none() && settings.secret_file().is_some();
    match needs_file && database.is_used().map_err(unprepared)? {
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

/// Threads that hash. Their queue holds what the password pool admits; only the pool refuses callers.
fn hash_threads(settings: &Settings, random: Arc<dyn SecureRandom>) -> Result<HashPool, CliError> {
    let hasher: Arc<dyn PasswordHasher> = Arc::new(SchemeHasher::new(settings.hashing, random));
    let pool = settings.password_pool;
    let threads = HashPool::start(&hasher, pool.hashing_threads, pool.threads());
    Ok(threads.context("cannot start the threads that hash")?)
}

pub(crate) fn key_ring(settings: &Settings, secrets: &Secrets, now: UnixTime) -> KeyRing {
    KeyRing::new(secrets, settings.tokens.algorithm, settings.tokens.key_rotation, now)
        .publishing(settings.tokens.published_keys)
}
