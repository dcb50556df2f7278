//! Changes that consume a successful attempt.

use std::num::NonZeroU32;

use portcullis_domain::account::{ChangeUserError, CredentialVersion, Reauthentication, UserDeleted};
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::session::{ConsumedProof, NewSession, OpenSessionError, Proof, SessionOpened};
use portcullis_domain::throttle::{
    AttemptCounter, AttemptDecision, KNOWN_FOR, KnownNetwork, SCHEDULE, SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;

use super::{
    begin, find, granted, is_counter, make_attempts, of_kind, some_counter, some_successful_attempt,
};
use crate::contract::{RecordedEvent, TestedStore, race, rounds, sorted};
use crate::fixtures::NOW;

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

/// A session that leaves room for few others, so that many rounds leave few live ones.
fn bounded(tested: &TestedStore, user: UserId) -> NewSession {
    NewSession { max_per_user: NonZeroU32::new(4).expect("not zero"), ..tested.new_session(user, NOW) }
}

/// Returns what the counter of a consumed password stood at.
fn attempts_of(consumed: Option<ConsumedProof>) -> u32 {
    match consumed {
        Some(ConsumedProof::Password { attempts }) => attempts,
        other => panic!("not a password: {other:?}"),
    }
}
