use std::fmt;
use std::time::Duration;

use crate::audit::{EventKind, SecurityEvent};
use crate::id::UserId;
use crate::time::UnixTime;

/// How long to wait after how many attempts.
///
/// ```
/// use portcullis_domain::throttle::SCHEDULE;
///
/// let waits = [4, 5, 6, 7, 14, 15, 99, 100].map(|attempts| SCHEDULE.wait_after(attempts).as_secs());
/// assert_eq!(waits, [0, 1, 2, 4, 512, 900, 900, 86_400]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// So many attempts are free; the next one has to wait.
    pub free: u32,
    /// The first wait. It doubles with every further attempt.
    pub first_wait: Duration,
    /// It doubles up to this.
    pub longest_wait: Duration,
    /// After so many attempts in a row nobody takes it for a slip of memory any more.
    pub tolerated: u32,
    /// From then on the wait is this.
    pub last_wait: Duration,
}

/// The one schedule. Nobody mistypes a password more often than is free; who guesses gets through a hundred in a day.
pub const SCHEDULE: Schedule = Schedule {
    free: 5,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_mins(15),
    tolerated: 100,
    last_wait: Duration::from_hours(24),
};

/// How long after the next attempt was allowed, and none was made, a counter begins anew.
pub const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// How long after the last login from it a network is known.
pub const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);

impl Schedule {
    /// How long after the last of so many attempts the next one may come.
    pub fn wait_after(&self, attempts: u32) -> Duration {
        if attempts >= self.tolerated {
            return self.last_wait;
        }
        match attempts.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.first_wait.saturating_mul(factor).min(self.longest_wait)
            }
        }
    }

    /// After how many attempts the wait becomes another one, and which, in order: for stores that keep no function.
    pub fn steps(&self) -> impl Iterator<Item = (u32, Duration)> + '_ {
        let wait = |attempts| self.wait_after(attempts);
        let changes = (2..=self.tolerated).filter(move |attempts| wait(*attempts) != wait(attempts - 1));
        changes.map(move |attempts| (attempts, wait(attempts)))
    }

    /// Whether somebody has to wait after so many attempts.
    pub fn throttles(&self, attempts: u32) -> bool {
        self.wait_after(attempts) > Duration::ZERO
    }
}

/// What stands for an account, or for an account at a network, where attempts are counted: it tells nobody which, unless
/// they have the secret. [`AccountKeys`](crate::throttle::AccountKeys) makes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey([u8; 32]);

impl AccountKey {
    /// Wraps what a keyed hash made or a store holds.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonym(..)")
    }
}

/// The attempts counted in a row, with none that was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptCounter {
    /// How many they are.
    pub attempts: u32,
    /// When the next one may be made.
    pub next_at: UnixTime,
    /// Until when the counter is that of a known network.
    pub known_until: Option<UnixTime>,
}

impl AttemptCounter {
    /// The counter after one more attempt at `now`; `None` where it has to wait. This is what
    /// [`AttemptStore::begin_attempt`](crate::throttle::AttemptStore::begin_attempt) means.
    #[must_use]
    pub fn after_an_attempt(counter: Option<Self>, now: UnixTime) -> Option<Self> {
        let known_until = counter.and_then(|counter| counter.known_until);
        let attempts = match counter {
            Some(counter) if counter.wait(now).is_some() => return None,
            Some(counter) if now < counter.next_at + FORGOTTEN_AFTER => counter.attempts.saturating_add(1),
            _ => 1,
        };
        Some(Self { attempts, next_at: now + SCHEDULE.wait_after(attempts), known_until })
    }

    /// Returns the counter of a network from which a login just succeeded `at` a time. It replaces what was counted there.
    pub fn of_known_network(network: &KnownNetwork, at: UnixTime) -> Self {
        Self { attempts: 0, next_at: at, known_until: Some(network.until) }
    }

    /// How long an attempt has to wait; `None` where it may be made. As long as attempts are free it makes no difference
    /// when they come: they may overtake each other, and the clocks of two instances differ by a little.
    pub fn wait(&self, now: UnixTime) -> Option<Duration> {
        (SCHEDULE.throttles(self.attempts) && now < self.next_at).then(|| self.next_at.since(now))
    }

