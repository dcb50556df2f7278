//! Promises of [`AttemptStore`](portcullis_domain::throttle::AttemptStore), and of those who forgive attempts.

use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_domain::account::{ChangeUserError, CredentialVersion, Reauthentication, UserDeleted};
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::SecureRandom as _;
use portcullis_domain::session::{ConsumedProof, NewSession, OpenSessionError, Proof, SessionOpened};
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptEvent, FORGOTTEN_AFTER, KNOWN_FOR, KnownNetwork,
    LoginAttempt, PurgedCounter, SCHEDULE, SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, TestedStore, race, rounds, sorted};
use crate::fixtures::NOW;

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

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

/// With the session the counter is gone, and what it stood at is a fact that events are made of.
// MUST session-open-consumes-proof
pub fn open_session_consumes_its_proof(tested: &TestedStore) {
    consumes(tested, &|tested, user, attempt, events| {
        let session = NewSession { proof: Proof::Password(attempt), ..tested.new_session(user, NOW) };
        let opened = tested
            .store
            .open_session(&session, &|opened: &SessionOpened| events(attempts_of(Some(opened.consumed))));
        attempts_of(Some(opened.expect("the user did not change").consumed))
    });
}

/// A login that the store refuses stays counted.
// MUST session-open-refusal-keeps-proof
pub fn open_session_that_is_refused_consumes_nothing(tested: &TestedStore) {
    refusal_consumes_nothing(tested, &|user, attempt| {
        let session = NewSession {
            credential_version: CredentialVersion::FIRST.next(),
            proof: Proof::Password(attempt),
            ..tested.new_session(user, NOW)
        };
        let recorded = tested.recorded();
        let refused = tested.try_open(&session);
        assert!(matches!(refused, Err(OpenSessionError::UserChanged)), "{refused:?}");
        assert_eq!(tested.recorded(), recorded, "nothing more is recorded");
    });
}

/// The network has a counter of its own from then on, at zero, until it is known no more; a later login prolongs that.
/// What counts elsewhere is left alone.
// MUST attempt-consume-network
pub fn open_makes_the_network_known(tested: &TestedStore) {
    let user = tested.user("Alice").id;
    let [account, here] = [(); 2].map(|()| some_counter(tested));
    let log_in = |counter, at: UnixTime| {
        let known = Some(KnownNetwork { counter: here, until: at + KNOWN_FOR });
        let proof = Proof::Password(SuccessfulAttempt { counter, known });
        tested.open(&NewSession { proof, ..tested.new_session(user, at) });
    };
    let known_at =
        |at: UnixTime| Some(AttemptCounter { attempts: 0, next_at: at, known_until: Some(at + KNOWN_FOR) });
    make_attempts(tested, account, 2);
    log_in(account, NOW);
    assert_eq!(find(tested, account), None, "the counter of the account");
    is_counter(find(tested, here), known_at(NOW), "the counter of the network");

    let tested = &tested.reopened();
    make_attempts(tested, account, 3);
    for attempts in 1..=3 {
        assert_eq!(begin(tested, here, NOW), AttemptDecision::Granted { attempts });
    }
    let counted = AttemptCounter { attempts: 3, next_at: NOW, known_until: Some(NOW + KNOWN_FOR) };
    is_counter(find(tested, here), Some(counted), "the counter of the network, which stays known");
    let later = NOW + KNOWN_FOR / 2;
    log_in(here, later);
    is_counter(find(tested, here), known_at(later), "the counter of the network after another login");
    let elsewhere = find(tested, account).map(|counter| counter.attempts);
    assert_eq!(elsewhere, Some(3), "the attempts at the account, elsewhere");
}

/// Whichever comes first, an attempt beside a right one is counted before it and forgiven, or after it and counted.
// MUST attempt-consume-race
pub fn open_racing_begin_loses_no_attempt(tested: &TestedStore) {
    let user = tested.user("Alice").id;
    rounds(|_| {
        let right = some_successful_attempt(tested);
        let counter = right.counter;
        make_attempts(tested, counter, 1);
        let known = Some(KnownNetwork { counter, until: NOW + KNOWN_FOR });
        let session = NewSession {
            proof: Proof::Password(SuccessfulAttempt { known, ..right }),
            ..tested.new_session(user, NOW)
        };
        let results = race(4, |n| match n {
            0 => {
                tested.open(&session);
                None
            }
            _ => Some(begin(tested, counter, NOW)),
        });
        let results: Vec<_> = results.into_iter().flatten().collect();
        let left = find(tested, counter).expect("a known network").attempts;
        assert!(left <= 3, "{left} of {results:?}");
        assert_eq!(granted(&results).len(), 3, "{results:?}");
        let after =
            (0..=left).filter(|n| results.contains(&AttemptDecision::Granted { attempts: *n })).count();
        assert_eq!(after, left as usize, "those after it are counted from one on: {results:?}");
    });
}

