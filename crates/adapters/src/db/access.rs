//! Whether the stores may be used: they are opened by preparing the database, and closed when it turns out not to be this
//! instance's any more.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use portcullis_domain::ports::StoreError;

use super::deployment::Shared;
use super::secrets::Fingerprints;
use super::{Database, DatabaseUrl, PrepareError, error, sqlite};
use crate::keys::SecretFingerprint;

/// Whether the stores may be used.
#[derive(Debug)]
pub(super) enum Access {
    /// It is not known yet whether the schema fits these queries and the secret is the database's.
    Unprepared,
    /// They may, as long as the database is used with one of these secrets and no further one is adopted.
    Open { secrets: Fingerprints, adoptions: i64 },
    /// Another secret took the place of the database's.
    Foreign,
    /// A pooler in front of the database shares server processes among clients.
    Pooled,
    /// The contents of the database were copied elsewhere.
    Moved,
}

impl Access {
    pub(super) fn may_be_used(&self) -> Result<(), StoreError> {
        match self {
            Self::Open { .. } => Ok(()),
            Self::Unprepared => Err(error::unavailable("the database is not prepared yet")),
            Self::Foreign => Err(error::unavailable("the secret of the database was replaced")),
            Self::Pooled => Err(error::unavailable(PrepareError::Pooler)),
            Self::Moved => Err(error::unavailable("the contents of the database were copied elsewhere")),
        }
    }
}

impl Database {
    /// Whether the secret of this instance became invalid after the instance prepared: another secret was adopted
    /// ([`Deployment::replace_compromised`](super::Deployment::replace_compromised)), or the secret of the database was
    /// replaced by one that this instance does not accept. All later calls of the stores fail, so the process should end.
    pub fn is_foreign(&self) -> bool {
        matches!(*self.access(), Access::Foreign)
    }

    /// Whether a pooler that shares server processes among clients was found after this instance prepared
    /// ([`PrepareError::Pooler`]). All later calls of the stores fail, so the process should end.
    pub fn is_pooled(&self) -> bool {
        matches!(*self.access(), Access::Pooled)
    }

    /// Whether the contents of the database were copied elsewhere after this instance prepared
    /// ([`copy`](super::copy())).
    /// All later calls of the stores fail, so the process should end.
    pub fn is_moved(&self) -> bool {
        matches!(*self.access(), Access::Moved)
    }

    /// Closes the stores when a secret was adopted, or the database's is one that this instance neither has nor accepts,
    /// and when the contents of the database were copied elsewhere.
    pub(super) fn compare_shared(&self, shared: &Shared) {
        let is_stored =
            |fingerprint: &SecretFingerprint| shared.key_check.as_deref() == Some(fingerprint.as_bytes());
        let is_ours = match &*self.access() {
            Access::Open { secrets, adoptions } => {
                shared.adoptions == *adoptions && secrets.iter().any(is_stored)
            }
            Access::Unprepared | Access::Foreign | Access::Pooled | Access::Moved => return,
        };
        if shared.is_moved {
            *self.access_mut() = Access::Moved;
        } else if !is_ours {
            *self.access_mut() = Access::Foreign;
        }
    }

    /// Fails if the SQLite file was moved, deleted or replaced: changes would go to a file without a name, which is lost
    /// when the process ends.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        let (DatabaseUrl::Sqlite(path), Some(prepared)) = (&self.url, self.file.get()) else { return Ok(()) };
        let shown = path.display();
        match sqlite::file::file_id(path) {
            Ok(found) if found == *prepared => Ok(()),
            Ok(_) => Err(error::unavailable(format!(
                "the database file {shown} was replaced by another: stop the service, then start it with the right one"
            ))),
            Err(cause) => Err(error::unavailable(format!(
                "the database file {shown} does not exist any more ({cause}): put it back, or restart the service"
            ))),
        }
    }

    /// Fails if this database was opened only to read it: behind a pooler in transaction mode no session can refuse changes.
    pub(super) fn may_be_changed(&self) -> Result<(), StoreError> {
        match self.only_reads {
            true => Err(error::unavailable("the database was opened only to read it")),
            false => Ok(()),
        }
    }

    pub(super) fn may_be_used(&self) -> Result<(), StoreError> {
        self.access().may_be_used()
    }

    pub(super) fn access(&self) -> RwLockReadGuard<'_, Access> {
        read_access(&self.access)
    }

    pub(super) fn access_mut(&self) -> RwLockWriteGuard<'_, Access> {
        self.access.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn read_access(access: &RwLock<Access>) -> RwLockReadGuard<'_, Access> {
    access.read().unwrap_or_else(PoisonError::into_inner)
}
