use std::cmp::Reverse;

use portcullis_domain::audit::{EventsOf, SecurityEvent};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::maintenance::{PurgeOutcome, PurgeRequest};
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{
    Cursor, EndOutcome, NewSession, OpenSessionError, RotateOutcome, RotateRequest, Session, SessionChanges,
    SessionOpened, SessionStore, StoredSession, next_valid_from,
};
use portcullis_domain::time::UnixTime;

use super::MemoryStore;

impl SessionStore for MemoryStore {
    fn open_session(
        &self,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        let mut state = self.lock();
        if !state.has_user(session.user, session.credential_version) {
            return Err(OpenSessionError::UserChanged);
        }
        session.check_valid(state.valid_from)?;
        let live = state.live_sessions_of(session.user, session.opened_at);
        let opened = SessionOpened {
            grant: session.grant(),
            ended: StoredSession::evicted(live, session.max_per_user).collect(),
            consumed: state.consumed(&session.proof)?,
        };
        state.record_all(events.of(&opened))?;
        state.end(&opened.ended, session.opened_at);
        state.insert_session(session);
        state.consume(&session.proof, session.user, session.opened_at);
        Ok(opened)
    }

    fn rotate(
        &self,
        request: &RotateRequest,
        on_reuse: &dyn EventsOf<UserId>,
    ) -> Result<RotateOutcome, StoreError> {
        let mut state = self.lock();
        let Some(mut session) = state.sessions.get(&request.session).cloned() else {
            return Ok(RotateOutcome::Gone);
        };
        let outcome = session.rotate(request, state.valid_from);
        if outcome == RotateOutcome::Reused {
            state.record_all(on_reuse.of(&session.user))?;
        }
        state.update_session(session);
        Ok(outcome)
    }

    fn end_session(
        &self,
        session: SessionId,
        owner: Option<UserId>,
        at: UnixTime,
        events: &dyn EventsOf<UserId>,
    ) -> Result<EndOutcome, StoreError> {
        let mut state = self.lock();
        let Some(mut session) = state.sessions.get(&session).cloned() else {
            return Ok(EndOutcome::Unknown);
        };
        let outcome = session.end(owner, at, state.valid_from);
        if outcome == EndOutcome::Ended {
            state.record_all(events.of(&session.user))?;
        }
        state.update_session(session);
        Ok(outcome)
    }

    fn end_sessions(
        &self,
        user: UserId,
        except: Option<SessionId>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut state = self.lock();
        state.record(event.clone())?;
        let mut ended = state.sessions_to_end(user);
        ended.retain(|session| Some(*session) != except);
        state.end(&ended, event.at);
        Ok(ended)
    }

    fn end_again(
        &self,
        sessions: &[SessionId],
        at: UnixTime,
        valid_from: UnixTime,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut state = self.lock();
        state.valid_from = state.valid_from.max(valid_from);
        state.high_water_mark = state.high_water_mark.max(valid_from);
        let can_end = |session: &&SessionId| {
            state.sessions.get(session).is_some_and(|stored| stored.can_end(state.valid_from))
        };
        let ended: Vec<_> = sessions.iter().filter(can_end).copied().collect();
        state.end(&ended, at);
        Ok(ended)
    }

    fn invalidate_sessions(&self, event: &SecurityEvent) -> Result<UnixTime, StoreError> {
        let mut state = self.lock();
        state.record(event.clone())?;
        let newest = state.sessions.values().map(|session| session.opened_at).max();
        state.valid_from = next_valid_from(state.valid_from, event.at, newest);
        state.high_water_mark = state.high_water_mark.max(state.valid_from);
        Ok(state.valid_from)
    }

    fn find_session(&self, session: SessionId, now: UnixTime) -> Result<Option<Session>, StoreError> {
        let state = self.lock();
        let found = state.sessions.get(&session).filter(|session| session.is_live(now, state.valid_from));
        Ok(found.map(StoredSession::to_session))
    }

    fn list_sessions(&self, user: UserId, now: UnixTime) -> Result<Vec<Session>, StoreError> {
        let state = self.lock();
        let mut live: Vec<_> = state.live_sessions_of(user, now).map(StoredSession::to_session).collect();
        live.sort_by_key(|session| Reverse((session.opened_at, session.id)));
        Ok(live)
    }

    fn session_changes(
        &self,
        after: Option<Cursor>,
        since: UnixTime,
        most: u32,
    ) -> Result<SessionChanges, StoreError> {
        let state = self.lock();
        let next = state.transactions.next();
        let after = after.filter(|after| after.can_continue_to(Some(next)));
        let ended = state.sessions.values().filter_map(|s| Some((s.id, s.ended_at?)));
        let is_asked_for = |(session, at): &(SessionId, UnixTime)| match after {
            Some(after) => state.transactions.ended_since(after, *session),
            None => *at >= since,
        };
        Ok(SessionChanges {
            ended: ended.filter(is_asked_for).take(most as usize).collect(),
            continues: after.is_some(),
            next: Some(next),
            valid_from: state.valid_from,
            time: state.store_time(),
        })
    }

    fn purge_sessions(&self, request: &PurgeRequest) -> Result<PurgeOutcome, StoreError> {
        let mut state = self.lock();
        state.high_water_mark = state.high_water_mark.max(request.now);
        let Some(turn) = request.take_turn(state.turn) else {
            return Ok(PurgeOutcome::NotThisInstance);
        };
        state.turn = Some(turn);
        let rest = state.sessions.iter().filter(|(id, _)| request.after.is_none_or(|after| **id > after));
        let step: Vec<_> = rest
            .take(request.batch as usize)
            .map(|(id, session)| (*id, session.is_over(request.over_before, state.valid_from)))
            .collect();
        let over: Vec<_> = step.iter().filter(|(_, is_over)| *is_over).map(|(id, _)| *id).collect();
        for id in &over {
            state.sessions.remove(id);
        }
        let is_full = step.len() == request.batch as usize;
        let next = step.last().filter(|_| is_full).map(|(id, _)| *id);
        Ok(PurgeOutcome::Step { deleted: over.len(), next })
    }
}
