use std::fmt;

use crate::account::{CanonicalName, NewUser, Reauthentication, User};
use crate::audit::SecurityEvent;
use crate::id::{SessionId, UserId};
use crate::password::PasswordHash;
use crate::ports::StoreError;
use crate::session::{NewSession, OpenSessionError};

/// Stores users. Every method happens completely, with its event, or not at all.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait UserStore: fmt::Debug + Send + Sync {
    /// Adds a user.
    ///
    /// MUST refuse a name whose canonical form is taken, also when callers race: exactly one wins.
    ///
    /// # Errors
    /// [`InsertUserError`].
    fn insert_user(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError>;

    /// Finds a user by canonical name; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_user_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError>;

    /// Finds a user by id; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError>;

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

    /// Sets the password of the session's user, who verified the one before: raises the credential version, ends the
    /// user's sessions at `event.at`, and opens `session` as the only one, its attempt forgiven as
    /// [`SessionStore::open_session`](crate::session::SessionStore::open_session) does. Returns the sessions it ended.
    ///
    /// MUST refuse as [`OpenSessionError::UserChanged`] unless the user is there, enabled and at the session's
    /// credential version, and `acting`, the session that asks for it, did not end and is the user's; also when
    /// callers race: exactly one wins.
    /// MUST end the sessions in the same transaction.
    ///
    /// # Errors
    /// [`OpenSessionError`].
    fn change_password(
        &self,
        acting: SessionId,
        new: &PasswordHash,
        session: &NewSession,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, OpenSessionError>;

    /// Sets a new password in an operator's name: raises the credential version and ends the user's sessions at
    /// `event.at`. Returns the sessions it ended.
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

    /// Disables a user and ends the user's sessions at `event.at`. Returns the sessions it ended.
    ///
    /// MUST end the sessions in the same transaction.
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn disable_user(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError>;

    /// Enables a user. Sessions that ended stay ended.
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn enable_user(&self, id: UserId, event: &SecurityEvent) -> Result<(), ChangeUserError>;

    /// Deletes a user, whose name is free then, ends the user's sessions at `event.at`, and forgives
    /// [`Reauthentication::attempt`]. Returns the sessions it ended. Their rows stay until they are swept out.
    ///
    /// MUST delete nothing unless the user is enabled, at the credential version `confirmed`, and the session of it did
    /// not end and is the user's. An operator confirms nothing.
    /// MUST end the sessions in the same transaction.
    ///
    /// # Errors
    /// [`ChangeUserError`]; [`ChangeUserError::NotFound`] also for a user who changed since.
    fn delete_user(
        &self,
        id: UserId,
        confirmed: Option<Reauthentication>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError>;
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
