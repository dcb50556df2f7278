use uuid::Uuid;

use crate::audit::{EventKind, SecurityEvent};
use crate::client::ClientInfo;
use crate::id::{EventId, UserId};
use crate::session::ConsumedProof;
use crate::throttle::{AccountKey, SCHEDULE};
use crate::time::UnixTime;

/// An attempt at a password that is about to be counted.
#[derive(Clone, Debug)]
pub struct LoginAttempt {
    /// The counter of the account, or of the account at the client's network.
    pub counter: AccountKey,
    /// The user whose password is tried; `None` if the account does not exist.
    pub user: Option<UserId>,
    /// When the attempt is made.
    pub now: UnixTime,
    /// The event that one attempt of the row records.
    pub event: AttemptEvent,
}

/// A security event that is recorded with the attempt of one ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEvent {
    /// Which attempt of a row records the event, counted from one.
    pub ordinal: u32,
    /// The event.
    pub event: SecurityEvent,
}

impl AttemptEvent {
    /// Returns the event if the attempt is the one that records it: `attempts` is what the counter stands at with it.
    pub fn of(&self, attempts: u32) -> Option<&SecurityEvent> {
        (attempts == self.ordinal).then_some(&self.event)
    }
}

/// Whether an attempt was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptDecision {
    /// The attempt was counted, so the password may be verified.
    Granted {
        /// How many attempts are counted in a row, this one included.
        attempts: u32,
    },
    /// The attempt comes too early. Nothing was counted.
    Refused {
        /// When the next attempt may be made.
        until: UnixTime,
    },
}

/// An attempt that was counted and turned out right. The store consumes it in the transaction of the change that it
/// allows: it deletes the counter, and stores the [counter of the known network](super::AttemptCounter::of_known_network).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessfulAttempt {
    /// The counter that is reset.
    pub counter: AccountKey,
    /// The network that is known from now on.
    pub known: Option<KnownNetwork>,
}

/// A network from which somebody just logged in to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownNetwork {
    /// The account at that network.
    pub counter: AccountKey,
    /// Until when, unless there is another login.
    pub until: UnixTime,
}

/// A counter that a store deleted because it was [over](super::AttemptCounter::is_over).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgedCounter {
    /// The key of the counter.
    pub counter: AccountKey,
    /// The user of the last attempt; `None` if the account does not exist.
    pub user: Option<UserId>,
    /// What the counter stood at.
    pub attempts: u32,
}

/// The event that throttling ended, except for the attempts, which only the store knows.
#[derive(Clone, Debug)]
pub(crate) struct ThrottlingEnd {
    pub(crate) id: EventId,
    pub(crate) at: UnixTime,
    pub(crate) user: Option<UserId>,
    pub(crate) client: ClientInfo,
}

impl ThrottlingEnd {
    /// Returns the event of a successful attempt, if its counter throttled attempts.
    pub(crate) fn by_success(&self, consumed: ConsumedProof) -> Option<SecurityEvent> {
        let ConsumedProof::Password { attempts } = consumed;
        // The successful attempt did not fail.
        SCHEDULE.throttles(attempts).then(|| self.event(self.id, self.user, attempts.saturating_sub(1)))
    }

    /// Returns the event of a purged counter, if it throttled attempts.
    pub(crate) fn by_purge(&self, purged: &PurgedCounter) -> Option<SecurityEvent> {
        let [bits @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *purged.counter.as_bytes();
        let id = self.id.derived(Uuid::from_bytes(bits));
        SCHEDULE.throttles(purged.attempts).then(|| self.event(id, purged.user, purged.attempts))
    }

    fn event(&self, id: EventId, user: Option<UserId>, attempts: u32) -> SecurityEvent {
        let kind = EventKind::ThrottlingEnded { attempts };
        SecurityEvent { id, at: self.at, kind, user, session: None, client: self.client.for_events() }
    }
}
