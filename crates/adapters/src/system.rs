//! The machine's clock and source of randomness: the one place that reads either.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_domain::ports::{Clock, Entropy};
use portcullis_domain::time::{UnixTime, micros};

/// The clock of the operating system, held where it would run backwards.
#[derive(Debug)]
pub struct SystemClock {
    /// The latest answer, in microseconds since 1970.
    latest: AtomicI64,
}

impl SystemClock {
    /// A clock that never shows a time before `earliest`: what the store holds already happened, whatever the
    /// operating system says after a cold start without a network.
    pub const fn starting_at_least(earliest: UnixTime) -> Self {
        Self { latest: AtomicI64::new(earliest.as_micros()) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        let read = operating_system_time();
        let latest = self.latest.fetch_max(read.as_micros(), Ordering::SeqCst);
        read.max(UnixTime::from_micros(latest))
    }
}

/// The cryptographically secure random generator of AWS-LC, which the operating system seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the Entropy port's adapter")]
    #[expect(
        clippy::expect_used,
        reason = "the port asks for it: without randomness nothing safe can be done"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).expect("the operating system gives randomness");
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the Clock port's adapter")]
fn operating_system_time() -> UnixTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_micros(micros(since_1970))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_shows_the_time_of_the_machine() {
        let clock = SystemClock::starting_at_least(UnixTime::EPOCH);
        let (before, shown, after) = (operating_system_time(), clock.now(), operating_system_time());
        assert!(before <= shown && shown <= after, "{before:?} {shown:?} {after:?}");
    }

    #[test]
    fn the_clock_starts_no_earlier_than_what_already_happened() {
        let future = operating_system_time() + Duration::from_secs(1_000_000);
        let clock = SystemClock::starting_at_least(future);
        assert_eq!(clock.now(), future);
    }
}