/// So does a change of password.
// MUST user-change-password-consumes-proof
pub fn change_password_consumes_its_proof(tested: &TestedStore) {
    consumes(tested, &|tested, user, attempt, events| {
        let acting = tested.session(user);
        let session = NewSession { proof: Proof::Password(attempt), ..tested.new_session(user, NOW) };
        let new = PasswordHash::new("plain:1:new".to_owned());
        let events = |opened: &SessionOpened| events(attempts_of(Some(opened.consumed)));
        let opened = tested.store.change_password(acting.id, &new, &session, &events);
        attempts_of(Some(opened.expect("the user did not change").consumed))
    });
}

/// And the deletion of an account: the next user of the name begins at zero.
// MUST user-delete-consumes-proof
pub fn delete_user_consumes_its_proof(tested: &TestedStore) {
    consumes(tested, &|tested, user, attempt, events| {
        let by = Reauthentication {
            session: tested.session(user).id,
            credential_version: CredentialVersion::FIRST,
            proof: Proof::Password(attempt),
        };
        let events = |deleted: &UserDeleted| events(attempts_of(deleted.consumed));
        let deleted = tested.store.delete_user(user, Some(by), NOW, &events);
        attempts_of(deleted.expect("the user did not change").consumed)
    });
}

/// A change of the password that the store refuses consumes nothing, whether the user or the acting session changed.
// MUST user-change-password-refusal-keeps-proof
pub fn change_password_that_is_refused_consumes_nothing(tested: &TestedStore) {
    refusal_consumes_nothing(tested, &|user, attempt| {
        let (acting, ended) = (tested.session(user).id, tested.session(user).id);
        tested.end(ended, NOW);
        let recorded = tested.recorded();
        for (acting, version) in
            [(acting, CredentialVersion::FIRST.next()), (ended, CredentialVersion::FIRST)]
        {
            let session = NewSession {
                credential_version: version,
                proof: Proof::Password(attempt.clone()),
                ..tested.new_session(user, NOW)
            };
            let new = PasswordHash::new("plain:1:new".to_owned());
            let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user);
            let refused = tested.store.change_password(acting, &new, &session, &event);
            assert!(matches!(refused, Err(OpenSessionError::UserChanged)), "{refused:?}");
        }
        assert_eq!(tested.recorded(), recorded, "nothing more is recorded");
    });
}

/// A deletion that the store refuses consumes nothing, whether the user or the acting session changed.
// MUST user-delete-refusal-keeps-proof
pub fn delete_user_that_is_refused_consumes_nothing(tested: &TestedStore) {
    refusal_consumes_nothing(tested, &|user, attempt| {
        let (acting, ended) = (tested.session(user).id, tested.session(user).id);
        tested.end(ended, NOW);
        let recorded = tested.recorded();
        for (session, credential_version) in
            [(acting, CredentialVersion::FIRST.next()), (ended, CredentialVersion::FIRST)]
        {
            let proof = Proof::Password(attempt.clone());
            let by = Reauthentication { session, credential_version, proof };
            let event = tested.event(EventKind::AccountDeleted, NOW).of_user(user);
            let refused = tested.delete_user(user, Some(by), &event);
            assert!(matches!(refused, Err(ChangeUserError::NotFound)), "{refused:?}");
        }
        assert_eq!(tested.recorded(), recorded, "nothing more is recorded");
    });
}

