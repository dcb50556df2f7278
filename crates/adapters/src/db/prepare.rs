//! Makes a database ready for use, under a lock that lets one instance at a time do so.

mod error;
mod exclusive;

use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;

pub use self::error::PrepareError;
use self::exclusive::{ExclusiveConnection, Missing};
use super::access::Access;
use super::audit::statements;
use super::connection::AnyConnection;
use super::error::store_error;
use super::postgres::server::check_existing_server;
use super::secrets::{self, Fingerprints, Known};
use super::stores::audit_log::insert_event;
use super::{Database, DatabaseUrl, deployment, migrations, sqlite};
use crate::audit::{AuditKey, AuditKeys};
use crate::keys::SecretFingerprint;

impl Database {
    /// Connects and, under a lock, brings the schema up to date and holds this instance's secrets against the one the
    /// database is used with: `current` is the fingerprint of the secret in use, `accepted` those of the others it
    /// takes. Then opens the stores for use. Blocks while another instance prepares, for a minute at most.
    ///
    /// The first instance of a database sets its secret; one that accepts the database's moves it to its own current
    /// one. So a secret is replaced in two steps: first every instance accepts the new one, then every instance has
    /// the new one and accepts the old. A secret that was refused when another was adopted
    /// ([`Database::replace_compromised`]) opens nothing any more, nor does it as an accepted one.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(
        &self,
        current: SecretFingerprint,
        accepted: &[SecretFingerprint],
    ) -> Result<(), PrepareError> {
        self.open(Missing::Create, Fingerprints { current, accepted: accepted.to_vec() }, None)
    }

    /// Checks that the database exists, is up to date and was used with this instance's secrets. Then opens the stores
    /// for reading. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn prepare_to_read(&self, keys: &AuditKeys) -> Result<(), PrepareError> {
        let secrets = Fingerprints::of(keys);
        let adoptions = prepare_to_read(&self.url, &secrets)?;
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// Checks that the database exists and has this service's tables. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn check_exists(&self) -> Result<(), PrepareError> {
        check_exists(&self.url)
    }

    /// Whether the database exists and an instance has used it with a secret. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn is_used(&self) -> Result<bool, PrepareError> {
        is_used(&self.url)
    }

    /// The same for who keeps an audit log: where an accepted secret is replaced, a hand-over from its audit key to the
    /// new one's is left in the same transaction, with `event`, which is told the time as that of
    /// [`Database::replace_compromised`] is.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare_with(
        &self,
        keys: &AuditKeys,
        event: impl Fn(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        self.open(Missing::Create, Fingerprints::of(keys), Some(Replacing { keys, event: &event }))
    }

    /// The same for a database that must exist: an empty one is refused, and nothing is created.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn prepare_existing(
        &self,
        keys: &AuditKeys,
        event: impl Fn(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        self.open(Missing::Refuse, Fingerprints::of(keys), Some(Replacing { keys, event: &event }))
    }

    fn open(
        &self,
        missing: Missing,
        secrets: Fingerprints,
        replacing: Option<Replacing<'_>>,
    ) -> Result<(), PrepareError> {
        let adoptions = prepare(&self.url, missing, &secrets, replacing)?;
        if let DatabaseUrl::Sqlite(path) = &self.url {
            let file =
                sqlite::file::file_id(path).map_err(|error| PrepareError::of(&self.url, error.into()))?;
            self.file.get_or_init(|| file);
        }
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// Replaces the secret that the database is used with, for example after a leak. Connects to a database that must
    /// exist, brings the schema up to date and, in one transaction, replaces the fingerprint, refuses from now on every
    /// other secret that an instance ever had or accepted here, ends every session and records the event. `key`, the
    /// adopted secret's, signs in the audit log that older keys prove nothing any more. Does not open the stores.
    ///
    /// No clock of the caller's is aligned yet, so `event` is told what one would show: the database's time, or the
    /// newest mark in it if that is later. No clock shows an earlier time from then on, since new sessions would be
    /// taken for old ones. Every instance that runs sees it with its next look
    /// and is over ([`Database::is_foreign`]).
    ///
    /// # Errors
    /// [`PrepareError`], also where this secret is refused already; nothing was changed then but the schema.
    pub fn replace_compromised(
        &self,
        adopted: SecretFingerprint,
        key: &AuditKey,
        event: impl FnOnce(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        replace_compromised(&self.url, adopted, key, event)
    }

    /// Connects and brings the schema up to date under the same lock. Does not open the stores.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn migrate(&self) -> Result<(), PrepareError> {
        migrate(&self.url)
    }
}

/// Brings the schema up to date, and creates what is missing.
fn migrate(url: &DatabaseUrl) -> Result<(), PrepareError> {
    ExclusiveConnection::open(url, Missing::Create)?.migrate()
}

