use std::time::Duration;

use crate::throttle::{FORGOTTEN_AFTER, KnownNetwork, SCHEDULE};
use crate::time::UnixTime;

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

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

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
}
