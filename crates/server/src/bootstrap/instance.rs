//! One instance: the service and the adapters of its ports.

use std::sync::Arc;

use anyhow::Context as _;
use portcullis_adapters::account_keys::MacAccountKeys;
use portcullis_adapters::audit::{AuditKeys, Sealer};
use portcullis_adapters::db::{Database, PrepareError};
use portcullis_adapters::hashing::{HashPool, SchemeHasher};
use portcullis_adapters::keys::SecretFingerprint;
use portcullis_adapters::system::{OsRandom, SystemClock};
use portcullis_adapters::token::jwt::JwtCodec;
use portcullis_adapters::token::refresh::MacRefreshTokenCodec;
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::uuid_v7;
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::password::PasswordHasher;
use portcullis_domain::ports::{Clock as _, SecureRandom};
use portcullis_domain::time::UnixTime;
use portcullis_domain::{Core, Ports};

use super::database::{Purpose, unprepared};
use super::secrets::{key_ring, known_secrets, secrets};
use crate::cli_error::CliError;
use crate::settings::{Audit, InvalidSetting, Settings};

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

    pub(super) fn open_stores(&self) -> Result<(), CliError> {
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

    pub(super) fn new_sealer(&self) -> Sealer {
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

/// Threads that hash. Their queue holds what the password pool admits; only the pool refuses callers.
fn hash_threads(settings: &Settings, random: Arc<dyn SecureRandom>) -> Result<HashPool, CliError> {
    let hasher: Arc<dyn PasswordHasher> = Arc::new(SchemeHasher::new(settings.hashing, random));
    let pool = settings.password_pool;
    let threads = HashPool::start(&hasher, pool.hashing_threads, pool.threads());
    Ok(threads.context("cannot start the threads that hash")?)
}
