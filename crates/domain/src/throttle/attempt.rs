use crate::audit::{EventKind, SecurityEvent};
use crate::id::UserId;
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

/// What became of the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptDecision {
    /// It was counted, and is the last of so many in a row: the password may be looked at.
    Granted {
        /// How many they are.
        attempts: u32,
    },
    /// It comes too early. Nothing was counted.
    Refused {
        /// When it may come again.
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

/// The event that throttling ended, before the store has counted the attempts.
#[derive(Clone, Debug)]
pub(crate) struct ThrottlingEnd(SecurityEvent);

impl ThrottlingEnd {
    /// Takes time, user and client from `event`, and the ID.
    pub(crate) fn new(event: SecurityEvent) -> Self {
        Self(event)
    }

    /// Returns the event of a successful attempt, if its counter throttled attempts: `attempts` is what the counter stood
    /// at, that attempt included.
    pub(crate) fn by_success(&self, attempts: u32) -> Option<SecurityEvent> {
        let kind = EventKind::ThrottlingEnded { attempts: attempts.saturating_sub(1) };
        SCHEDULE.throttles(attempts).then(|| SecurityEvent { kind, ..self.0.clone() })
    }

    /// Returns the event of a purged counter, if it throttled attempts.
    pub(crate) fn by_purge(&self, purged: &PurgedCounter) -> Option<SecurityEvent> {
        let kind = EventKind::ThrottlingEnded { attempts: purged.attempts };
        let ended = || SecurityEvent { kind, user: purged.user, ..self.0.for_counter(purged.counter) };
        SCHEDULE.throttles(purged.attempts).then(ended)
    }
}
