//! Promises of [`Clock`].

use std::sync::atomic::{AtomicI64, Ordering};

use portcullis_domain::ports::Clock;

use super::race;

/// Whatever one thread was told is in no other thread's future.
pub fn never_goes_backwards(clock: &dyn Clock) {
    let latest = AtomicI64::new(i64::MIN);
    race(4, |_| {
        for _ in 0..10_000 {
            let before = latest.load(Ordering::SeqCst);
            let now = clock.now().as_micros();
            assert!(now >= before, "{now} after {before}");
            latest.fetch_max(now, Ordering::SeqCst);
        }
    });
}