/// Makes changes that the store refuses, with a proof that has a counter and makes a network known: the counter stays, and
/// the network stays unknown.
fn refusal_consumes_nothing(tested: &TestedStore, refuse: &dyn Fn(UserId, SuccessfulAttempt)) {
    let user = tested.user("Alice").id;
    let network = some_counter(tested);
    let known = Some(KnownNetwork { counter: network, until: NOW + KNOWN_FOR });
    let attempt = SuccessfulAttempt { known, ..some_successful_attempt(tested) };
    let counter = attempt.counter;
    make_attempts(tested, counter, SCHEDULE.free);
    let before = find(tested, counter);
    assert!(before.is_some(), "the attempts are counted");

    refuse(user, attempt);
    let tested = &tested.reopened();
    assert_eq!(find(tested, counter), before, "the counter of the proof");
    assert_eq!(find(tested, network), None, "the network of the proof");
}

/// Makes a change with a successful attempt after few and after many others, and compares what it returns and what it made
/// events of with what the counter stood at.
fn consumes(
    tested: &TestedStore,
    change: &dyn Fn(&TestedStore, UserId, SuccessfulAttempt, &EventsAfter<'_>) -> u32,
) {
    for attempts in [0, 1, SCHEDULE.free - 1, SCHEDULE.free, SCHEDULE.free + 7] {
        let user = tested.user(&format!("Alice{attempts}")).id;
        let (attempt, other) = (some_successful_attempt(tested), some_counter(tested));
        make_attempts(tested, attempt.counter, attempts);
        make_attempts(tested, other, 2);
        let id = tested.event(EventKind::UserEnabled, NOW).of_user(user);
        let event = |attempts| SecurityEvent { kind: EventKind::ThrottlingEnded { attempts }, ..id.clone() };
        let before = tested.recorded().len();
        let counter = attempt.counter;
        let stood_at = change(tested, user, attempt, &|attempts| vec![event(attempts)]);
        assert_eq!(stood_at, attempts, "what the counter of the proof stood at");
        assert_eq!(find(tested, counter), None, "the counter of the proof, after {attempts} attempts");
        assert_eq!(find(tested, other).map(|counter| counter.attempts), Some(2), "another counter");
        let recorded = of_kind(tested, EventKind::ThrottlingEnded { attempts: 0 });
        let expected = RecordedEvent::from(&event(attempts));
        let theirs: Vec<_> = recorded.iter().filter(|event| event.user == Some(user)).collect();
        assert_eq!(theirs, [&expected], "the event made of {attempts} attempts");
        assert!(tested.recorded().len() > before, "events are recorded");
    }
}

/// Makes events of what a counter stood at.
type EventsAfter<'a> = dyn Fn(u32) -> Vec<SecurityEvent> + 'a;

/// Of successful attempts at once, each of which was counted, one finds the counter.
// MUST session-open-consumes-proof
pub fn a_counter_is_consumed_once_when_logins_race(tested: &TestedStore) {
    let user = tested.user("Alice").id;
    rounds(|_round| {
        let counter = some_counter(tested);
        make_attempts(tested, counter, SCHEDULE.free + 3);
        let sessions = [(); 4].map(|()| {
            let attempt = SuccessfulAttempt { counter, ..some_successful_attempt(tested) };
            let proof = Proof::Password(attempt);
            let session = NewSession { proof, ..bounded(tested, user) };
            let events = tested.events_of(&session);
            (session, events)
        });
        let attempts = race(sessions.len(), |n| {
            let (session, events) = &sessions[n];
            attempts_of(Some(
                tested.store.open_session(session, events).expect("the user did not change").consumed,
            ))
        });
        let expected = [0, 0, 0, SCHEDULE.free + 3];
        assert_eq!(sorted(attempts), expected, "what the counter stood at in each of four logins");
    });
}

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

/// A session that leaves room for few others, so that many rounds leave few live ones.
fn bounded(tested: &TestedStore, user: UserId) -> NewSession {
    NewSession { max_per_user: NonZeroU32::new(4).expect("not zero"), ..tested.new_session(user, NOW) }
}

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

fn purge_counters(tested: &TestedStore, now: UnixTime, most: u32) -> usize {
    tested.store.purge_counters(now, most, &|_: &PurgedCounter| None).expect("the store answers")
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

/// Returns what the counter of a consumed password stood at.
fn attempts_of(consumed: Option<ConsumedProof>) -> u32 {
    match consumed {
        Some(ConsumedProof::Password { attempts }) => attempts,
        other => panic!("not a password: {other:?}"),
    }
}
