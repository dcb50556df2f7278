//! The machine's clock and source of randomness: the one place that reads either.

mod clock;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_domain::ports::{Clock, SecureRandom};
use portcullis_domain::time::{StoreTime, UnixTime, micros};

use self::clock::Alignment;

/// A clock that runs by the machine's monotonic one and shows what the store's clock shows: it is set at the first
/// [`Clock::align`] and follows from then on, but never backwards: where it would, it stands still. Who sets the clock
/// of the operating system does not move it. Who sets the store's by more than a minute moves it a minute later, if
/// that was not put right meanwhile.
///
/// Before it is aligned it shows the time of the operating system. To read it takes no lock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    alignment: Alignment,
}

impl SystemClock {
    /// A clock that is not aligned yet.
    pub fn new() -> Self {
        Self { started: Instant::now(), alignment: Alignment::default() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        self.alignment.time_at(self.uptime()).unwrap_or_else(operating_system_time)
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn align(&self, store: StoreTime, asked: Duration) {
        self.alignment.align(store, asked, self.uptime());
    }
}

/// The operating system's cryptographically secure random generator (`getrandom(2)` on Linux).
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl SecureRandom for OsRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the SecureRandom port's adapter")]
    #[expect(
        clippy::expect_used,
        reason = "the port asks for it: without randomness nothing safe can be done"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives randomness");
    }
}

/// Returns the time of the operating system, which is not monotonic and may differ from that of a [`Clock`]. Log lines
/// show it; rules never use it.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn operating_system_time() -> UnixTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_micros(micros(since_1970))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unaligned_clock_shows_the_time_of_the_machine() {
        let clock = SystemClock::new();
        let (before, shown, after) = (operating_system_time(), clock.now(), operating_system_time());
        assert!(before <= shown && shown <= after, "{before:?} {shown:?} {after:?}");
    }

    #[test]
    fn an_aligned_clock_runs_on_from_the_time_of_the_store() {
        let clock = SystemClock::new();
        let store = StoreTime { now: UnixTime::from_secs(1_000), high_water_mark: UnixTime::EPOCH };
        clock.align(store, clock.uptime());
        let (first, aligned) = (clock.now(), clock.uptime());
        while clock.uptime() < aligned + Duration::from_micros(2) {
            std::hint::spin_loop();
        }
        let later = clock.now();
        assert!(store.now <= first && first < later && later < store.now + Duration::from_mins(10));
    }
}
