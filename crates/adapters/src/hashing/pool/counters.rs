use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a [`HashPool`](super::HashPool) did since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCounts {
    /// How many passwords wait for a thread now.
    pub waiting: u64,
    /// How many were rejected because the queue was full.
    pub shed: u64,
    /// How many were hashed or verified, successfully or not.
    pub done: u64,
    /// The total time that passwords waited for a thread.
    pub waited: Duration,
    /// The total time of hashing.
    pub hashing: Duration,
}

/// The counters behind [`HashCounts`]. They are read one by one, so the numbers need not be of one moment.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    begun: AtomicU64,
    pub(super) shed: AtomicU64,
    done: AtomicU64,
    waited_nanos: AtomicU64,
    hashing_nanos: AtomicU64,
}

impl Counters {
    pub(super) fn begun(&self, waited: Duration) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.waited_nanos.fetch_add(nanos(waited), Ordering::Relaxed);
    }

    fn ended(&self, took: Duration) {
        self.hashing_nanos.fetch_add(nanos(took), Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> HashCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HashCounts {
            // One may begin before it is counted as accepted.
            waiting: read(&self.accepted).saturating_sub(read(&self.begun)),
            shed: read(&self.shed),
            done: read(&self.done),
            waited: Duration::from_nanos(read(&self.waited_nanos)),
            hashing: Duration::from_nanos(read(&self.hashing_nanos)),
        }
    }
}

/// A hash under way. It is counted as done also where it panics.
pub(super) struct Running<'a> {
    pub(super) counters: &'a Counters,
    pub(super) begun: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.counters.ended(self.begun.elapsed());
    }
}

/// Nanoseconds; 64 bits of them last for centuries.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
