use std::fmt;

use super::StoreError;
use crate::event::SecurityEvent;
use crate::id::{SessionId, UserId};
use crate::password::PasswordHash;
use crate::user::{NewUser, User};
use crate::username::CanonicalName;

/// Stores users. Every method happens completely, with its event, or not at all.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait UserStore: fmt::Debug + Send + Sync {
    /// Adds a user.
    ///
    /// MUST refuse a name whose canonical form is taken, also when callers race: exactly one wins.
    ///
    /// # Errors
    /// [`InsertUserError`].
    fn insert(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError>;

    /// Finds a user by canonical name; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError>;

    /// Finds a user by id; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// Replaces the hash of an unchanged password: only if the stored hash is still `old`. Says whether it was.
    ///
    /// MUST NOT change the credential version.
    /// MUST NOT undo a password change that came between.
    ///
    /// # Errors
    /// [`StoreError`].
    fn upgrade_hash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<bool, StoreError>;

    /// Sets a new password: raises the credential version and ends the user's live sessions at `event.at`. Returns
    /// the sessions it ended.
    ///
    /// MUST end the sessions in the same transaction.
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError>;

    /// Disables a user and ends the user's live sessions at `event.at`. Returns the sessions it ended.
    ///
    /// MUST end the sessions in the same transaction.
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn disable(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError>;
}

/// A user was not added.
#[derive(Debug, thiserror::Error)]
pub enum InsertUserError {
    /// Another user has that name.
    #[error("the username is taken")]
    UsernameTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A user was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeUserError {
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
