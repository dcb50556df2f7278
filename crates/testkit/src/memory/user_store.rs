use portcullis_domain::account::{
    CanonicalName, ChangeUserError, InsertUserError, NewUser, Reauthentication, User, UserDeleted,
    UserStatus, UserStore,
};
use portcullis_domain::audit::{EventsOf, SecurityEvent};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{NewSession, OpenSessionError, SessionOpened};
use portcullis_domain::time::UnixTime;

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
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        let mut state = self.lock();
        let ended = state.sessions_to_end(session.user);
        if !state.has_user(session.user, session.credential_version) || !ended.contains(&acting) {
            return Err(OpenSessionError::UserChanged);
        }
        session.check_valid(state.valid_from)?;
        let opened =
            SessionOpened { grant: session.grant(), ended, consumed: state.consumed(&session.proof)? };
        state.record_all(events.of(&opened))?;
        state.users.entry(session.user).and_modify(|user| user.set_password(new.clone()));
        state.end(&opened.ended, session.opened_at);
        state.insert_session(session);
        state.consume(&session.proof, session.user, session.opened_at);
        Ok(opened)
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
        reauthentication: Option<Reauthentication>,
        at: UnixTime,
        events: &dyn EventsOf<UserDeleted>,
    ) -> Result<UserDeleted, ChangeUserError> {
        let mut state = self.lock();
        let ended = state.sessions_to_end(id);
        let (may_delete, consumed) = match &reauthentication {
            Some(by) => (
                state.has_user(id, by.credential_version) && ended.contains(&by.session),
                Some(state.consumed(&by.proof)?),
            ),
            None => (state.users.contains_key(&id), None),
        };
        if !may_delete {
            return Err(ChangeUserError::NotFound);
        }
        let deleted = UserDeleted { ended, consumed };
        state.record_all(events.of(&deleted))?;
        state.users.remove(&id);
        if let Some(by) = reauthentication {
            state.consume(&by.proof, id, at);
        }
        state.end(&deleted.ended, at);
        Ok(deleted)
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
