use std::fmt;

use crate::account::{CanonicalName, NewUser, Reauthentication, User};
use crate::audit::{EventsOf, SecurityEvent};
use crate::id::{SessionId, UserId};
use crate::password::PasswordHash;
use crate::ports::StoreError;
use crate::session::{ConsumedProof, NewSession, OpenSessionError, SessionOpened};
use crate::time::UnixTime;

/// Stores users. Every method happens completely, with its events, or not at all.
///
/// - MUST change and record nothing for an unknown user. [user-change-unknown]
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait UserStore: fmt::Debug + Send + Sync {
    /// Adds a user.
    ///
    /// - MUST refuse a name whose canonical form is taken, also when callers race: exactly one wins. [user-insert-unique]
    ///
    /// # Errors
    /// [`InsertUserError`].
    fn insert_user(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError>;

    /// Finds a user by canonical name; `None` when there is none.
    ///
    /// - MUST find a user as it was stored, by name and by ID. [user-find-stored]
    /// - MUST find nothing by any other text. [user-find-unknown]
    /// - MUST also find users whose names registration rejects, such as imported ones. [user-find-imported]
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_user_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError>;

    /// Finds a user by id; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// Replaces the hash of an unchanged password, if the stored hash is still `old`. Returns whether it was.
    ///
    /// - MUST NOT change the credential version. [user-upgrade-hash-version]
    /// - MUST NOT undo a password change that came between. [user-upgrade-hash-no-undo]
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
    /// user's sessions at [`NewSession::opened_at`], opens `session` as the only one, consumes its proof and records the
    /// events that `events` makes of these facts, which it also returns.
    ///
    /// - MUST refuse as [`OpenSessionError::UserChanged`] unless the user [is enabled at](User::is_enabled_at) the session's
    ///   credential version. [user-change-password-unchanged]
    /// - MUST refuse as [`OpenSessionError::UserChanged`] unless `acting`, the session that asks for it, is the user's and
    ///   [can end](crate::session::StoredSession::can_end). [user-change-password-acting]
    /// - MUST let exactly one caller win when callers race. [user-change-password-once]
    /// - MUST refuse as unavailable a session that is not [valid](NewSession::is_valid). [user-change-password-valid]
    /// - MUST end the sessions in the same transaction. [user-change-password-ends-sessions]
    /// - MUST consume the proof. [user-change-password-consumes-proof]
    /// - MUST NOT consume the proof if it refuses. [user-change-password-refusal-keeps-proof]
    /// - MUST consume the proof in the transaction that records the events. [user-change-password-proof-atomic]
    ///
    /// # Errors
    /// [`OpenSessionError`].
    fn change_password(
        &self,
        acting: SessionId,
        new: &PasswordHash,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError>;

    /// Sets a new password for an administrator: raises the credential version and ends the user's sessions at `event.at`.
    /// Returns the sessions that it ended.
    ///
    /// - MUST end the sessions in the same transaction. [user-set-password-ends-sessions]
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError>;

    /// Disables a user and ends the user's sessions at `event.at`. Returns the sessions that it ended.
    ///
    /// - MUST end the sessions in the same transaction. [user-disable-ends-sessions]
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn disable_user(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError>;

    /// Enables a user.
    ///
    /// - MUST NOT revive sessions that ended. [user-enable-revives-nothing]
    ///
    /// # Errors
    /// [`ChangeUserError`].
    fn enable_user(&self, id: UserId, event: &SecurityEvent) -> Result<(), ChangeUserError>;

    /// Deletes a user and ends the user's sessions `at` a time, consumes the proof of a reauthentication, and records the
    /// events that `events` makes of these facts, which it also returns. The name becomes free; the rows of the sessions
    /// stay until they are purged.
    ///
    /// - MUST delete nothing unless the user [is enabled at](User::is_enabled_at) the credential version of the
    ///   reauthentication, if there is one: an administrator does not reauthenticate. [user-delete-unchanged]
    /// - MUST delete nothing unless the session of the reauthentication is the user's and [can
    ///   end](crate::session::StoredSession::can_end). [user-delete-acting]
    /// - MUST let exactly one caller win when callers race. [user-delete-once]
    /// - MUST free the name for another user. [user-delete-frees-name]
    /// - MUST end the sessions in the same transaction. [user-delete-ends-sessions]
    /// - MUST consume the proof. [user-delete-consumes-proof]
    /// - MUST NOT consume the proof if it refuses. [user-delete-refusal-keeps-proof]
    /// - MUST consume the proof in the transaction that records the events. [user-delete-proof-atomic]
    ///
    /// # Errors
    /// [`ChangeUserError`]; [`ChangeUserError::NotFound`] also for a user who changed since.
    fn delete_user(
        &self,
        id: UserId,
        reauthentication: Option<Reauthentication>,
        at: UnixTime,
        events: &dyn EventsOf<UserDeleted>,
    ) -> Result<UserDeleted, ChangeUserError>;
}

/// What a store decided in the transaction that deleted a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDeleted {
    /// The sessions that it ended.
    pub ended: Vec<SessionId>,
    /// What it consumed; `None` if an administrator deleted the user.
    pub consumed: Option<ConsumedProof>,
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