/// Connects to a database that exists and is up to date, to read it.
pub(super) fn connect_to_look(url: &DatabaseUrl) -> Result<AnyConnection, PrepareError> {
    if let DatabaseUrl::Sqlite(path) = url {
        let is_there = sqlite::file::is_there(path);
        if !is_there.map_err(|error| PrepareError::of(url, error.into()))? {
            return Err(PrepareError::missing(path));
        }
    }
    check_existing_server(url)?;
    let connected = AnyConnection::connect_to_look(url);
    let mut connection = connected.map_err(|failure| PrepareError::of(url, failure))?;
    let states = migrations::states(url, &mut connection)?;
    match states.iter().filter(|state| state.applied).count() {
        0 => Err(PrepareError::without_tables(url)),
        applied if applied < states.len() => Err(PrepareError::Outdated),
        _ => Ok(connection),
    }
}

/// Checks that the database exists and has this service's tables.
pub(super) fn check_exists(url: &DatabaseUrl) -> Result<(), PrepareError> {
    match connect_to_look(url) {
        Ok(_) | Err(PrepareError::Outdated) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Compares an instance's secrets with the database's and changes nothing. Returns how often a secret was adopted so far.
fn prepare_to_read(url: &DatabaseUrl, fingerprints: &Fingerprints) -> Result<i64, PrepareError> {
    let mut connection = connect_to_look(url)?;
    let known = Known::read(&mut connection).map_err(|error| PrepareError::of(url, error.into()))?;
    known.admit(fingerprints)?;
    Ok(known.adoptions)
}

/// Whether the database exists and an instance has used it with a secret.
fn is_used(url: &DatabaseUrl) -> Result<bool, PrepareError> {
    match connect_to_look(url) {
        Ok(mut connection) => {
            let known = Known::read(&mut connection).map_err(|error| PrepareError::of(url, error.into()))?;
            Ok(known.is_any_in_use())
        }
        // Tables of an older build were used by it.
        Err(PrepareError::Outdated) => Ok(true),
        Err(PrepareError::Absent(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is left behind where an instance's secret takes the place of another: a hand-over of the audit log, and the event
/// of the time that an aligned clock would show.
struct Replacing<'a> {
    keys: &'a AuditKeys,
    event: &'a dyn Fn(UnixTime) -> SecurityEvent,
}

/// Brings the schema up to date and holds an instance's secrets against the database's. Returns how often a secret was
/// adopted so far.
fn prepare(
    url: &DatabaseUrl,
    missing: Missing,
    fingerprints: &Fingerprints,
    replacing: Option<Replacing<'_>>,
) -> Result<i64, PrepareError> {
    let mut exclusive = ExclusiveConnection::open(url, missing)?;
    exclusive.migrate()?;
    let known = exclusive.known_secrets()?;
    known.admit(fingerprints)?;
    // Where nothing is new, it only reads.
    if !known.says_it_all(fingerprints) {
        exclusive.transaction(|connection| {
            known.learn(connection, fingerprints).map_err(store_error)?;
            match (replacing, known.replaced_by(fingerprints)) {
                (Some(replacing), Some(old)) => hand_over(connection, &replacing, old),
                _ => Ok(()),
            }
        })?;
    }
    Ok(known.adoptions)
}

fn hand_over(
    connection: &mut AnyConnection,
    replacing: &Replacing<'_>,
    old: &[u8],
) -> Result<(), StoreError> {
    let time = deployment::look(connection).map_err(store_error)?.time;
    let event = (replacing.event)(time.now.max(time.high_water_mark));
    if let Some(old) = replacing.keys.accepted(old) {
        statements::hand_over(connection, &replacing.keys.current, old, event.at)?;
    }
    insert_event(connection, &event)
}

/// Brings the schema up to date, puts another secret in the place of the database's, refuses all others that it knows
/// and ends all sessions. `event` is told the time that an aligned clock would show.
fn replace_compromised(
    url: &DatabaseUrl,
    adopted: SecretFingerprint,
    key: &AuditKey,
    event: impl FnOnce(UnixTime) -> SecurityEvent,
) -> Result<(), PrepareError> {
    let mut exclusive = ExclusiveConnection::open(url, Missing::Refuse)?;
    exclusive.migrate()?;
    let known = exclusive.known_secrets()?;
    known.admit_new(adopted)?;
    exclusive.transaction(|connection| {
        let fingerprints = Fingerprints { current: adopted, accepted: Vec::new() };
        known.learn(connection, &fingerprints).map_err(store_error)?;
        secrets::refuse_all_but(connection, adopted).map_err(store_error)?;
        let time = deployment::look(connection).map_err(store_error)?.time;
        let event = event(time.now.max(time.high_water_mark));
        deployment::invalidate_all(connection, event.at).map_err(store_error)?;
        statements::adoption(connection, key, event.at)?;
        insert_event(connection, &event)
    })
}
