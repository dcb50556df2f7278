use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use portcullis_domain::ports::Clock;
use portcullis_domain::time::{UnixTime, micros};

/// A clock that stands still until it is told to go on.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that stands at `time`.
    pub fn at(time: UnixTime) -> Self {
        Self(AtomicI64::new(time.as_micros()))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_micros(self.0.load(Ordering::SeqCst))
    }
}
