use crate::account::{CanonicalName, ChangeUserError, RegisterError, Registration, User, Username};
use crate::admin::{Admin, Authority};
use crate::audit::{EventKind, SecurityEvent};
use crate::client::ClientInfo;
use crate::error::{Unavailable, unavailable};
use crate::password::policy::PasswordViolation;
use crate::password::{HashError, PlaintextPassword};
use crate::ports::StoreError;

impl Admin {
    /// Adds a user: also while registration is closed, also under a reserved name.
    ///
    /// # Errors
    /// [`RegisterError`], but never [`RegisterError::Closed`].
    pub fn add_user(&self, _by: &Authority, form: &Registration) -> Result<User, RegisterError> {
        let username = Username::parse_for_operator(&form.username);
        self.core.register_user(form, username, &ClientInfo::default())
    }

    /// Disables a user and ends all sessions of the user. Says how many.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn disable_user(&self, _by: &Authority, username: &str) -> Result<usize, AdminError> {
        let user = self.user_named(username)?;
        let event = self.event_of(EventKind::UserDisabled, &user);
        let ended = self.core.ports.store.disable_user(user.id, &event)?;
        self.core.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    /// Lets a disabled user log in again.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn enable_user(&self, _by: &Authority, username: &str) -> Result<(), AdminError> {
        let user = self.user_named(username)?;
        Ok(self.core.ports.store.enable_user(user.id, &self.event_of(EventKind::UserEnabled, &user))?)
    }

    /// Deletes a user and ends all sessions of the user. Says how many.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn delete_user(&self, _by: &Authority, username: &str) -> Result<usize, AdminError> {
        let user = self.user_named(username)?;
        let event = self.event_of(EventKind::UserDeleted, &user);
        let deleted = self.core.ports.store.delete_user(user.id, None, event.at, &event)?;
        self.core.mark_ended(deleted.ended.iter().copied(), event.at);
        Ok(deleted.ended.len())
    }

    /// Sets a user's password and ends all sessions of the user. Returns how many ended.
    ///
    /// Does not compare the new password with the old one: a comparison costs a hash, and an operator who sets the same
    /// password again still ends the sessions and renews the hash.
    ///
    /// # Errors
    /// [`SetPasswordError`].
    pub fn set_password(
        &self,
        _by: &Authority,
        username: &str,
        new: &PlaintextPassword,
    ) -> Result<usize, SetPasswordError> {
        let user = self.user_named(username)?;
        let new = self.core.config.password.accept(new, user.username.as_str());
        let new = self.core.ports.hasher.hash(&new.map_err(SetPasswordError::Rejected)?)?;
        let event = self.event_of(EventKind::PasswordSet, &user);
        let ended = self.core.ports.store.set_password(user.id, &new, &event).map_err(AdminError::from)?;
        self.core.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    pub(super) fn user_named(&self, username: &str) -> Result<User, AdminError> {
        let found = self.core.ports.store.find_user_by_name(&CanonicalName::of(username))?;
        found.ok_or(AdminError::NotFound)
    }

    pub(super) fn event_of(&self, kind: EventKind, user: &User) -> SecurityEvent {
        self.core.event(kind, self.core.ports.clock.now(), &ClientInfo::default()).of_user(user.id)
    }
}

/// Nothing was done to a user.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No user has that name.
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
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// The password breaks rules.
    #[error("the password breaks a rule")]
    Rejected(Vec<PasswordViolation>),
    /// The store or the hasher failed.
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    SetPasswordError from StoreError, HashError;
}

impl From<AdminError> for SetPasswordError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotFound => Self::NotFound,
            AdminError::Store(error) => error.into(),
        }
    }
}
