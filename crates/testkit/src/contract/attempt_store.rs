//! Promises of [`AttemptStore`](portcullis_domain::throttle::AttemptStore), and of those who forgive attempts.

use std::time::Duration;

use portcullis_domain::account::{CredentialVersion, Reauthentication, UserDeleted};
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::SecureRandom as _;
use portcullis_domain::session::{NewSession, OpenSessionError, Proof, SessionOpened};
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptEvent, FORGOTTEN_AFTER, KNOWN_FOR, KnownNetwork,
    LoginAttempt, PurgedCounter, SCHEDULE, SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, Stores, race, sorted};
use crate::fixtures::NOW;

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Through the whole schedule and beyond: every attempt a moment too early is refused and told when to come, and every
/// one in time is granted.
// MUST attempt-begin-schedule
pub fn reserve_means_what_the_domain_says(stores: &Stores) {
    let counter = some_counter(stores);
    let (mut now, mut expected) = (NOW, None);
    for attempts in 1..=SCHEDULE.tolerated + 10 {
        expected = AttemptCounter::after_an_attempt(expected, now);
        assert_eq!(begin(stores, counter, now), AttemptDecision::Granted { attempts });
        assert_eq!(find(stores, counter), expected, "{attempts}");
        let until = now + SCHEDULE.wait_after(attempts);
        if until > now {
            for early in [now, until - MICROSECOND] {
                assert_eq!(begin(stores, counter, early), AttemptDecision::Refused { until }, "{attempts}");
            }
        }
        // Half of them come later than they might.
        now = until + SECOND * (attempts % 2);
    }
}

/// Other counters are nobody's business.
pub fn reserve_counts_every_counter_by_itself(stores: &Stores) {
    let counters = [(); 3].map(|()| some_counter(stores));
    for attempts in 1..=SCHEDULE.free {
        for counter in counters {
            assert_eq!(begin(stores, counter, NOW), AttemptDecision::Granted { attempts });
        }
    }
    assert_eq!(begin(stores, some_counter(stores), NOW), AttemptDecision::Granted { attempts: 1 });
}

/// What is free may come in any order: who took the time first may be the last to arrive, and clocks differ by a little.
pub fn reserve_grants_what_is_free_by_any_clock(stores: &Stores) {
    let counter = some_counter(stores);
    for attempts in 1..=SCHEDULE.free {
        let earlier = NOW - SECOND * attempts;
        assert_eq!(begin(stores, counter, earlier), AttemptDecision::Granted { attempts });
    }
    let until = NOW - SECOND * SCHEDULE.free + SCHEDULE.first_wait;
    let refused = begin(stores, counter, until - MICROSECOND);
    assert_eq!(refused, AttemptDecision::Refused { until });
}

/// A day after the next one was allowed, an attempt is the first again; just before it is one more.
pub fn reserve_begins_anew_after_a_day(stores: &Stores) {
    for attempts in [1, SCHEDULE.free, SCHEDULE.tolerated] {
        let [in_time, late] = [(); 2].map(|()| {
            let counter = some_counter(stores);
            (counter, make_attempts(stores, counter, attempts) + FORGOTTEN_AFTER)
        });
        let one_more = AttemptDecision::Granted { attempts: attempts + 1 };
        assert_eq!(begin(stores, in_time.0, in_time.1 - MICROSECOND), one_more);
        assert_eq!(begin(stores, late.0, late.1), AttemptDecision::Granted { attempts: 1 });
        let anew = AttemptCounter { attempts: 1, next_at: late.1, known_until: None };
        assert_eq!(find(stores, late.0), Some(anew));
    }
}

/// Two hundred at once are as many as are free, each counted once.
// MUST attempt-begin-schedule
pub fn reserve_grants_what_is_free_when_callers_race(stores: &Stores) {
    let counter = some_counter(stores);
    let results = race(200, |n| begin(stores, counter, NOW + MICROSECOND * [0, 5, 2][n % 3]));
    assert_eq!(granted(&results), (1..=SCHEDULE.free).collect::<Vec<_>>());
}

/// When a wait is over, one of many gets through, whoever it is.
// MUST attempt-begin-schedule
pub fn reserve_grants_one_of_many_after_a_wait(stores: &Stores) {
    let counter = some_counter(stores);
    let mut now = make_attempts(stores, counter, SCHEDULE.free);
    for attempts in SCHEDULE.free + 1..SCHEDULE.free + 4 {
        let results = race(20, |_| begin(stores, counter, now));
        assert_eq!(granted(&results), [attempts]);
        now = now + SCHEDULE.wait_after(attempts);
    }
}

