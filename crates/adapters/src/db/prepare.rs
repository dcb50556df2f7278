//! Makes a database ready for use, under a lock that lets one instance at a time do so.

mod error;
mod exclusive;
mod ready;

use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::time::UnixTime;

pub use self::error::PrepareError;
pub(super) use self::exclusive::{ExclusiveConnection, Missing};
pub(super) use self::ready::read_if_ready;
use super::access::Access;
use super::connection::AnyConnection;
use super::deployment::home::EventAt;
use super::deployment::{Deployment, Prepared};
use super::migrations::FoundSchema;
use super::postgres::server::check_existing_server;
use super::secrets::Fingerprints;
use super::{Database, DatabaseUrl, sqlite};
use crate::audit::AuditKeys;
use crate::keys::SecretFingerprint;
use crate::system::OsRandom;

impl Database {
    /// Connects and, under a lock, brings the schema up to date and holds this instance's secrets against the one the
    /// database is used with: `current` is the fingerprint of the secret in use, `accepted` those of the others it
    /// takes. Then opens the stores for use. Blocks while another instance prepares, for a minute at most. If a PostgreSQL
    /// database lacks nothing, it is only read, without the lock.
    ///
    /// The first instance of a database sets its secret; one that accepts the database's moves it to its own current
    /// one. So a secret is replaced in two steps: first every instance accepts the new one, then every instance has
    /// the new one and accepts the old. A secret that was refused when another was adopted
    /// ([`Deployment::replace_compromised`]) opens nothing any more, nor does it as an accepted one.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(
        &self,
        current: SecretFingerprint,
        accepted: &[SecretFingerprint],
    ) -> Result<(), PrepareError> {
        let secrets = Fingerprints { current, accepted: accepted.to_vec() };
        let event = |kind, at| SecurityEvent::new(kind, at, &ClientInfo::default(), &OsRandom);
        self.open(Missing::Create, secrets, None, &event)?;
        Ok(())
    }

    /// Checks that the database exists, is up to date and was used with this instance's secrets. Then opens the stores
    /// for reading. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn prepare_to_read(&self, keys: &AuditKeys) -> Result<(), PrepareError> {
        let secrets = Fingerprints::of(keys);
        let adoptions = Deployment::at(&self.url).prepare_to_read(&secrets)?;
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// The same for an instance that seals the audit log: if an accepted secret is replaced, the transaction also stores a
    /// hand-over from its audit key to the new one. `event` makes the event of what the preparation changes, and receives
    /// the time as that of [`Deployment::replace_compromised`] does.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare_with(
        &self,
        keys: &AuditKeys,
        event: impl Fn(EventKind, UnixTime) -> SecurityEvent,
    ) -> Result<Arrival, PrepareError> {
        self.open(Missing::Create, Fingerprints::of(keys), Some(keys), &event)
    }

    /// The same for a database that must exist: an empty one is refused, and nothing is created.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn prepare_existing(
        &self,
        keys: &AuditKeys,
        event: impl Fn(EventKind, UnixTime) -> SecurityEvent,
    ) -> Result<Arrival, PrepareError> {
        self.open(Missing::Refuse, Fingerprints::of(keys), Some(keys), &event)
    }

    fn open(
        &self,
        missing: Missing,
        secrets: Fingerprints,
        keys: Option<&AuditKeys>,
        event: EventAt<'_>,
    ) -> Result<Arrival, PrepareError> {
        let Prepared { adoptions, is_restored } =
            Deployment::at(&self.url).prepare(missing, &secrets, keys, event)?;
        if let DatabaseUrl::Sqlite(path) = &self.url {
            let file =
                sqlite::file::file_id(path).map_err(|error| PrepareError::of(&self.url, error.into()))?;
            self.file.get_or_init(|| file);
        }
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(if is_restored { Arrival::Restored } else { Arrival::Home })
    }
}

/// Whether a preparation found the database where it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is where an instance prepared it last, or no instance prepared it before.
    Home,
    /// It is a restored backup or a copy. Every session was ended, because some had ended since the copy was made.
    Restored,
}

/// Connects to a database that exists, is up to date and may be used by this build, to read it.
pub(super) fn connect_to_existing(url: &DatabaseUrl) -> Result<AnyConnection, PrepareError> {
    if let DatabaseUrl::Sqlite(path) = url {
        let is_there = sqlite::file::is_there(path);
        if !is_there.map_err(|error| PrepareError::of(url, error.into()))? {
            return Err(PrepareError::missing(path));
        }
    }
    check_existing_server(url)?;
    let connected = AnyConnection::connect_read_only(url);
    let mut connection = connected.map_err(|failure| PrepareError::of(url, failure))?;
    let schema = FoundSchema::read(url, &mut connection)?;
    schema.admit_binary()?;
    match () {
        () if schema.is_absent() => Err(PrepareError::without_tables(url)),
        () if !schema.is_current() => Err(PrepareError::Outdated),
        () => Ok(connection),
    }
}
