use portcullis_domain::account::{
    CanonicalName, ChangeUserError, InsertUserError, NewUser, Reauthentication, User, UserStatus, UserStore,
};
use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{NewSession, OpenSessionError};

use super::MemoryStore;

impl UserStore for MemoryStore {
    fn insert_user(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError> {
        let mut state = self.lock();
        if state.users.values().any(|other| other.username.canonical() == user.username.canonical()) {
            return Err(InsertUserError::UsernameTaken);
        }
        state.record(event.clone())?;
        state.users.insert(user.id, user.clone().into_user());
        Ok(())
    }

    fn find_user_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError> {
        Ok(self.lock().users.values().find(|user| user.username.canonical() == name).cloned())
    }

    fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(self.lock().users.get(&id).cloned())
    }

    fn upgrade_hash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let found = state.users.get(&id).filter(|user| user.password_hash.expose() == old.expose());
        let Some(mut user) = found.cloned() else {
            return Ok(false);
        };
        state.record(event.clone())?;
        user.password_hash = new.clone();
        state.users.insert(id, user);
        Ok(true)
    }

    fn change_password(
        &self,
        acting: SessionId,
        new: &PasswordHash,
        session: &NewSession,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, OpenSessionError> {
        let mut state = self.lock();
        if !state.is_unchanged(session) || !state.may_act(acting, session.user) {
            return Err(OpenSessionError::UserChanged);
        }
        state.is_after_floor(session)?;
        let ended = state.end_of_throttling(&session.attempt);
        state.record_all([event.clone()].into_iter().chain(ended).collect())?;
        if let Some(user) = state.users.get_mut(&session.user) {
            set_password(user, new);
        }
        let ended = state.end_sessions_of(session.user, None, event.at);
        state.insert_session(session);
        state.forgive(&session.attempt);
        Ok(ended)
    }

    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        self.change(id, event, |user| set_password(user, new))
    }

    fn disable_user(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError> {
        self.change(id, event, |user| user.status = UserStatus::Disabled)
    }

    fn enable_user(&self, id: UserId, event: &SecurityEvent) -> Result<(), ChangeUserError> {
        let mut state = self.lock();
        let mut user = state.users.get(&id).cloned().ok_or(ChangeUserError::NotFound)?;
        state.record(event.clone())?;
        user.status = UserStatus::Enabled;
        state.users.insert(id, user);
        Ok(())
    }

    fn delete_user(
        &self,
        id: UserId,
        confirmed: Option<Reauthentication>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        let mut state = self.lock();
        let user = state.users.get(&id).ok_or(ChangeUserError::NotFound)?;
        let is_as_confirmed = confirmed.as_ref().is_none_or(|confirmed| {
            user.credential_version == confirmed.credential_version
                && user.status == UserStatus::Enabled
                && state.may_act(confirmed.session, id)
        });
        if !is_as_confirmed {
            return Err(ChangeUserError::NotFound);
        }
        let attempt = confirmed.map(|confirmed| confirmed.attempt);
        let ended = attempt.as_ref().and_then(|attempt| state.end_of_throttling(attempt));
        state.record_all([event.clone()].into_iter().chain(ended).collect())?;
        state.users.remove(&id);
        if let Some(attempt) = attempt {
            state.forgive(&attempt);
        }
        Ok(state.end_sessions_of(id, None, event.at))
    }
}

fn set_password(user: &mut User, new: &PasswordHash) {
    user.password_hash = new.clone();
    user.credential_version = user.credential_version.next();
}

impl MemoryStore {
    /// Changes a user so that every session must end.
    fn change(
        &self,
        id: UserId,
        event: &SecurityEvent,
        change: impl FnOnce(&mut User),
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        let mut state = self.lock();
        let mut user = state.users.get(&id).cloned().ok_or(ChangeUserError::NotFound)?;
        state.record(event.clone())?;
        change(&mut user);
        state.users.insert(id, user);
        Ok(state.end_sessions_of(id, None, event.at))
    }
}