/// Who comes too early makes nobody wait longer, and leaves no trace.
// MUST attempt-begin-refusal
pub fn reserve_changes_nothing_where_it_refuses(stores: &Stores) {
    let counter = some_counter(stores);
    make_attempts(stores, counter, SCHEDULE.free);
    let (before, events) = (find(stores, counter), (stores.recorded)());
    for _ in 0..10 {
        assert!(matches!(begin(stores, counter, NOW), AttemptDecision::Refused { .. }));
    }
    assert_eq!((find(stores, counter), (stores.recorded)()), (before, events));
}

/// The event is recorded, whole, with the attempt of its ordinal and with no other, whichever ordinal that is.
pub fn begin_records_its_event_with_one_attempt(stores: &Stores) {
    let user = stores.user("Alice").id;
    let mut expected = Vec::new();
    for ordinal in [1, 2, SCHEDULE.free, SCHEDULE.free + 2] {
        let counter = some_counter(stores);
        let mut now = NOW;
        for attempts in 1..=SCHEDULE.free + 5 {
            let event = stores.event(EventKind::ThrottlingBegun, now).of_user(user);
            if attempts == ordinal {
                expected.push(RecordedEvent::from(&event));
            }
            let event = AttemptEvent { ordinal, event };
            stores
                .store
                .begin_attempt(&LoginAttempt { counter, user: Some(user), now, event })
                .expect("it answers");
            now = now + SCHEDULE.wait_after(attempts);
        }
        let recorded = of_kind(stores, EventKind::ThrottlingBegun);
        assert_eq!(
            recorded.len(),
            expected.len(),
            "events with the attempt {ordinal} of a row: {recorded:?}"
        );
        assert!(expected.iter().all(|event| recorded.contains(event)), "{expected:?} in {recorded:?}");
    }
}

/// With the session the counter is gone, and what it stood at is a fact that events are made of.
// MUST session-open-consumes-proof
pub fn open_session_consumes_its_proof(stores: &Stores) {
    consumes(stores, &|stores, user, attempt, events| {
        let session = NewSession { proof: Proof::Password(attempt), ..stores.new_session(user, NOW) };
        let opened = stores.store.open_session(&session, &|opened: &SessionOpened| events(opened.attempts));
        opened.expect("the user did not change").attempts
    });
}

/// A login that comes to nothing stays counted.
// MUST session-open-consumes-proof
pub fn open_session_that_is_refused_consumes_nothing(stores: &Stores) {
    let user = stores.user("Alice").id;
    let attempt = some_successful_attempt(stores);
    make_attempts(stores, attempt.counter, SCHEDULE.free);
    let before = find(stores, attempt.counter);
    let known = Some(KnownNetwork { counter: some_counter(stores), until: NOW + KNOWN_FOR });
    let session = NewSession {
        credential_version: CredentialVersion::FIRST.next(),
        proof: Proof::Password(SuccessfulAttempt { known, ..attempt }),
        ..stores.new_session(user, NOW)
    };
    let recorded = (stores.recorded)();
    let refused = stores.try_open(&session);
    assert!(matches!(refused, Err(OpenSessionError::UserChanged)), "{refused:?}");
    assert_eq!(find(stores, attempt.counter), before);
    assert_eq!(known.and_then(|known| find(stores, known.counter)), None);
    assert_eq!((stores.recorded)(), recorded);
}

