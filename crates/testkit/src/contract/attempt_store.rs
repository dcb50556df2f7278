//! Promises of [`AttemptStore`](portcullis_domain::throttle::AttemptStore), and of those who forgive attempts.

mod begin;
mod consume;
mod purge;

use std::time::Duration;

use portcullis_domain::audit::EventKind;
use portcullis_domain::ports::SecureRandom as _;
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptEvent, LoginAttempt, SCHEDULE, SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;

pub use self::begin::*;
pub use self::consume::*;
pub use self::purge::*;
use super::{RecordedEvent, TestedStore, sorted};
use crate::fixtures::NOW;

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

fn some_counter(tested: &TestedStore) -> AccountKey {
    let mut bytes = [0; 32];
    tested.random.fill(&mut bytes);
    AccountKey::from_bytes(bytes)
}

/// An attempt that will be successful, and makes no network known.
fn some_successful_attempt(tested: &TestedStore) -> SuccessfulAttempt {
    crate::fixtures::successful_attempt(&*tested.random)
}

fn attempt(tested: &TestedStore, counter: AccountKey, now: UnixTime) -> LoginAttempt {
    let event = tested.event(EventKind::ThrottlingBegun, now);
    LoginAttempt { counter, user: None, now, event: AttemptEvent { ordinal: SCHEDULE.free, event } }
}

fn begin(tested: &TestedStore, counter: AccountKey, now: UnixTime) -> AttemptDecision {
    tested.store.begin_attempt(&attempt(tested, counter, now)).expect("the store answers")
}

/// Makes so many attempts from [`NOW`] on, each as soon as it is allowed. Returns when the next one is.
fn make_attempts(tested: &TestedStore, counter: AccountKey, attempts: u32) -> UnixTime {
    (1..=attempts).fold(NOW, |now, attempts| {
        assert_eq!(begin(tested, counter, now), AttemptDecision::Granted { attempts });
        now + SCHEDULE.wait_after(attempts)
    })
}

/// Compares counters by what they mean: when the next attempt is allowed matters once there was one.
fn is_counter(found: Option<AttemptCounter>, expected: Option<AttemptCounter>, what: &str) {
    let meaning = |counter: AttemptCounter| {
        let next_at = (counter.attempts > 0).then_some(counter.next_at);
        (counter.attempts, next_at, counter.known_until)
    };
    let [found, expected] = [found, expected].map(|counter| counter.map(meaning));
    assert_eq!(found, expected, "{what}: attempts, when the next one is allowed, known until");
}

fn find(tested: &TestedStore, counter: AccountKey) -> Option<AttemptCounter> {
    tested.store.find_counter(counter).expect("the store answers")
}

/// The numbers that were granted, in order.
fn granted(results: &[AttemptDecision]) -> Vec<u32> {
    sorted(results.iter().filter_map(|result| match result {
        AttemptDecision::Granted { attempts } => Some(*attempts),
        AttemptDecision::Refused { .. } => None,
    }))
}

/// The recorded events of this name.
fn of_kind(tested: &TestedStore, kind: EventKind) -> Vec<RecordedEvent> {
    let mut events = tested.recorded();
    events.retain(|event| event.name == kind.name());
    events
}
