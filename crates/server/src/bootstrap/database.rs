//! The storage in SQLite or PostgreSQL.

use std::sync::Arc;

use portcullis_adapters::audit::{AuditKeys, Sealer};
use portcullis_adapters::db::{
    Arrival, Copied, CopyError, CopyProgress, Database, DatabaseUrl, Deployment, PrepareError, copy,
};
use portcullis_adapters::files::absolute;
use portcullis_adapters::keys::SecretFingerprint;
use portcullis_adapters::secret::Secrets;
use portcullis_adapters::system::OsRandom;
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::uuid_v7;
use portcullis_domain::ports::Store;
use portcullis_domain::time::UnixTime;

use super::backend::{Backend, Seal};
use super::secrets::{known_secrets, secrets};
use crate::cli_error::CliError;
use crate::settings::{Audit, InvalidSetting, Settings};

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

/// The database of the settings, and the secrets that it is used with.
#[derive(Debug)]
pub(crate) struct DatabaseBackend {
    database: Arc<Database>,
    purpose: Purpose,
    current: SecretFingerprint,
    audit: Audit,
    audit_keys: Arc<AuditKeys>,
}

impl DatabaseBackend {
    /// Opens the database of the settings and returns the secrets that it is used with. Does not connect with
    /// [`Purpose::Create`], unless to see whether a missing secret file may be created.
    pub(crate) fn open(settings: &Settings, purpose: Purpose) -> Result<(Self, Secrets), CliError> {
        let database = match purpose {
            Purpose::Create | Purpose::Change => Database::new(settings.database.clone(), settings.pool),
            Purpose::Read => Database::read_only(settings.database.clone(), settings.pool),
        };
        let secrets = match purpose {
            Purpose::Create => secrets(settings)?,
            Purpose::Change | Purpose::Read => {
                Deployment::at(&settings.database).check_exists()?;
                known_secrets(settings)?
            }
        };
        let backend = Self {
            database: Arc::new(database),
            purpose,
            current: SecretFingerprint::of(secrets.current()),
            audit: settings.audit,
            audit_keys: Arc::new(AuditKeys::of(&secrets)),
        };
        Ok((backend, secrets))
    }

    /// Makes the database one that is used with this instance's secret, and ends all sessions.
    pub(crate) fn adopt(&self) -> Result<(), CliError> {
        let event = |now| operators_event(EventKind::SecretAdopted, now);
        let deployment = Deployment::at(self.database.url());
        Ok(deployment.replace_compromised(self.current, self.audit_keys.current(), event)?)
    }

    /// Copies everything from one database to another, with the secrets of this instance.
    pub(crate) fn copy(
        &self,
        to: &DatabaseUrl,
        progress: impl FnMut(CopyProgress),
    ) -> Result<Copied, CopyError> {
        copy(self.database.url(), to, &self.audit_keys, operators_event, progress)
    }

    /// Declares that the database moved, so that the sessions stay. Returns whether anything was to be done.
    pub(crate) fn declare_moved(&self) -> Result<bool, CliError> {
        Ok(Deployment::at(self.database.url()).declare_moved(&self.audit_keys, operators_event)?)
    }

    /// Returns a sealer regardless of the setting `audit.seal`.
    pub(crate) fn new_sealer(&self, now: UnixTime) -> Sealer {
        let (database, keys) = (Arc::clone(&self.database), Arc::clone(&self.audit_keys));
        Sealer::new(database, keys, uuid_v7(now, &OsRandom), self.audit.retention)
    }
}

impl Backend for DatabaseBackend {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.database) as _
    }

    fn location(&self) -> String {
        match self.database.url() {
            DatabaseUrl::Sqlite(path) => format!("sqlite://{}", absolute(path)),
            url @ DatabaseUrl::Postgres(_) => url.to_string(),
        }
    }

    fn may_be_awaited(&self) -> bool {
        matches!(self.database.url(), DatabaseUrl::Postgres(_))
    }

    fn prepare(&self) -> Result<(), CliError> {
        let arrival = match self.purpose {
            Purpose::Create => self.database.prepare_with(&self.audit_keys, operators_event)?,
            Purpose::Change => self.database.prepare_existing(&self.audit_keys, operators_event)?,
            Purpose::Read => {
                self.database.prepare_to_read(&self.audit_keys)?;
                Arrival::Home
            }
        };
        if arrival == Arrival::Restored {
            log::warn!(
                database = self.location();
                "the database was restored from a backup or copied, so every session was ended; see \
                 docs/operations/backup.md for what else came back, and if the database only moved, run \
                 `portcullis db moved` before the first start next time"
            );
        }
        Ok(())
    }

    /// Fails if the database's secret was replaced, if its contents were copied elsewhere, or if an unsupported pooler was
    /// put in front of the database.
    fn check(&self) -> Result<(), CliError> {
        if self.database.is_moved() {
            return Err(InvalidSetting::new(
                "database.url: the contents of the database were copied to another one while this instance ran; set the \
                 URL of that one",
            )
            .into());
        }
        if self.database.is_pooled() {
            return Err(PrepareError::Pooler.into());
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

    fn sealer(&self, now: UnixTime) -> Option<Box<dyn Seal>> {
        self.audit.seal.then(|| Box::new(self.new_sealer(now)) as _)
    }
}

fn operators_event(kind: EventKind, now: UnixTime) -> SecurityEvent {
    SecurityEvent::new(kind, now, &ClientInfo::default(), &OsRandom)
}
