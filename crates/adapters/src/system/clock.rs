//! How a clock follows another one: arithmetic alone, over an uptime that is handed in.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_domain::maintenance::MAX_SKEW;
use portcullis_domain::time::{StoreTime, UnixTime, micros};

/// Makes a time of an uptime. The *running* time goes on with the uptime and is set by the store's clock; the time
/// *shown* is the running one, held where that would take it backwards.
#[derive(Debug)]
pub(super) struct Alignment {
    /// By how many microseconds the running time is ahead of the uptime; [`Self::UNKNOWN`] until it is set.
    ahead: AtomicI64,
    /// Nothing before this is shown: the latest time that was, or the newest mark in the store.
    latest: AtomicI64,
    /// That the store's clock was set, while nobody knows yet whether it stays there.
    doubt: Mutex<Option<Doubt>>,
}

impl Alignment {
    const UNKNOWN: i64 = i64::MIN;

    /// The time to show at an uptime; `None` before the first alignment.
    pub(super) fn time_at(&self, uptime: Duration) -> Option<UnixTime> {
        let running = running(uptime, self.ahead()?);
        let latest = self.latest.fetch_max(running, Ordering::SeqCst);
        Some(UnixTime::from_micros(running.max(latest)))
    }

    /// Takes in what time it was for the store at some moment between the uptimes `asked` and `answered`.
    pub(super) fn align(&self, store: StoreTime, asked: Duration, answered: Duration) {
        let mut doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        self.latest.fetch_max(store.high_water_mark.as_micros(), Ordering::SeqCst);
        let Some(ahead) = self.ahead() else {
            self.ahead.store(store.now.as_micros().saturating_sub(micros(answered)), Ordering::SeqCst);
            return;
        };
        // Of the running time, not of the one shown: what is held back already must not be set back once more.
        let deviation = deviation(store.now, running(asked, ahead), running(answered, ahead));
        // A clock that is held at a mark goes on as soon as the store's comes back to that.
        let shown = self.latest.load(Ordering::SeqCst).max(running(answered, ahead));
        let is_small = is_small(deviation) || is_small(store.now.as_micros().saturating_sub(shown));
        if Doubt::is_settled(&mut doubt, deviation, is_small, answered) {
            self.ahead.store(ahead.saturating_add(deviation), Ordering::SeqCst);
        }
    }

    fn ahead(&self) -> Option<i64> {
        Some(self.ahead.load(Ordering::SeqCst)).filter(|ahead| *ahead != Self::UNKNOWN)
    }
}

impl Default for Alignment {
    fn default() -> Self {
        Self {
            ahead: AtomicI64::new(Self::UNKNOWN),
            latest: AtomicI64::new(i64::MIN),
            doubt: Mutex::default(),
        }
    }
}

fn running(uptime: Duration, ahead: i64) -> i64 {
    micros(uptime).saturating_add(ahead)
}

/// By how many microseconds a moment lies after or, negative, before a stretch of time.
fn deviation(moment: UnixTime, from: i64, until: i64) -> i64 {
    let moment = moment.as_micros();
    moment.saturating_sub(until).max(0) + moment.saturating_sub(from).min(0)
}

/// A deviation too large to be followed at once.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The uptime at which it was first seen.
    since: Duration,
    deviation: i64,
}

impl Doubt {
    /// Whether a deviation is to be followed: a small one at once, a large one when it has lasted.
    fn is_settled(doubt: &mut Option<Self>, deviation: i64, is_small: bool, uptime: Duration) -> bool {
        let ahead_by_seconds = deviation / 1_000_000;
        match *doubt {
            None if is_small => true,
            Some(_) if is_small => {
                log::warn!("the database's clock is back where it was");
                *doubt = None;
                true
            }
            Some(begun) if begun.is_the_same(deviation) && uptime.saturating_sub(begun.since) < PATIENCE => {
                false
            }
            Some(begun) if begun.is_the_same(deviation) => {
                log::warn!(ahead_by_seconds; "the database's clock stays where it was set and is followed");
                *doubt = None;
                true
            }
            _ => {
                log::warn!(ahead_by_seconds; "the database's clock was set; it is followed if it stays there");
                *doubt = Some(Self { since: uptime, deviation });
                false
            }
        }
    }

