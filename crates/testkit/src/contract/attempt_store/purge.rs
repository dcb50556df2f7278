//! Deleting counters that are over.

use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::session::{NewSession, Proof};
use portcullis_domain::throttle::{
    AttemptDecision, FORGOTTEN_AFTER, KNOWN_FOR, KnownNetwork, LoginAttempt, PurgedCounter, SCHEDULE,
    SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;

use super::{
    MICROSECOND, attempt, begin, find, make_attempts, of_kind, some_counter, some_successful_attempt,
};
use crate::contract::{RecordedEvent, TestedStore, race, rounds};
use crate::fixtures::NOW;

/// A counter goes a day after its next attempt was allowed, however many it counted, and a known network when it is known
/// no more; no moment sooner.
// MUST attempt-purge-only-over
pub fn purge_deletes_only_counters_that_are_over(tested: &TestedStore) {
    let user = tested.user("Alice").id;
    let known = some_counter(tested);
    let right = some_successful_attempt(tested);
    let network = Some(KnownNetwork { counter: known, until: NOW + KNOWN_FOR });
    let attempt = SuccessfulAttempt { known: network, ..right };
    tested.open(&NewSession { proof: Proof::Password(attempt), ..tested.new_session(user, NOW) });
    let mut ends = vec![(known, NOW + KNOWN_FOR)];
    for attempts in [1, SCHEDULE.free + 2, SCHEDULE.tolerated] {
        let counter = some_counter(tested);
        ends.push((counter, make_attempts(tested, counter, attempts) + FORGOTTEN_AFTER));
    }
    let tested = &tested.reopened();
    ends.sort_by_key(|(_, end)| *end);
    for (counter, end) in ends {
        assert_eq!(purge_counters(tested, end - MICROSECOND, 100), 0, "deleted a moment before {end:?}");
        assert!(find(tested, counter).is_some(), "the counter is kept until {end:?}");
        assert_eq!(purge_counters(tested, end, 100), 1, "deleted at {end:?}");
        assert_eq!(find(tested, counter), None, "the counter, after it was deleted");
    }
}

/// In bounded steps, of counters and of known networks.
// MUST attempt-purge-most
pub fn purge_deletes_at_most_the_requested_number(tested: &TestedStore) {
    let user = tested.user("Alice").id;
    for _ in 0..5 {
        make_attempts(tested, some_counter(tested), 1);
        let known = Some(KnownNetwork { counter: some_counter(tested), until: NOW + KNOWN_FOR });
        let attempt = SuccessfulAttempt { known, ..some_successful_attempt(tested) };
        tested.open(&NewSession { proof: Proof::Password(attempt), ..tested.new_session(user, NOW) });
    }
    let late = NOW + KNOWN_FOR;
    let steps = [(); 5].map(|()| purge_counters(tested, late, 3));
    assert_eq!(steps, [3, 3, 3, 1, 0], "the numbers of counters that five purges of at most three deleted");
}

/// The event of each deleted counter is the one that the caller made of its key, user and number; no other is recorded.
// MUST attempt-purge-events
pub fn purge_counters_records_the_events_of_the_deleted(tested: &TestedStore) {
    let users = [tested.user("Alice").id, tested.user("Bob").id].map(Some);
    let late = NOW + FORGOTTEN_AFTER * 20;
    let counts = [1, SCHEDULE.free - 1, SCHEDULE.free, SCHEDULE.free + 1, SCHEDULE.tolerated + 1];
    let mut counters = Vec::new();
    for (attempts, user) in counts.into_iter().zip([users[0], users[0], users[0], users[1], None]) {
        let counter = some_counter(tested);
        for n in 1..=attempts {
            let at = find(tested, counter).map_or(NOW, |counter| counter.next_at);
            let attempt = LoginAttempt { user, ..attempt(tested, counter, at) };
            let decision = tested.store.begin_attempt(&attempt).expect("the store answers");
            assert_eq!(decision, AttemptDecision::Granted { attempts: n });
        }
        let kind = EventKind::ThrottlingEnded { attempts };
        let event = SecurityEvent { user, ..tested.event(kind, late) };
        counters.push((PurgedCounter { counter, user, attempts }, event));
    }
    let event_of = |purged: &PurgedCounter| {
        let (_, event) = counters.iter().find(|(counter, _)| counter == purged).expect("as it was counted");
        // Whether there is an event is the caller's decision.
        (purged.attempts % 2 == 1).then(|| event.clone())
    };
    let deleted = tested.store.purge_counters(late, 100, &event_of).expect("the store answers");
    assert_eq!(deleted, counts.len(), "the number of deleted counters");
    let expected = counters.iter().filter_map(|(purged, _)| event_of(purged));
    let expected: Vec<_> = expected.map(|event| RecordedEvent::from(&event)).collect();
    let recorded = of_kind(tested, EventKind::ThrottlingEnded { attempts: 0 });
    assert_eq!(recorded.len(), expected.len(), "the recorded events: {recorded:?}");
    assert!(expected.iter().all(|event| recorded.contains(event)), "{expected:?} in {recorded:?}");
}

/// An attempt at a counter that is over either comes before, and it stays, or after, and it is the first.
// MUST attempt-purge-only-over
pub fn purge_racing_begin_loses_no_attempt(tested: &TestedStore) {
    rounds(|_| {
        let counter = some_counter(tested);
        let late = make_attempts(tested, counter, SCHEDULE.free + 1) + FORGOTTEN_AFTER;
        race(3, |n| match n {
            0 => assert_eq!(begin(tested, counter, late), AttemptDecision::Granted { attempts: 1 }),
            _ => assert!(purge_counters(tested, late, 100) <= 1),
        });
        let attempts = find(tested, counter).map(|counter| counter.attempts);
        assert_eq!(attempts, Some(1), "the attempts counted after a purge and one more attempt");
    });
}

fn purge_counters(tested: &TestedStore, now: UnixTime, most: u32) -> usize {
    tested.store.purge_counters(now, most, &|_: &PurgedCounter| None).expect("the store answers")
}