/// The network has a counter of its own from then on, at zero, until it is known no more; a later login prolongs that.
/// What counts elsewhere is left alone.
pub fn open_makes_the_network_known(stores: &Stores) {
    let user = stores.user("Alice").id;
    let [account, here] = [(); 2].map(|()| some_counter(stores));
    let log_in = |counter, at: UnixTime| {
        let known = Some(KnownNetwork { counter: here, until: at + KNOWN_FOR });
        let proof = Proof::Password(SuccessfulAttempt { counter, known });
        stores.open(&NewSession { proof, ..stores.new_session(user, at) });
    };
    let known_at =
        |at: UnixTime| Some(AttemptCounter { attempts: 0, next_at: at, known_until: Some(at + KNOWN_FOR) });
    make_attempts(stores, account, 2);
    log_in(account, NOW);
    assert_eq!((find(stores, account), find(stores, here)), (None, known_at(NOW)));

    make_attempts(stores, account, 3);
    for attempts in 1..=3 {
        assert_eq!(begin(stores, here, NOW), AttemptDecision::Granted { attempts });
    }
    let counted = AttemptCounter { attempts: 3, next_at: NOW, known_until: Some(NOW + KNOWN_FOR) };
    assert_eq!(find(stores, here), Some(counted), "it stays known");
    let later = NOW + KNOWN_FOR / 2;
    log_in(here, later);
    assert_eq!(find(stores, here), known_at(later));
    assert_eq!(find(stores, account).map(|counter| counter.attempts), Some(3));
}

/// Whichever comes first, an attempt beside a right one is counted before it and forgiven, or after it and counted.
pub fn open_racing_reserve_leaves_a_counter_that_counts(stores: &Stores) {
    let user = stores.user("Alice").id;
    for _ in 0..10 {
        let right = some_successful_attempt(stores);
        let counter = right.counter;
        make_attempts(stores, counter, 1);
        let known = Some(KnownNetwork { counter, until: NOW + KNOWN_FOR });
        let session = NewSession {
            proof: Proof::Password(SuccessfulAttempt { known, ..right }),
            ..stores.new_session(user, NOW)
        };
        let results = race(4, |n| match n {
            0 => {
                stores.open(&session);
                None
            }
            _ => Some(begin(stores, counter, NOW)),
        });
        let results: Vec<_> = results.into_iter().flatten().collect();
        let left = find(stores, counter).expect("a known network").attempts;
        assert!(left <= 3, "{left} of {results:?}");
        assert_eq!(granted(&results).len(), 3, "{results:?}");
        let after =
            (0..=left).filter(|n| results.contains(&AttemptDecision::Granted { attempts: *n })).count();
        assert_eq!(after, left as usize, "those after it are counted from one on: {results:?}");
    }
}

/// So does a change of password.
// MUST user-change-password-consumes-proof
pub fn change_password_consumes_its_proof(stores: &Stores) {
    consumes(stores, &|stores, user, attempt, events| {
        let acting = stores.session(user);
        let session = NewSession { proof: Proof::Password(attempt), ..stores.new_session(user, NOW) };
        let new = PasswordHash::new("plain:1:new".to_owned());
        let events = |opened: &SessionOpened| events(opened.attempts);
        let opened = stores.store.change_password(acting.id, &new, &session, &events);
        opened.expect("the user did not change").attempts
    });
}

/// And the deletion of an account: the next user of the name begins at zero.
// MUST user-delete-consumes-proof
pub fn delete_user_consumes_its_proof(stores: &Stores) {
    consumes(stores, &|stores, user, attempt, events| {
        let by = Reauthentication {
            session: stores.session(user).id,
            credential_version: CredentialVersion::FIRST,
            proof: Proof::Password(attempt),
        };
        let events = |deleted: &UserDeleted| events(deleted.attempts);
        let deleted = stores.store.delete_user(user, Some(by), NOW, &events);
        deleted.expect("the user did not change").attempts
    });
}