    /// Whether the store's clock is still where it was set.
    fn is_the_same(self, deviation: i64) -> bool {
        is_small(deviation.saturating_sub(self.deviation))
    }
}

fn is_small(deviation: i64) -> bool {
    deviation.saturating_abs() <= micros(FOLLOWED_AT_ONCE)
}

/// More than clocks drift apart between two looks at the store. Beyond it nothing is given out by this clock.
const FOLLOWED_AT_ONCE: Duration = MAX_SKEW;

/// How long the store's clock must stay where it was set, for somebody may put it right again.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const START: i64 = 1_800_000_000;
    const HOUR: i64 = 3_600;

    /// An aligned clock that looks at a store a second, and a store whose clock can be set.
    struct Rig {
        alignment: Alignment,
        uptime: Cell<Duration>,
        /// By how many seconds the store's clock was set forward.
        set_by: Cell<i64>,
    }

    impl Rig {
        fn new() -> Self {
            Self::with_mark(0)
        }

        /// With the newest mark, in seconds from [`START`].
        fn with_mark(newest: i64) -> Self {
            let uptime = Duration::from_secs(7);
            let rig =
                Self { alignment: Alignment::default(), uptime: Cell::new(uptime), set_by: Cell::new(0) };
            let newest = UnixTime::from_secs(START + newest);
            rig.alignment.align(StoreTime { now: rig.store(), high_water_mark: newest }, uptime, uptime);
            rig
        }

        fn store(&self) -> UnixTime {
            let uptime = i64::try_from(self.uptime.get().as_secs()).unwrap();
            UnixTime::from_secs(START - 7 + uptime + self.set_by.get())
        }

        /// Lets seconds pass, with a look at the store in each.
        fn pass(&self, seconds: u64) {
            for _ in 0..seconds {
                let before = self.shown();
                self.uptime.set(self.uptime.get() + Duration::from_secs(1));
                let store = StoreTime { now: self.store(), high_water_mark: UnixTime::EPOCH };
                self.alignment.align(store, self.uptime.get(), self.uptime.get());
                assert!(self.shown() >= before, "{before} s, then {} s", self.shown());
            }
        }

        /// What the clock shows, in seconds from [`START`].
        fn shown(&self) -> i64 {
            self.alignment.time_at(self.uptime.get()).unwrap().as_secs() - START
        }
    }

    #[test]
    fn nothing_is_shown_before_the_first_alignment() {
        assert_eq!(Alignment::default().time_at(Duration::from_secs(5)), None);
    }

    #[test]
    fn the_first_alignment_sets_the_time() {
        let rig = Rig::new();
        assert_eq!(rig.shown(), 0);
        rig.pass(1_000);
        assert_eq!(rig.shown(), 1_000);
    }

    #[test]
    fn a_clock_that_went_back_across_a_restart_starts_at_the_mark_and_stands_there() {
        let rig = Rig::with_mark(HOUR);
        assert_eq!(rig.shown(), HOUR);
        rig.pass(3_600);
        assert_eq!(rig.shown(), HOUR);
        rig.pass(1);
        assert_eq!(rig.shown(), HOUR + 1);
    }

    #[test]
    fn a_clock_that_stands_at_a_mark_goes_on_when_the_stores_is_put_right() {
        let rig = Rig::with_mark(HOUR);
        rig.pass(10);
        assert_eq!(rig.shown(), HOUR);
        rig.set_by.set(HOUR);
        rig.pass(1);
        assert_eq!(rig.shown(), HOUR + 11, "at once");
        rig.pass(100);
        assert_eq!(rig.shown(), HOUR + 111);
    }

    #[test]
    fn a_mark_that_is_left_later_counts_too() {
        let rig = Rig::new();
        let uptime = rig.uptime.get();
        let newest = UnixTime::from_secs(START + 100);
        rig.alignment.align(StoreTime { now: rig.store(), high_water_mark: newest }, uptime, uptime);
        assert_eq!(rig.shown(), 100);
        rig.pass(101);
        assert_eq!(rig.shown(), 101);
    }

    #[test]
    fn an_hour_that_is_put_right_within_a_minute_moves_nothing() {
        for by in [HOUR, -HOUR] {
            let rig = Rig::new();
            rig.set_by.set(by);
            rig.pass(60);
            assert_eq!(rig.shown(), 60, "set by {by} s");
            rig.set_by.set(0);
            rig.pass(1);
            assert_eq!(rig.shown(), 61);
            // The next time it is not held against the clock that it was set before.
            rig.set_by.set(by);
            rig.pass(60);
            assert_eq!(rig.shown(), 121, "set by {by} s");
        }
    }

    #[test]
    fn an_hour_forward_that_lasts_is_followed() {
        let rig = Rig::new();
        rig.set_by.set(HOUR);
        rig.pass(61);
        assert_eq!(rig.shown(), HOUR + 61);
        rig.pass(10);
        assert_eq!(rig.shown(), HOUR + 71);
    }

    #[test]
    fn an_hour_back_that_lasts_lets_the_clock_stand_still_for_an_hour() {
        let rig = Rig::new();
        rig.set_by.set(-HOUR);
        rig.pass(60);
        assert_eq!(rig.shown(), 60);
        rig.pass(3_600);
        assert_eq!(rig.shown(), 60, "it is set back once, however often it is looked at");
        rig.pass(10);
        assert_eq!(rig.shown(), 70);
    }

    #[test]
    fn a_clock_that_is_set_again_must_last_again() {
        let rig = Rig::new();
        rig.set_by.set(HOUR);
        rig.pass(59);
        rig.set_by.set(24 * HOUR);
        rig.pass(60);
        assert_eq!(rig.shown(), 119);
        rig.pass(1);
        assert_eq!(rig.shown(), 24 * HOUR + 120);
    }

    #[test]
    fn a_minute_is_followed_at_once() {
        let rig = Rig::new();
        rig.set_by.set(60);
        rig.pass(1);
        assert_eq!(rig.shown(), 61);
        rig.set_by.set(0);
        rig.pass(60);
        assert_eq!(rig.shown(), 61, "by standing still");
        rig.pass(10);
        assert_eq!(rig.shown(), 71);
    }

    #[test]
    fn a_clock_that_drifts_is_followed_closely() {
        for drift in [-1_000, 1_000_i64] {
            let alignment = Alignment::default();
            let (mut shown, mut far) = (i64::MIN, 0);
            for look in 0..10_000_i64 {
                let uptime = Duration::from_millis(250 * u64::try_from(look).unwrap());
                let now = UnixTime::from_micros(START * 1_000_000 + look * (250_000 + drift));
                alignment.align(StoreTime { now, high_water_mark: UnixTime::EPOCH }, uptime, uptime);
                let before = shown;
                shown = alignment.time_at(uptime).unwrap().as_micros();
                assert!(shown >= before);
                far = far.max((shown - now.as_micros()).abs());
            }
            assert!(far <= drift.abs(), "{far} us");
        }
    }

    #[test]
    fn what_an_answer_takes_is_no_deviation() {
        let check = |store: i64, expected: i64| {
            let alignment = Alignment::default();
            let at = |now| StoreTime { now: UnixTime::from_secs(now), high_water_mark: UnixTime::EPOCH };
            let secs = Duration::from_secs;
            alignment.align(at(1_000), secs(10), secs(10));
            // Asked at 1,010 and answered at 1,013.
            alignment.align(at(store), secs(20), secs(23));
            let shown = alignment.time_at(secs(23)).unwrap().as_secs();
            assert_eq!(shown, expected, "the store says {store}");
        };
        check(1_010, 1_013);
        check(1_013, 1_013);
        check(1_015, 1_015);
        check(1_009, 1_012);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let alignment = Alignment::default();
        for now in [i64::MAX, i64::MIN, 0, i64::MIN + 1, i64::MAX] {
            for uptime in [Duration::ZERO, Duration::MAX] {
                let now = UnixTime::from_micros(now);
                alignment.align(StoreTime { now, high_water_mark: UnixTime::EPOCH }, uptime, uptime);
                let _shown = alignment.time_at(uptime);
            }
        }
    }
}
