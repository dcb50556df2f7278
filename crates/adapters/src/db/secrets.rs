//! The secrets that a database knows, by their one-way fingerprints: the one in use and those that were refused when
//! another was adopted. Only who prepares the database changes them, under the lock, so what one reads then holds.

use diesel::prelude::*;

use super::connection::AnyConnection;
use super::prepare::PrepareError;
use super::schema::{deployment, known_secrets};
use crate::audit::AuditKeys;
use crate::keys::SecretFingerprint;

/// An instance's secrets: the one in use, and those that it takes besides.
#[derive(Clone, Debug)]
pub(super) struct Fingerprints {
    pub(super) current: SecretFingerprint,
    pub(super) accepted: Vec<SecretFingerprint>,
}

impl Fingerprints {
    /// The fingerprints of the secrets that the keys of an audit log are derived from.
    pub(super) fn of(keys: &AuditKeys) -> Self {
        Self {
            current: keys.fingerprint,
            accepted: keys.accepted.iter().map(|(fingerprint, _)| *fingerprint).collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SecretFingerprint> {
        std::iter::once(&self.current).chain(&self.accepted)
    }
}

/// What the database knows.
pub(super) struct Known {
    /// The fingerprint of the secret in use, as it is stored.
    in_use: Option<Vec<u8>>,
    /// How often a secret was adopted.
    pub(super) adoptions: i64,
    /// Every fingerprint that was ever here, and whether it is refused.
    secrets: Vec<(Vec<u8>, bool)>,
}

impl Known {
    pub(super) fn read(connection: &mut AnyConnection) -> QueryResult<Self> {
        let (in_use, adoptions) = deployment::table
            .select((deployment::key_check, deployment::adoptions))
            .first(&mut *connection)?;
        let secrets = known_secrets::table
            .select((known_secrets::key_check, known_secrets::refused))
            .load(connection)?;
        Ok(Self { in_use, adoptions, secrets })
    }

    /// Whether an instance with these secrets may use the database: none is refused, and one is that in use. The
    /// first instance of a database brings its own.
    pub(super) fn admit(&self, fingerprints: &Fingerprints) -> Result<(), PrepareError> {
        self.admit_new(fingerprints.current)?;
        if fingerprints.accepted.iter().any(|fingerprint| self.is_refused(*fingerprint)) {
            return Err(PrepareError::RefusedAcceptedSecret);
        }
        if self.in_use.is_some() && !fingerprints.iter().any(|fingerprint| self.is_in_use(*fingerprint)) {
            return Err(PrepareError::OtherSecret);
        }
        Ok(())
    }

    /// Whether an instance has used the database.
    pub(super) fn is_any_in_use(&self) -> bool {
        self.in_use.is_some()
    }

    /// Whether a secret may come to be the one in use.
    pub(super) fn admit_new(&self, fingerprint: SecretFingerprint) -> Result<(), PrepareError> {
        match self.is_refused(fingerprint) {
            true => Err(PrepareError::RefusedSecret),
            false => Ok(()),
        }
    }

    /// Whether an instance with these secrets leaves everything as it is.
    pub(super) fn is_current(&self, fingerprints: &Fingerprints) -> bool {
        self.is_in_use(fingerprints.current) && fingerprints.iter().all(|fingerprint| self.has(*fingerprint))
    }

    /// The fingerprint of the secret in whose place an instance's own one comes, if it does.
    pub(super) fn replaced_by(&self, fingerprints: &Fingerprints) -> Option<&[u8]> {
        self.in_use.as_deref().filter(|in_use| *in_use != fingerprints.current.as_bytes())
    }

    /// Writes down an instance's secrets, its current one as that in use.
    ///
    /// While a secret is replaced, in two steps, a straggler of step one (old secret, accepts the new) that starts
    /// after an instance of step two (new secret, accepts the old) moves the value back. That is harmless as long as
    /// everybody who starts accepts both. Before the old secret is accepted no more, every instance must have started
    /// with step two: the last of these starts leaves the new value.
    pub(super) fn store(
        &self,
        connection: &mut AnyConnection,
        fingerprints: &Fingerprints,
    ) -> QueryResult<()> {
        for fingerprint in fingerprints.iter().filter(|fingerprint| !self.has(**fingerprint)) {
            diesel::insert_into(known_secrets::table)
                .values((
                    known_secrets::key_check.eq(fingerprint.as_bytes().as_slice()),
                    known_secrets::refused.eq(false),
                ))
                .execute(connection)?;
        }
        diesel::update(deployment::table)
            .set(deployment::key_check.eq(fingerprints.current.as_bytes().as_slice()))
            .execute(connection)?;
        Ok(())
    }

    fn is_in_use(&self, fingerprint: SecretFingerprint) -> bool {
        self.in_use.as_deref() == Some(fingerprint.as_bytes())
    }

    fn is_refused(&self, fingerprint: SecretFingerprint) -> bool {
        self.secrets.iter().any(|(known, refused)| *refused && known == fingerprint.as_bytes())
    }

    fn has(&self, fingerprint: SecretFingerprint) -> bool {
        self.secrets.iter().any(|(known, _)| known == fingerprint.as_bytes())
    }
}

/// Rejects every secret except one permanently, and raises the number of adoptions, which running instances poll.
pub(super) fn refuse_all_but(connection: &mut AnyConnection, adopted: SecretFingerprint) -> QueryResult<()> {
    diesel::update(known_secrets::table.filter(known_secrets::key_check.ne(adopted.as_bytes().as_slice())))
        .set(known_secrets::refused.eq(true))
        .execute(connection)?;
    diesel::update(deployment::table)
        .set(deployment::adoptions.eq(deployment::adoptions + 1))
        .execute(connection)?;
    Ok(())
}
