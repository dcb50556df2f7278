//! Promises of [`Clock`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use portcullis_domain::ports::{Clock, SecureRandom};
use portcullis_domain::time::{StoreTime, UnixTime};

use super::race;
use crate::SeededRandom;

/// Whatever one thread was told is in no other thread's future, whatever the store says meanwhile.
// MUST clock-monotonic
pub fn never_goes_backwards(clock: &dyn Clock) {
    let random = SeededRandom::new(17);
    let latest = AtomicI64::new(i64::MIN);
    let is_over = AtomicBool::new(false);
    align(clock, clock.now(), UnixTime::EPOCH);
    race(5, |n| match n {
        0 => {
            while !is_over.load(Ordering::SeqCst) {
                let [now, newest] = [0, 1].map(|_| somewhere_near(clock.now(), &random));
                align(clock, now, newest);
            }
        }
        _ => {
            for _ in 0..10_000 {
                let before = latest.load(Ordering::SeqCst);
                let now = clock.now().as_micros();
                assert!(now >= before, "{now} after {before}");
                latest.fetch_max(now, Ordering::SeqCst);
            }
            is_over.store(true, Ordering::SeqCst);
        }
    });
}

/// Uptime goes on by what passed, also while the time stands still or jumps. `pass` lets so much time pass.
// MUST clock-uptime
pub fn uptime_advances_with_real_time(clock: &dyn Clock, pass: &dyn Fn(Duration)) {
    const A_MOMENT: Duration = Duration::from_millis(20);
    const HOUR: Duration = Duration::from_hours(1);
    let now = clock.now();
    for (store, newest) in [(now, UnixTime::EPOCH), (now + HOUR, now + HOUR), (now - HOUR, now - HOUR)] {
        align(clock, store, newest);
        let before = clock.uptime();
        pass(A_MOMENT);
        let after = clock.uptime();
        assert!(after >= before + A_MOMENT && after < before + HOUR, "{before:?}, then {after:?}");
    }
}

/// From the moment that a mark is known on, no time before it is shown, whatever the store's clock shows.
// MUST clock-high-water-mark
pub fn never_shows_a_time_before_the_newest_mark(clock: &dyn Clock) {
    let hour = Duration::from_hours(1);
    let started = clock.now();
    let mut newest = started - hour;
    for step in 0..6 {
        newest = newest + hour / 2;
        let store = if step % 2 == 0 { started - hour * 10 } else { newest + hour / 4 };
        align(clock, store, newest);
        assert!(clock.now() >= newest, "{newest:?}");
        align(clock, started - hour * 10, started - hour * 10);
        assert!(clock.now() >= newest, "a mark that is older does not undo one: {newest:?}");
    }
}

fn align(clock: &dyn Clock, now: UnixTime, newest: UnixTime) {
    clock.align(StoreTime { now, high_water_mark: newest }, clock.uptime());
}

/// Up to two seconds before or after.
fn somewhere_near(time: UnixTime, random: &SeededRandom) -> UnixTime {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    let offset = i64::from(u32::from_le_bytes(bytes) % 4_000_000) - 2_000_000;
    UnixTime::from_micros(time.as_micros() + offset)
}