/// Makes a change with a successful attempt after few and after many others, and compares what it returns and what it made
/// events of with what the counter stood at.
fn consumes(stores: &Stores, change: &dyn Fn(&Stores, UserId, SuccessfulAttempt, &EventsAfter<'_>) -> u32) {
    for attempts in [0, 1, SCHEDULE.free - 1, SCHEDULE.free, SCHEDULE.free + 7] {
        let user = stores.user(&format!("Alice{attempts}")).id;
        let (attempt, other) = (some_successful_attempt(stores), some_counter(stores));
        make_attempts(stores, attempt.counter, attempts);
        make_attempts(stores, other, 2);
        let id = stores.event(EventKind::UserEnabled, NOW).of_user(user);
        let event = |attempts| SecurityEvent { kind: EventKind::ThrottlingEnded { attempts }, ..id.clone() };
        let before = (stores.recorded)().len();
        let counter = attempt.counter;
        let stood_at = change(stores, user, attempt, &|attempts| vec![event(attempts)]);
        assert_eq!(stood_at, attempts, "what the counter of the proof stood at");
        assert_eq!(find(stores, counter), None, "the counter of the proof, after {attempts} attempts");
        assert_eq!(find(stores, other).map(|counter| counter.attempts), Some(2), "another counter");
        let recorded = of_kind(stores, EventKind::ThrottlingEnded { attempts: 0 });
        let expected = RecordedEvent::from(&event(attempts));
        assert_eq!(recorded.iter().filter(|event| event.user == Some(user)).collect::<Vec<_>>(), [&expected]);
        assert!((stores.recorded)().len() > before, "events are recorded");
    }
}

/// Makes events of what a counter stood at.
type EventsAfter<'a> = dyn Fn(u32) -> Vec<SecurityEvent> + 'a;

/// Of successful attempts at once, each of which was counted, one finds the counter.
// MUST session-open-consumes-proof
pub fn a_counter_is_consumed_once_when_logins_race(stores: &Stores) {
    let user = stores.user("Alice").id;
    let counter = some_counter(stores);
    make_attempts(stores, counter, SCHEDULE.free + 3);
    let sessions = [(); 4].map(|()| {
        let attempt = SuccessfulAttempt { counter, ..some_successful_attempt(stores) };
        NewSession { proof: Proof::Password(attempt), ..stores.new_session(user, NOW) }
    });
    let attempts = race(sessions.len(), |n| {
        let opened = stores.store.open_session(&sessions[n], &stores.events_of(&sessions[n]));
        opened.expect("the user did not change").attempts
    });
    let expected = [0, 0, 0, SCHEDULE.free + 3];
    assert_eq!(sorted(attempts), expected, "what the counter stood at in each of the logins");
}

/// A counter goes a day after its next attempt was allowed, however many it counted, and a known network when it is known
/// no more; no moment sooner.
// MUST attempt-purge-only-over
pub fn forget_deletes_what_is_over_alone(stores: &Stores) {
    let user = stores.user("Alice").id;
    let known = some_counter(stores);
    let right = some_successful_attempt(stores);
    let network = Some(KnownNetwork { counter: known, until: NOW + KNOWN_FOR });
    let attempt = SuccessfulAttempt { known: network, ..right };
    stores.open(&NewSession { proof: Proof::Password(attempt), ..stores.new_session(user, NOW) });
    let mut ends = vec![(known, NOW + KNOWN_FOR)];
    for attempts in [1, SCHEDULE.free + 2, SCHEDULE.tolerated] {
        let counter = some_counter(stores);
        ends.push((counter, make_attempts(stores, counter, attempts) + FORGOTTEN_AFTER));
    }
    ends.sort_by_key(|(_, end)| *end);
    for (counter, end) in ends {
        assert_eq!(purge_counters(stores, end - MICROSECOND, 100), 0);
        assert!(find(stores, counter).is_some());
        assert_eq!(purge_counters(stores, end, 100), 1);
        assert_eq!(find(stores, counter), None);
    }
}

/// In bounded steps, of counters and of known networks.
pub fn forget_deletes_no_more_than_asked_for(stores: &Stores) {
    let user = stores.user("Alice").id;
    for _ in 0..5 {
        make_attempts(stores, some_counter(stores), 1);
        let known = Some(KnownNetwork { counter: some_counter(stores), until: NOW + KNOWN_FOR });
        let attempt = SuccessfulAttempt { known, ..some_successful_attempt(stores) };
        stores.open(&NewSession { proof: Proof::Password(attempt), ..stores.new_session(user, NOW) });
    }
    let late = NOW + KNOWN_FOR;
    let steps = [(); 5].map(|()| purge_counters(stores, late, 3));
    assert_eq!(steps, [3, 3, 3, 1, 0]);
}

/// The event of each deleted counter is the one that the caller made of its key, user and number; no other is recorded.
pub fn purge_counters_records_the_events_of_the_deleted(stores: &Stores) {
    let users = [stores.user("Alice").id, stores.user("Bob").id].map(Some);
    let late = NOW + FORGOTTEN_AFTER * 20;
    let counts = [1, SCHEDULE.free - 1, SCHEDULE.free, SCHEDULE.free + 1, SCHEDULE.tolerated + 1];
    let mut counters = Vec::new();
    for (attempts, user) in counts.into_iter().zip([users[0], users[0], users[0], users[1], None]) {
        let counter = some_counter(stores);
        for n in 1..=attempts {
            let at = find(stores, counter).map_or(NOW, |counter| counter.next_at);
            let attempt = LoginAttempt { user, ..attempt(stores, counter, at) };
            let decision = stores.store.begin_attempt(&attempt).expect("the store answers");
            assert_eq!(decision, AttemptDecision::Granted { attempts: n });
        }
        let kind = EventKind::ThrottlingEnded { attempts };
        let event = SecurityEvent { user, ..stores.event(kind, late) };
        counters.push((PurgedCounter { counter, user, attempts }, event));
    }
    let event_of = |purged: &PurgedCounter| {
        let (_, event) = counters.iter().find(|(counter, _)| counter == purged).expect("as it was counted");
        // Whether there is an event is the caller's decision.
        (purged.attempts % 2 == 1).then(|| event.clone())
    };
    let deleted = stores.store.purge_counters(late, 100, &event_of).expect("the store answers");
    assert_eq!(deleted, counts.len(), "the number of deleted counters");
    let expected = counters.iter().filter_map(|(purged, _)| event_of(purged));
    let expected: Vec<_> = expected.map(|event| RecordedEvent::from(&event)).collect();
    let recorded = of_kind(stores, EventKind::ThrottlingEnded { attempts: 0 });
    assert_eq!(recorded.len(), expected.len(), "the recorded events: {recorded:?}");
    assert!(expected.iter().all(|event| recorded.contains(event)), "{expected:?} in {recorded:?}");
}

/// An attempt at a counter that is over either comes before, and it stays, or after, and it is the first.
// MUST attempt-purge-only-over
pub fn forget_racing_reserve_loses_no_attempt(stores: &Stores) {
    for _ in 0..10 {
        let counter = some_counter(stores);
        let late = make_attempts(stores, counter, SCHEDULE.free + 1) + FORGOTTEN_AFTER;
        race(3, |n| match n {
            0 => assert_eq!(begin(stores, counter, late), AttemptDecision::Granted { attempts: 1 }),
            _ => assert!(purge_counters(stores, late, 100) <= 1),
        });
        assert_eq!(find(stores, counter).map(|counter| counter.attempts), Some(1));
    }
}

fn some_counter(stores: &Stores) -> AccountKey {
    let mut bytes = [0; 32];
    stores.random.fill(&mut bytes);
    AccountKey::from_bytes(bytes)
}

/// An attempt that will be successful, and makes no network known.
fn some_successful_attempt(stores: &Stores) -> SuccessfulAttempt {
    crate::fixtures::successful_attempt(&*stores.random)
}

fn attempt(stores: &Stores, counter: AccountKey, now: UnixTime) -> LoginAttempt {
    let event = stores.event(EventKind::ThrottlingBegun, now);
    LoginAttempt { counter, user: None, now, event: AttemptEvent { ordinal: SCHEDULE.free, event } }
}

fn begin(stores: &Stores, counter: AccountKey, now: UnixTime) -> AttemptDecision {
    stores.store.begin_attempt(&attempt(stores, counter, now)).expect("the store answers")
}

/// Makes so many attempts from [`NOW`] on, each as soon as it is allowed. Returns when the next one is.
fn make_attempts(stores: &Stores, counter: AccountKey, attempts: u32) -> UnixTime {
    (1..=attempts).fold(NOW, |now, attempts| {
        assert_eq!(begin(stores, counter, now), AttemptDecision::Granted { attempts });
        now + SCHEDULE.wait_after(attempts)
    })
}

fn find(stores: &Stores, counter: AccountKey) -> Option<AttemptCounter> {
    stores.store.find_counter(counter).expect("the store answers")
}

fn purge_counters(stores: &Stores, now: UnixTime, most: u32) -> usize {
    stores.store.purge_counters(now, most, &|_: &PurgedCounter| None).expect("the store answers")
}

/// The numbers that were granted, in order.
fn granted(results: &[AttemptDecision]) -> Vec<u32> {
    sorted(results.iter().filter_map(|result| match result {
        AttemptDecision::Granted { attempts } => Some(*attempts),
        AttemptDecision::Refused { .. } => None,
    }))
}

/// The recorded events of this name.
fn of_kind(stores: &Stores, kind: EventKind) -> Vec<RecordedEvent> {
    let mut events = (stores.recorded)();
    events.retain(|event| event.name == kind.name());
    events
}
