use portcullis_domain::event::SecurityEvent;
use portcullis_domain::id::SessionId;
use portcullis_domain::ports::{OpenSessionError, SessionStore, StoreError};
use portcullis_domain::session::{
    EndedSessions, Generation, NewSession, Presentation, Presented, Rotated, Rotation,
};
use portcullis_domain::time::UnixTime;
use portcullis_domain::user::UserStatus;

use super::{MemoryStore, StoredSession};

impl SessionStore for MemoryStore {
    fn open(&self, session: &NewSession, event: &SecurityEvent) -> Result<(), OpenSessionError> {
        let mut state = self.lock();
        let unchanged = state.users.get(&session.user).is_some_and(|user| {
            user.status == UserStatus::Enabled && user.credential_version == session.credential_version
        });
        if !unchanged {
            return Err(OpenSessionError::UserChanged);
        }
        let stored = StoredSession {
            opened: session.clone(),
            newest: Rotated { generation: Generation::FIRST, at: session.opened_at },
            expires_at: session.expires_at,
            ended_at: None,
        };
        state.record(event.clone())?;
        state.sessions.insert(session.id, stored);
        Ok(())
    }

    fn rotate(&self, presented: &Presentation, on_reuse: &SecurityEvent) -> Result<Rotation, StoreError> {
        let mut state = self.lock();
        let now = presented.now;
        let Some(session) = state.live_session(presented.session, now) else {
            return Ok(Rotation::Gone);
        };
        let user = session.opened.user;
        match Presented::judge(presented.generation, session.newest, now, presented.grace) {
            Presented::Current => {
                session.newest = Rotated { generation: session.newest.generation.next(), at: now };
                session.expires_at = session.opened.absolute_expires_at.min(now + presented.idle);
            }
            Presented::Repeated => {}
            Presented::Ahead => return Ok(Rotation::Ahead),
            Presented::Reused => {
                state.record(on_reuse.clone().of_user(user))?;
                state.end(presented.session, now);
                return Ok(Rotation::Reused);
            }
        }
        let generation = session.newest.generation;
        Ok(Rotation::Successor { user, generation, expires_at: session.expires_at })
    }

    fn end(&self, session: SessionId, event: &SecurityEvent) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let Some(live) = state.live_session(session, event.at) else {
            return Ok(false);
        };
        let user = live.opened.user;
        state.record(event.clone().of_user(user))?;
        state.end(session, event.at);
        Ok(true)
    }

    fn raise_floor(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.record(event.clone())?;
        state.floor = state.floor.max(event.at);
        Ok(())
    }

    fn is_live(&self, session: SessionId, now: UnixTime) -> Result<bool, StoreError> {
        Ok(self.lock().live_session(session, now).is_some())
    }

    fn ended_since(&self, since: UnixTime) -> Result<EndedSessions, StoreError> {
        let state = self.lock();
        let ended = state.sessions.values().filter_map(|s| Some((s.opened.id, s.ended_at?)));
        Ok(EndedSessions { ended: ended.filter(|(_, at)| *at >= since).collect(), floor: state.floor })
    }
}
