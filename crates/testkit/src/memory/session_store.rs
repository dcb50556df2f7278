use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::maintenance::{PurgeOutcome, PurgeRequest};
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{
    CurrentGeneration, EndOutcome, NewSession, OpenSessionError, ReuseCheck, RotateOutcome, RotateRequest,
    RotatedSession, Session, SessionChanges, SessionStore,
};
use portcullis_domain::time::UnixTime;

use super::{MemoryStore, StoredSession};

impl SessionStore for MemoryStore {
    fn open_session(
        &self,
        session: &NewSession,
        opened: &SecurityEvent,
        evicted: &SecurityEvent,
    ) -> Result<Vec<SessionId>, OpenSessionError> {
        let mut state = self.lock();
        if !state.is_unchanged(session) {
            return Err(OpenSessionError::UserChanged);
        }
        state.is_after_floor(session)?;
        let live: Vec<_> = state.live_sessions_of(session.user, evicted.at).map(|s| s.opened.id).collect();
        let room = session.max_per_user.get() as usize - 1;
        let too_many = live[..live.len().saturating_sub(room)].to_vec();
        let evictions = too_many.iter().map(|session| evicted.of_each(*session));
        let ended = state.end_of_throttling(&session.attempt);
        state.record_all([opened.clone()].into_iter().chain(evictions).chain(ended).collect())?;
        for session in &too_many {
            state.end(*session, evicted.at);
        }
        state.insert_session(session);
        state.forgive(&session.attempt);
        Ok(too_many)
    }

    fn rotate(
        &self,
        presented: &RotateRequest,
        on_reuse: &SecurityEvent,
    ) -> Result<RotateOutcome, StoreError> {
        let mut state = self.lock();
        let now = presented.now;
        let Some(session) = state.live_session(presented.session, now) else {
            return Ok(RotateOutcome::Gone);
        };
        let user = session.opened.user;
        match ReuseCheck::of(presented.generation, session.newest, now, presented.grace) {
            ReuseCheck::Current => {
                session.newest = CurrentGeneration { generation: session.newest.generation.next(), at: now };
                session.expires_at = session.opened.absolute_expires_at.min(now + presented.idle);
            }
            ReuseCheck::Repeated => {}
            ReuseCheck::Ahead => return Ok(RotateOutcome::Ahead),
            ReuseCheck::Reused => {
                state.record(on_reuse.clone().of_user(user))?;
                state.end(presented.session, now);
                return Ok(RotateOutcome::Reused);
            }
        }
        Ok(RotateOutcome::Rotated(RotatedSession {
            user,
            generation: session.newest.generation,
            opened_at: session.opened.opened_at,
            expires_at: session.expires_at,
        }))
    }

    fn end_session(
        &self,
        session: SessionId,
        owner: Option<UserId>,
        event: &SecurityEvent,
    ) -> Result<EndOutcome, StoreError> {
        let mut state = self.lock();
        let Some(stored) = state.sessions.get(&session) else {
            return Ok(EndOutcome::Unknown);
        };
        let user = stored.opened.user;
        if owner.is_some_and(|owner| owner != user) {
            return Ok(EndOutcome::Unknown);
        }
        if !stored.may_end(state.valid_from) {
            return Ok(EndOutcome::AlreadyEnded);
        }
        state.record(event.clone().of_user(user))?;
        state.end(session, event.at);
        Ok(EndOutcome::Ended)
    }

    fn end_sessions(
        &self,
        user: UserId,
        except: Option<SessionId>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut state = self.lock();
        state.record(event.clone())?;
        Ok(state.end_sessions_of(user, except, event.at))
    }

    fn invalidate_sessions(&self, event: &SecurityEvent) -> Result<UnixTime, StoreError> {
        let mut state = self.lock();
        state.record(event.clone())?;
        let newest = state.sessions.values().map(|session| session.opened.opened_at).max();
        let newest = newest.unwrap_or(event.at).max(event.at);
        state.valid_from = state.valid_from.max(newest.next_second());
        state.newest = state.newest.max(state.valid_from);
        Ok(state.valid_from)
    }

    fn find_session(&self, session: SessionId, now: UnixTime) -> Result<Option<Session>, StoreError> {
        Ok(self.lock().live_session(session, now).map(|session| session.to_session()))
    }

    fn list_sessions(&self, user: UserId, now: UnixTime) -> Result<Vec<Session>, StoreError> {
        let state = self.lock();
        let mut live: Vec<_> = state.live_sessions_of(user, now).map(StoredSession::to_session).collect();
        live.reverse();
        Ok(live)
    }

    fn session_changes(&self, since: UnixTime, most: u32) -> Result<SessionChanges, StoreError> {
        let state = self.lock();
        let ended = state.sessions.values().filter_map(|s| Some((s.opened.id, s.ended_at?)));
        let ended = ended.filter(|(_, at)| *at >= since).take(most as usize);
        Ok(SessionChanges { ended: ended.collect(), valid_from: state.valid_from, time: state.store_time() })
    }

    fn purge_sessions(&self, sweep: &PurgeRequest) -> Result<PurgeOutcome, StoreError> {
        let mut state = self.lock();
        state.newest = state.newest.max(sweep.now);
        match state.purger {
            Some((other, until)) if other != sweep.instance && sweep.now < until => {
                return Ok(PurgeOutcome::NotThisInstance);
            }
            _ => state.purger = Some((sweep.instance, sweep.now + sweep.turn)),
        }
        let valid_from =
            Some(state.valid_from).filter(|valid_from| *valid_from < sweep.over_before).unwrap_or_default();
        let rest = state.sessions.iter().filter(|(id, _)| sweep.after.is_none_or(|after| **id > after));
        let step: Vec<_> = rest
            .take(sweep.batch as usize)
            .map(|(id, session)| (*id, session.is_over_since(sweep.over_before, valid_from)))
            .collect();
        let over: Vec<_> = step.iter().filter(|(_, is_over)| *is_over).map(|(id, _)| *id).collect();
        for id in &over {
            state.sessions.remove(id);
        }
        let is_full = step.len() == sweep.batch as usize;
        let next = step.last().filter(|_| is_full).map(|(id, _)| *id);
        Ok(PurgeOutcome::Step { deleted: over.len(), next })
    }
}
