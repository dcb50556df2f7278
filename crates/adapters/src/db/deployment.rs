//! What all instances over one database share: its secrets, and the one row of `deployment`.

pub(super) mod home;
pub(super) mod place;
mod row;

use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;

use self::home::EventAt;
pub(super) use self::row::{
    Shared, cursor, invalidate_all, now, position, raise_high_water_mark, raise_valid_from, read_shared,
    take_turn, valid_from,
};
use super::audit::statements;
use super::connection::AnyConnection;
use super::error::store_error;
use super::prepare::{ExclusiveConnection, Missing, connect_to_existing, read_if_ready};
use super::secrets::{self, Fingerprints, Known};
use super::stores::audit_log::insert_event;
use super::{DatabaseUrl, PrepareError};
use crate::audit::{AuditKey, AuditKeys};
use crate::keys::SecretFingerprint;

/// The deployment that a database belongs to: whether there is one, and with which secret. Every method connects by
/// itself, so it needs no [`Database`](super::Database).
#[derive(Clone, Copy, Debug)]
pub struct Deployment<'a> {
    url: &'a DatabaseUrl,
}

impl<'a> Deployment<'a> {
    /// The deployment whose database is at `url`. Does not connect.
    pub fn at(url: &'a DatabaseUrl) -> Self {
        Self { url }
    }

    /// Checks that the database exists and has this service's tables. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn check_exists(self) -> Result<(), PrepareError> {
        match connect_to_existing(self.url) {
            Ok(_) | Err(PrepareError::Outdated) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the database exists and an instance has used it with a secret. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn is_used(self) -> Result<bool, PrepareError> {
        match connect_to_existing(self.url) {
            Ok(mut connection) => {
                let known =
                    Known::read(&mut connection).map_err(|error| PrepareError::of(self.url, error.into()))?;
                Ok(known.is_any_in_use())
            }
            // Tables of an older build were used by it.
            Err(PrepareError::Outdated) => Ok(true),
            Err(PrepareError::Absent(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces the secret that the database is used with, for example after a leak. Connects to a database that must
    /// exist, brings the schema up to date and, in one transaction, replaces the fingerprint, refuses from now on every
    /// other secret that an instance ever had or accepted here, ends every session and records the event. `key`, the
    /// adopted secret's, signs in the audit log that older keys prove nothing any more. Does not open the stores.
    ///
    /// No clock of the caller is aligned yet, so `event` receives the time that one would show: the database's time, or its
    /// high-water mark if that is later. No clock shows an earlier time from then on, since new sessions would be
    /// invalid. Every running instance learns of the replacement with its next poll and stops ([`Database::is_foreign`](super::Database::is_foreign)).
    ///
    /// # Errors
    /// [`PrepareError`], also where this secret is refused already; nothing was changed then but the schema.
    pub fn replace_compromised(
        self,
        adopted: SecretFingerprint,
        key: &AuditKey,
        event: impl FnOnce(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        let mut exclusive = ExclusiveConnection::open(self.url, Missing::Refuse)?;
        exclusive.migrate()?;
        let known = exclusive.known_secrets()?;
        known.admit_new(adopted)?;
        exclusive.home()?.check_served()?;
        exclusive.transaction(|connection| {
            let fingerprints = Fingerprints { current: adopted, accepted: Vec::new() };
            known.store(connection, &fingerprints).map_err(store_error)?;
            secrets::refuse_all_but(connection, adopted).map_err(store_error)?;
            let time = read_shared(connection).map_err(store_error)?.time;
            let event = event(time.now.max(time.high_water_mark));
            invalidate_all(connection, event.at).map_err(store_error)?;
            statements::adoption(connection, key, event.at)?;
            insert_event(connection, &event)
        })
    }

    /// Declares that the database moved to its present place and that no other copy is in use: after an upgrade of the
    /// cluster or a move to another volume or machine. The sessions stay, and a database that was copied elsewhere may be
    /// used again. `keys` are those of the secrets at hand, one of which must be the database's. Returns whether anything
    /// was to be done.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`] and [`PrepareError::UnfinishedCopy`].
    pub fn declare_moved(
        self,
        keys: &AuditKeys,
        event: impl Fn(EventKind, UnixTime) -> SecurityEvent,
    ) -> Result<bool, PrepareError> {
        let mut exclusive = ExclusiveConnection::open(self.url, Missing::Refuse)?;
        exclusive.migrate()?;
        exclusive.known_secrets()?.admit(&Fingerprints::of(keys))?;
        let home = exclusive.home()?;
        if home.is_unfinished() {
            return Err(PrepareError::UnfinishedCopy);
        }
        if home.is_present() && home.moved_at().is_none() {
            return Ok(false);
        }
        exclusive.transaction(|connection| home.settle_moved(connection, &event))?;
        Ok(true)
    }

    /// Brings the schema up to date, holds an instance's secrets against the database's, and ends every session if the
    /// database is a restored backup or a copy.
    pub(super) fn prepare(
        self,
        missing: Missing,
        fingerprints: &Fingerprints,
        keys: Option<&AuditKeys>,
        event: EventAt<'_>,
    ) -> Result<Prepared, PrepareError> {
        if let Some(known) = read_if_ready(self.url, missing, fingerprints)? {
            return Ok(Prepared { adoptions: known.adoptions, is_restored: false });
        }
        let mut exclusive = ExclusiveConnection::open(self.url, missing)?;
        // Another instance may have done it since, so everything is read again under the lock.
        exclusive.migrate()?;
        let known = exclusive.known_secrets()?;
        known.admit(fingerprints)?;
        let home = exclusive.home()?;
        home.check_served()?;
        // Where nothing is new, it only reads.
        if !(known.is_current(fingerprints) && home.is_present()) {
            exclusive.transaction(|connection| {
                if !known.is_current(fingerprints) {
                    known.store(connection, fingerprints).map_err(store_error)?;
                    if let (Some(keys), Some(old)) = (keys, known.replaced_by(fingerprints)) {
                        hand_over(connection, keys, old, event)?;
                    }
                }
                match home.is_present() {
                    true => Ok(()),
                    false => home.settle(connection, event),
                }
            })?;
        }
        Ok(Prepared { adoptions: known.adoptions, is_restored: home.is_elsewhere() })
    }

    /// Compares an instance's secrets with the database's and changes nothing. Returns how often a secret was adopted so
    /// far.
    pub(super) fn prepare_to_read(self, fingerprints: &Fingerprints) -> Result<i64, PrepareError> {
        let mut connection = connect_to_existing(self.url)?;
        let known = Known::read(&mut connection).map_err(|error| PrepareError::of(self.url, error.into()))?;
        known.admit(fingerprints)?;
        Ok(known.adoptions)
    }
}

/// What a preparation found.
pub(super) struct Prepared {
    /// How often a secret was adopted so far.
    pub(super) adoptions: i64,
    /// Whether the database is a restored backup or a copy, so that every session was ended.
    pub(super) is_restored: bool,
}

/// Leaves a hand-over of the audit log and an event where an instance's secret takes the place of another.
fn hand_over(
    connection: &mut AnyConnection,
    keys: &AuditKeys,
    old: &[u8],
    event: EventAt<'_>,
) -> Result<(), StoreError> {
    let time = read_shared(connection).map_err(store_error)?.time;
    let event = event(EventKind::SecretReplaced, time.now.max(time.high_water_mark));
    if let Some(old) = keys.accepted(old) {
        statements::hand_over(connection, &keys.current, old, event.at)?;
    }
    insert_event(connection, &event)
}
