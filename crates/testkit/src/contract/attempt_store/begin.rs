//! Counting attempts.

use portcullis_domain::audit::EventKind;
use portcullis_domain::throttle::{
    AttemptCounter, AttemptDecision, AttemptEvent, FORGOTTEN_AFTER, LoginAttempt, SCHEDULE,
};

use super::{
    MICROSECOND, SECOND, attempt, begin, find, granted, is_counter, make_attempts, of_kind, some_counter,
};
use crate::contract::{RecordedEvent, TestedStore, race, rounds};
use crate::fixtures::NOW;

/// Through the whole schedule and beyond: every attempt a moment too early is refused and told when to come, and every
/// one in time is granted.
// MUST attempt-begin-schedule
pub fn begin_follows_the_schedule(tested: &TestedStore) {
    let counter = some_counter(tested);
    let (mut now, mut expected) = (NOW, None);
    for attempts in 1..=SCHEDULE.tolerated + 10 {
        expected = AttemptCounter::after_an_attempt(expected, now);
        assert_eq!(begin(tested, counter, now), AttemptDecision::Granted { attempts });
        is_counter(find(tested, counter), expected, &format!("the counter after {attempts} attempts"));
        let until = now + SCHEDULE.wait_after(attempts);
        if until > now {
            for early in [now, until - MICROSECOND] {
                assert_eq!(begin(tested, counter, early), AttemptDecision::Refused { until }, "{attempts}");
            }
        }
        // Half of them come later than they might.
        now = until + SECOND * (attempts % 2);
    }
}

/// Other counters are nobody's business.
// MUST attempt-begin-separate
pub fn begin_counts_each_counter_separately(tested: &TestedStore) {
    let counters = [(); 3].map(|()| some_counter(tested));
    for attempts in 1..=SCHEDULE.free {
        for counter in counters {
            assert_eq!(begin(tested, counter, NOW), AttemptDecision::Granted { attempts });
        }
    }
    assert_eq!(begin(tested, some_counter(tested), NOW), AttemptDecision::Granted { attempts: 1 });
}

/// What is free may come in any order: who took the time first may be the last to arrive, and clocks differ by a little.
// MUST attempt-begin-any-clock
pub fn begin_grants_free_attempts_by_any_clock(tested: &TestedStore) {
    let counter = some_counter(tested);
    for attempts in 1..=SCHEDULE.free {
        let earlier = NOW - SECOND * attempts;
        assert_eq!(begin(tested, counter, earlier), AttemptDecision::Granted { attempts });
    }
    let until = NOW - SECOND * SCHEDULE.free + SCHEDULE.first_wait;
    let refused = begin(tested, counter, until - MICROSECOND);
    assert_eq!(refused, AttemptDecision::Refused { until });
}

/// A day after the next one was allowed, an attempt is the first again; just before it is one more.
// MUST attempt-begin-forgets
pub fn begin_restarts_after_a_day(tested: &TestedStore) {
    for attempts in [1, SCHEDULE.free, SCHEDULE.tolerated] {
        let [in_time, late] = [(); 2].map(|()| {
            let counter = some_counter(tested);
            (counter, make_attempts(tested, counter, attempts) + FORGOTTEN_AFTER)
        });
        let tested = &tested.reopened();
        let one_more = AttemptDecision::Granted { attempts: attempts + 1 };
        assert_eq!(begin(tested, in_time.0, in_time.1 - MICROSECOND), one_more);
        assert_eq!(begin(tested, late.0, late.1), AttemptDecision::Granted { attempts: 1 });
        let anew = AttemptCounter { attempts: 1, next_at: late.1, known_until: None };
        is_counter(find(tested, late.0), Some(anew), "the counter that restarted");
    }
}

/// Two hundred at once are as many as are free, each counted once.
// MUST attempt-begin-schedule
pub fn begin_grants_free_attempts_when_callers_race(tested: &TestedStore) {
    rounds(|round| {
        let counter = some_counter(tested);
        let callers = if round == 0 { 200 } else { 20 };
        let attempts: Vec<_> =
            (0..callers).map(|n| attempt(tested, counter, NOW + MICROSECOND * [0, 5, 2][n % 3])).collect();
        let results = race(callers, |n| tested.store.begin_attempt(&attempts[n]).expect("the store answers"));
        let free: Vec<_> = (1..=SCHEDULE.free).collect();
        assert_eq!(granted(&results), free, "the ordinals of the attempts granted to {callers} callers");
    });
}

/// When a wait is over, one of many gets through, whoever it is.
// MUST attempt-begin-schedule
pub fn begin_grants_one_of_many_after_a_wait(tested: &TestedStore) {
    rounds(|_round| {
        let counter = some_counter(tested);
        let mut now = make_attempts(tested, counter, SCHEDULE.free);
        for attempts in SCHEDULE.free + 1..SCHEDULE.free + 4 {
            let calls: Vec<_> = (0..20).map(|_| attempt(tested, counter, now)).collect();
            let results =
                race(calls.len(), |n| tested.store.begin_attempt(&calls[n]).expect("the store answers"));
            assert_eq!(granted(&results), [attempts], "the ordinals of the attempts granted to 20 callers");
            now = now + SCHEDULE.wait_after(attempts);
        }
    });
}

/// Who comes too early makes nobody wait longer, and leaves no trace.
// MUST attempt-begin-refusal
pub fn begin_changes_nothing_if_it_refuses(tested: &TestedStore) {
    let counter = some_counter(tested);
    make_attempts(tested, counter, SCHEDULE.free);
    let tested = &tested.reopened();
    let (before, events) = (find(tested, counter), tested.recorded());
    for _ in 0..10 {
        assert!(matches!(begin(tested, counter, NOW), AttemptDecision::Refused { .. }));
    }
    assert_eq!((find(tested, counter), tested.recorded()), (before, events));
}

/// The event is recorded, whole, with the attempt of its ordinal and with no other, whichever ordinal that is.
// MUST attempt-begin-event
pub fn begin_records_its_event_with_one_attempt(tested: &TestedStore) {
    let user = tested.user("Alice").id;
    let mut expected = Vec::new();
    for ordinal in [1, 2, SCHEDULE.free, SCHEDULE.free + 2] {
        let counter = some_counter(tested);
        let mut now = NOW;
        for attempts in 1..=SCHEDULE.free + 5 {
            let event = tested.event(EventKind::ThrottlingBegun, now).of_user(user);
            if attempts == ordinal {
                expected.push(RecordedEvent::from(&event));
            }
            let event = AttemptEvent { ordinal, event };
            tested
                .store
                .begin_attempt(&LoginAttempt { counter, user: Some(user), now, event })
                .expect("it answers");
            now = now + SCHEDULE.wait_after(attempts);
        }
        let recorded = of_kind(tested, EventKind::ThrottlingBegun);
        assert_eq!(
            recorded.len(),
            expected.len(),
            "events with the attempt {ordinal} of a row: {recorded:?}"
        );
        assert!(expected.iter().all(|event| recorded.contains(event)), "{expected:?} in {recorded:?}");
    }
}
