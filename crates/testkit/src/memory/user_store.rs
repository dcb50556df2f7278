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
        let sessions = state.sessions_to_end(session.user);
        if !state.has_user(session.user, session.credential_version) || !sessions.contains(&acting) {
            return Err(OpenSessionError::UserChanged);
        }
        state.check_valid(session)?;
        let ended = state.end_of_throttling(&session.attempt);
        state.record_all([event.clone()].into_iter().chain(ended).collect())?;
        if let Some(user) = state.users.get_mut(&session.user) {
            user.set_password(new.clone());
        }
        state.end(&sessions, event.at);
        state.insert_session(session);
        state.forgive(&session.attempt);
        Ok(sessions)
    }

    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        self.change(id, event, |user| user.set_password(new.clone()))
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
        let sessions = state.sessions_to_end(id);
        let is_as_confirmed = match &confirmed {
            Some(confirmed) => {
                state.has_user(id, confirmed.credential_version) && sessions.contains(&confirmed.session)
            }
            None => state.users.contains_key(&id),
        };
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
        state.end(&sessions, event.at);
        Ok(sessions)
    }
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
        let sessions = state.sessions_to_end(id);
        state.end(&sessions, event.at);
        Ok(sessions)
    }
}