    /// Whether attempts from the network that it is of count here.
    pub fn is_known(&self, now: UnixTime) -> bool {
        self.known_until.is_some_and(|until| now < until)
    }

    /// Whether there is nothing left in it that matters.
    pub fn is_over(&self, now: UnixTime) -> bool {
        match self.known_until {
            Some(until) => until <= now,
            None => self.next_at + FORGOTTEN_AFTER <= now,
        }
    }
}

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
/// allows: it deletes the counter, and stores the [counter of the known network](AttemptCounter::of_known_network).
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

/// A counter that a store deleted because it was [over](AttemptCounter::is_over).
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
        let ended = || SecurityEvent { kind, user: purged.user, ..self.0.of_counter(purged.counter) };
        SCHEDULE.throttles(purged.attempts).then(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn the_wait_doubles_up_to_a_quarter_of_an_hour_and_then_becomes_a_day() {
        let waits: Vec<_> = (0..20).map(|attempts| SCHEDULE.wait_after(attempts).as_secs()).collect();
        let expected = [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900];
        assert_eq!(waits, expected);
        for attempts in 20..100 {
            assert_eq!(SCHEDULE.wait_after(attempts).as_secs(), 900, "{attempts}");
        }
        for attempts in [100, 101, 1_000, u32::MAX] {
            assert_eq!(SCHEDULE.wait_after(attempts).as_secs(), DAY, "{attempts}");
        }
    }

    #[test]
    fn the_steps_are_the_whole_schedule() {
        let steps: Vec<_> = SCHEDULE.steps().collect();
        assert!(steps.is_sorted());
        for attempts in 1..300 {
            let step = steps.iter().rev().find(|(from, _)| *from <= attempts);
            let wait = step.map_or(SCHEDULE.wait_after(1), |(_, wait)| *wait);
            assert_eq!(wait, SCHEDULE.wait_after(attempts), "{attempts}");
        }
    }

    #[test]
    fn a_thousand_tries_in_a_day_are_a_hundred_attempts() {
        let start = UnixTime::from_secs(1_800_000_000);
        let (mut counter, mut evaluated) = (None, 0);
        for n in 0..1_000 {
            let next =
                AttemptCounter::after_an_attempt(counter, start + Duration::from_secs(n * DAY / 1_000));
            evaluated += u32::from(next.is_some());
            counter = next.or(counter);
        }
        assert!((90..=100).contains(&evaluated), "{evaluated}");
    }

    #[test]
    fn a_counter_begins_anew_a_day_after_the_next_attempt_was_allowed() {
        let now = UnixTime::from_secs(1_800_000_000);
        let counter = AttemptCounter { attempts: 40, next_at: now, known_until: None };
        let after =
            |seconds| AttemptCounter::after_an_attempt(Some(counter), now + Duration::from_secs(seconds));
        assert_eq!(after(DAY - 1).unwrap().attempts, 41);
        assert!(!counter.is_over(now + Duration::from_secs(DAY - 1)));
        assert_eq!(after(DAY).unwrap().attempts, 1);
        assert!(counter.is_over(now + Duration::from_secs(DAY)));
        let early = AttemptCounter::after_an_attempt(Some(counter), now - Duration::from_micros(1));
        assert_eq!(early, None);
    }

    #[test]
    fn what_is_free_waits_for_no_clock() {
        let now = UnixTime::from_secs(1_800_000_000);
        let late = Some(AttemptCounter { attempts: SCHEDULE.free - 1, next_at: now, known_until: None });
        let earlier = now - Duration::from_secs(1);
        let last = AttemptCounter::after_an_attempt(late, earlier).unwrap();
        assert_eq!((last.attempts, last.next_at), (SCHEDULE.free, now));
        assert_eq!(last.wait(earlier), Some(SCHEDULE.first_wait));
        assert_eq!(last.wait(now), None);
    }

    #[test]
    fn pseudonyms_are_not_shown() {
        assert_eq!(format!("{:?}", AccountKey::from_bytes([7; 32])), "Pseudonym(..)");
    }
}
