//! Opening sessions.

use std::num::NonZeroU32;

use portcullis_domain::account::CredentialVersion;
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::StoreErrorKind;
use portcullis_domain::session::{NewSession, OpenSessionError};
use portcullis_domain::time::UnixTime;

use super::SECOND;
use crate::contract::{RecordedEvent, TestedStore, race, rounds, sorted};
use crate::fixtures::{IDLE, NOW};

/// Opening records its event, whole.
// MUST session-open-event store-durable
pub fn open_records_its_event(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let tested = &tested.reopened();
    let expected = tested.opening_of(&session);
    assert!(tested.recorded().contains(&RecordedEvent::from(&expected)));
    assert!(tested.is_live(session.id, NOW), "the session is live");
}

/// A login in flight while its user is disabled opens nothing.
// MUST session-open-user-unchanged
pub fn open_after_disable_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    let event = tested.event(EventKind::UserDisabled, NOW).of_user(user.id);
    tested.store.disable_user(user.id, &event).unwrap();
    refuses_to_open(tested, user.id, CredentialVersion::FIRST);
}

/// A login in flight while its user gets a new password opens nothing; a later one does.
// MUST session-open-user-unchanged
pub fn open_after_a_password_change_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    tested.store.set_password(user.id, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    refuses_to_open(tested, user.id, CredentialVersion::FIRST);

    let mut session = tested.new_session(user.id, NOW);
    session.credential_version = CredentialVersion::FIRST.next();
    tested.open(&session);
}

/// Nobody has no sessions.
// MUST session-open-user-unchanged
pub fn open_for_an_unknown_user_is_refused(tested: &TestedStore) {
    refuses_to_open(tested, UserId::new(NOW, &*tested.random), CredentialVersion::FIRST);
}

/// Whether a login commits before a disable or after it, no session is left.
// ASVS 15.4.2
// MUST session-open-user-unchanged
pub fn open_racing_disable_leaves_no_live_session(tested: &TestedStore) {
    open_racing(tested, &|user| {
        let event = tested.event(EventKind::UserDisabled, NOW).of_user(user);
        tested.store.disable_user(user, &event).unwrap();
    });
}

/// Whether a login commits before a new password or after it, no session of the old one is left.
// MUST session-open-user-unchanged
pub fn open_racing_set_password_leaves_no_live_session(tested: &TestedStore) {
    open_racing(tested, &|user| {
        let event = tested.event(EventKind::PasswordSet, NOW).of_user(user);
        tested.store.set_password(user, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    });
}

/// Nobody who was deleted is left with a session.
// MUST session-open-user-unchanged
pub fn open_racing_delete_leaves_no_live_session(tested: &TestedStore) {
    open_racing(tested, &|user| {
        let event = tested.event(EventKind::UserDeleted, NOW).of_user(user);
        tested.delete_user(user, None, &event).unwrap();
    });
}

fn open_racing(tested: &TestedStore, change: &(dyn Fn(UserId) + Sync)) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let sessions: Vec<_> = (0..4).map(|_| tested.new_session(user.id, NOW)).collect();
        race(5, |n| match sessions.get(n) {
            Some(session) => match tested.try_open(session) {
                Ok(_) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
            None => change(user.id),
        });
        assert_eq!(tested.list(user.id, NOW), [], "the live sessions of the user");
        let live: Vec<_> = sessions.iter().filter(|session| tested.is_live(session.id, NOW)).collect();
        assert!(live.is_empty(), "{live:?}");
    });
}

