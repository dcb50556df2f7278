use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::client::ClientInfo;
use crate::core::Core;
use crate::id::{EventId, SessionId, uuid_v7};
use crate::maintenance::{Maintenance, PurgeOutcome, PurgeRequest, SESSIONS_AFTER_THEIR_END, SyncError};
use crate::ports::StoreError;
use crate::throttle::{PurgedCounter, ThrottlingEnd};
use crate::time::UnixTime;

/// Deletes sessions and attempt counters that have been over for long from the store, step by step.
#[derive(Debug)]
pub struct Purger {
    core: Arc<Core>,
    instance: Uuid,
    after: Option<SessionId>,
}

impl Purger {
    /// How many sessions one step examines, and how many counters it deletes: few enough to delay no other call.
    pub const BATCH: u32 = 500;

    /// How long to wait after a step that reached the end, or that another instance has the turn for. Each step raises the
    /// high-water mark.
    pub const PAUSE: Duration = Duration::from_secs(15);

    /// How long to wait between the other steps: half a million sessions are gone through in about a quarter of an hour.
    pub const STEP: Duration = Duration::from_secs(1);

    /// After how long without a step another instance takes over.
    const TURN: Duration = Duration::from_mins(1);

    /// Makes the next step, and returns how long to wait before the one after.
    ///
    /// # Errors
    /// [`SyncError`]: the step was not made, and the high-water mark was not raised.
    pub fn step(&mut self) -> Result<Duration, SyncError> {
        let now = self.core.trusted_time()?;
        let request = PurgeRequest {
            instance: self.instance,
            now,
            turn: Self::TURN,
            over_before: now - SESSIONS_AFTER_THEIR_END,
            after: self.after,
            batch: Self::BATCH,
        };
        let purged_all = match self.core.ports.store.purge_sessions(&request)? {
            PurgeOutcome::NotThisInstance => {
                self.after = None;
                true
            }
            PurgeOutcome::Step { next, .. } => {
                self.after = next;
                self.purge_counters(now)?
            }
        };
        Ok(if self.after.is_none() && purged_all { Self::PAUSE } else { Self::STEP })
    }

    /// Deletes some of the attempt counters that are over, and returns whether none is left.
    fn purge_counters(&self, now: UnixTime) -> Result<bool, StoreError> {
        let id = EventId::new(now, self.core.ports.random.as_ref());
        let end = ThrottlingEnd { id, at: now, user: None, client: ClientInfo::default() };
        let events = |counter: &PurgedCounter| end.by_purge(counter);
        let purged = self.core.ports.store.purge_counters(now, Self::BATCH, &events)?;
        Ok(purged < Self::BATCH as usize)
    }
}

impl Maintenance {
    /// Returns the purger of this instance. Every instance runs one; the store lets one of them purge.
    pub fn purger(&self) -> Purger {
        let instance = uuid_v7(self.core.ports.clock.now(), self.core.ports.random.as_ref());
        Purger { core: Arc::clone(&self.core), instance, after: None }
    }
}

/// How old the high-water mark may be while an instance works: a [`Purger::PAUSE`], and what a step may take.
pub(crate) const MARK_AGE: Duration = Duration::from_secs(30);
