//! What an operator does to users at the command line: no token asks for it, and no address did it.

use crate::AuthService;
use crate::account::{CanonicalName, ChangeUserError, User};
use crate::audit::{EventKind, SecurityEvent};
use crate::client::ClientInfo;
use crate::password::policy::PasswordViolation;
use crate::password::{HashError, PlaintextPassword};
use crate::ports::StoreError;
use crate::session::Session;

impl AuthService {
    /// Disables a user and ends all sessions of the user. Says how many.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn disable_user(&self, username: &str) -> Result<usize, AdminError> {
        let user = self.user_named(username)?;
        let event = self.event_of(EventKind::UserDisabled, &user);
        let ended = self.ports.store.disable_user(user.id, &event)?;
        self.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    /// Lets a disabled user log in again.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn enable_user(&self, username: &str) -> Result<(), AdminError> {
        let user = self.user_named(username)?;
        Ok(self.ports.store.enable_user(user.id, &self.event_of(EventKind::UserEnabled, &user))?)
    }

    /// Deletes a user and ends all sessions of the user. Says how many.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn delete_user(&self, username: &str) -> Result<usize, AdminError> {
        let user = self.user_named(username)?;
        let event = self.event_of(EventKind::UserDeleted, &user);
        let ended = self.ports.store.delete_user(user.id, None, &event)?;
        self.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    /// Sets a user's password and ends all sessions of the user. Returns how many ended.
    ///
    /// Does not compare the new password with the old one: a comparison costs a hash, and an operator who sets the same
    /// password again still ends the sessions and renews the hash.
    ///
    /// # Errors
    /// [`SetPasswordError`].
    pub fn set_password(&self, username: &str, new: &PlaintextPassword) -> Result<usize, SetPasswordError> {
        let user = self.user_named(username)?;
        let new = self.rules.password.accept(new, user.username.as_str());
        let new = self.ports.hasher.hash(&new.map_err(SetPasswordError::Rejected)?)?;
        let event = self.event_of(EventKind::PasswordSet, &user);
        let ended = self.ports.store.set_password(user.id, &new, &event).map_err(AdminError::from)?;
        self.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    /// The live sessions of a user, the latest opened first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn sessions_of(&self, username: &str) -> Result<Vec<Session>, AdminError> {
        let user = self.user_named(username)?;
        Ok(self.ports.store.list_sessions(user.id, self.ports.clock.now())?)
    }

    /// Ends all sessions of a user. Says how many.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn end_sessions_of(&self, username: &str) -> Result<usize, AdminError> {
        let user = self.user_named(username)?;
        let event = self.event_of(EventKind::UserSessionsEnded, &user);
        let ended = self.ports.store.end_sessions(user.id, None, &event)?;
        self.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    /// Ends all sessions of everybody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_all_sessions(&self) -> Result<(), StoreError> {
        let now = self.ports.clock.now();
        let event = self.event(EventKind::AllSessionsEnded, now, &ClientInfo::default());
        self.revocations.invalidate_all(self.ports.store.invalidate_sessions(&event)?);
        Ok(())
    }

    fn user_named(&self, username: &str) -> Result<User, AdminError> {
        let found = self.ports.store.find_user_by_name(&CanonicalName::of(username))?;
        found.ok_or(AdminError::NotFound)
    }

    fn event_of(&self, kind: EventKind, user: &User) -> SecurityEvent {
        self.event(kind, self.ports.clock.now(), &ClientInfo::default()).of_user(user.id)
    }
}

/// Nothing was done to a user.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody has that name.
    #[error("there is no such user")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeUserError> for AdminError {
    fn from(error: ChangeUserError) -> Self {
        match error {
            ChangeUserError::NotFound => Self::NotFound,
            ChangeUserError::Store(error) => Self::Store(error),
        }
    }
}

/// The password was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetPasswordError {
    /// Not to this user.
    #[error(transparent)]
    User(#[from] AdminError),
    /// The password breaks rules.
    #[error("the password breaks a rule")]
    Rejected(Vec<PasswordViolation>),
    /// The hasher failed.
    #[error(transparent)]
    Hash(#[from] HashError),
}