/// The oldest sessions end to make room, as many as there are too many, and each end is recorded and told.
// MUST session-open-bound session-open-evicts-oldest
pub fn open_ends_the_oldest_beyond_the_bound(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let bobs = tested.session(bob.id);
    let open = |second, bound| {
        let session = bounded(tested, alice.id, NOW + SECOND * second, bound);
        let evicted = tested.try_open(&session).expect("the user did not change");
        (session.id, sorted(evicted))
    };
    let [(first, none), (second, nor), (third, nothing)] = [0, 1, 2].map(|n| open(n, 3));
    assert_eq!([none, nor, nothing], [[], [], []], "the sessions evicted by the first three");

    let (fourth, evicted) = open(3, 3);
    assert_eq!(evicted, [first], "the sessions evicted by the fourth of three");
    assert_eq!(
        tested.list(alice.id, NOW + SECOND * 3),
        [fourth, third, second],
        "the live sessions of the user"
    );

    let (fifth, evicted) = open(4, 2);
    assert_eq!(evicted, sorted([second, third]), "the bound was lowered");
    assert_eq!(tested.list(alice.id, NOW + SECOND * 4), [fifth, fourth], "the live sessions of the user");
    assert!(tested.is_live(bobs.id, NOW + SECOND * 4), "of others, nothing ends");

    let tested = &tested.reopened();
    let ends = [(first, NOW + SECOND * 3), (second, NOW + SECOND * 4), (third, NOW + SECOND * 4)];
    assert_eq!(tested.changes(NOW).ended, sorted(ends), "the reported ends, with their times");
    for (session, at) in ends {
        let event = tested.event(EventKind::SessionEvicted, at).of_user(alice.id).in_session(session);
        let event = RecordedEvent::from(&event);
        assert_eq!(tested.recorded().into_iter().filter(|recorded| *recorded == event).count(), 1);
    }
    assert_eq!(tested.count_of("session_evicted"), ends.len(), "recorded events of this name");
}

/// What is over takes no room.
// MUST session-open-evicts-oldest
pub fn open_counts_live_sessions_alone(tested: &TestedStore) {
    let user = tested.user("Alice");
    let (_expired, ended) = (tested.session(user.id), tested.new_session(user.id, NOW + SECOND));
    let late = NOW + IDLE;
    tested.open(&ended);
    tested.end(ended.id, late - SECOND);
    let live = tested.new_session(user.id, late - SECOND);
    tested.open(&live);
    let newest = bounded(tested, user.id, late, 2);
    assert_eq!(tested.try_open(&newest).unwrap(), []);
    assert_eq!(tested.list(user.id, late), [newest.id, live.id], "the live sessions of the user");
}

/// Eight logins at once, of which three may stay: five end, each once, and each is recorded.
// ASVS 2.3.4
// MUST session-open-bound
pub fn open_keeps_the_bound_when_callers_race(tested: &TestedStore) {
    let mut evictions = 0;
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let sessions = [(); 8].map(|()| bounded(tested, user.id, NOW, 3));
        let opened = race(sessions.len(), |n| {
            (sessions[n].id, tested.try_open(&sessions[n]).expect("the user did not change"))
        });
        let live = tested.list(user.id, NOW);
        assert_eq!(live.len(), 3, "live sessions of a user who may have three: {live:?}");
        let evicted = opened.iter().flat_map(|(_, evicted)| evicted.iter().copied());
        let all = sorted(opened.iter().map(|(id, _)| *id));
        assert_eq!(sorted(evicted.chain(live)), all, "each session is live or was evicted once");
        evictions += sessions.len() - 3;
    });
    assert_eq!(tested.count_of("session_evicted"), evictions, "recorded evictions");
}

fn bounded(tested: &TestedStore, user: UserId, opened_at: UnixTime, max_per_user: u32) -> NewSession {
    let max_per_user = NonZeroU32::new(max_per_user).expect("room for the new one");
    NewSession { max_per_user, ..tested.new_session(user, opened_at) }
}

/// A login does not open a session that would be over at once.
// MUST session-open-valid
pub fn open_of_invalid_session_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    let before = tested.recorded();
    let dead = tested.new_session(user.id, NOW);
    match tested.try_open(&dead) {
        Err(OpenSessionError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        other => panic!("{other:?}"),
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert_eq!(tested.list(user.id, NOW), [], "the live sessions of the user");
    tested.open(&tested.new_session(user.id, NOW.next_second()));
}

fn refuses_to_open(tested: &TestedStore, user: UserId, version: CredentialVersion) {
    let before = tested.recorded();
    let mut session = tested.new_session(user, NOW);
    session.credential_version = version;
    let result = tested.try_open(&session);
    assert!(matches!(result, Err(OpenSessionError::UserChanged)), "{result:?}");
    assert!(!tested.is_live(session.id, NOW), "the session is over");
    assert_eq!(tested.recorded(), before, "what did not happen is not recorded");
}
