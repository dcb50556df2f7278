use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use portcullis_domain::ports::Clock;
use portcullis_domain::time::{StoreTime, UnixTime, micros};

/// A clock that stands still until it is told to go on. It takes nobody's word for the time but that of marks in a
/// store, as every clock must.
#[derive(Debug)]
pub struct FixedClock {
    started: UnixTime,
    uptime: AtomicI64,
    /// The newest mark in the store.
    newest: AtomicI64,
}

impl FixedClock {
    /// A clock that stands at `time`.
    pub const fn at(time: UnixTime) -> Self {
        Self { started: time, uptime: AtomicI64::new(0), newest: AtomicI64::new(i64::MIN) }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.uptime.fetch_add(micros(by), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        let newest = UnixTime::from_micros(self.newest.load(Ordering::SeqCst));
        newest.max(self.started + self.uptime())
    }

    fn uptime(&self) -> Duration {
        UnixTime::from_micros(self.uptime.load(Ordering::SeqCst)).since(UnixTime::EPOCH)
    }

    fn align(&self, store: StoreTime, _asked: Duration) {
        self.newest.fetch_max(store.high_water_mark.as_micros(), Ordering::SeqCst);
    }
}
