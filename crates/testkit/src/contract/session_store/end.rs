//! Ending sessions.

use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::session::{EndOutcome, RotateOutcome};
use portcullis_domain::time::UnixTime;

use super::SECOND;
use crate::contract::{RecordedEvent, TestedStore, sorted};
use crate::fixtures::{IDLE, NOW};

/// The first end is acknowledged and recorded with the user; the next finds nothing to do.
// MUST session-end-once session-end-event
pub fn end_is_acknowledged_once(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let at = NOW + SECOND;
    assert!(tested.end(session.id, at));
    let tested = &tested.reopened();
    assert!(!tested.is_live(session.id, at), "the session is over");
    let expected =
        tested.event(EventKind::LoggedOut(LogoutScope::Current), at).in_session(session.id).of_user(user.id);
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&expected)), "the event recorded last");

    let before = tested.recorded();
    assert!(!tested.end(session.id, at + SECOND));
    assert!(!tested.end(SessionId::new(NOW, &*tested.random), at));
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert_eq!(tested.changes(NOW).ended, [(session.id, at)], "the first end counts");
}

/// A session that has expired by one clock may live by another: told to end, it ends for all of them.
// MUST session-end-expired
pub fn end_ends_expired_sessions_too(tested: &TestedStore) {
    let user = tested.user("Alice");
    let [alone, one, other] = [(); 3].map(|()| tested.session(user.id).id);
    let late = NOW + IDLE;
    assert!(tested.end(alone, late));
    let event = tested.event(EventKind::LoggedOut(LogoutScope::All), late).of_user(user.id);
    let ended = tested.store.end_sessions(user.id, None, &event).unwrap();
    assert_eq!(sorted(ended), sorted([one, other]));
    let tested = &tested.reopened();
    for session in [alone, one, other] {
        assert!(!tested.is_live(session, NOW), "the session is over");
        assert_eq!(tested.present(session, 0, NOW), RotateOutcome::Gone);
    }
}

/// To others than its owner a session is as unknown as one that never was; with its owner, or without regard to
/// owners, it ends once, and that it is over is known as long as it is remembered.
// MUST session-end-owner
pub fn end_is_only_for_the_owner(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let session = tested.session(alice.id);
    let never_was = SessionId::new(NOW, &*tested.random);
    let before = tested.recorded();
    for owner in [None, Some(alice.id), Some(bob.id)] {
        assert_eq!(tested.end_of(owner, never_was, NOW), EndOutcome::Unknown);
    }
    let nobody = UserId::new(NOW, &*tested.random);
    for foreigner in [bob.id, nobody] {
        assert_eq!(tested.end_of(Some(foreigner), session.id, NOW), EndOutcome::Unknown);
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert!(tested.is_live(session.id, NOW), "the session is live");

    assert_eq!(tested.end_of(Some(alice.id), session.id, NOW), EndOutcome::Ended);
    assert_eq!(tested.recorded().len(), before.len() + 1);
    for owner in [None, Some(alice.id)] {
        assert_eq!(tested.end_of(owner, session.id, NOW), EndOutcome::AlreadyEnded);
    }
    assert_eq!(tested.end_of(Some(bob.id), session.id, NOW), EndOutcome::Unknown, "nor that it was");
    assert_eq!(tested.recorded().len(), before.len() + 1);
}

/// The live sessions of one user end and are told; the event is recorded once, also where there was nothing to end.
// MUST session-end-all-of-one-user session-end-all-event
pub fn end_all_ends_the_live_sessions_of_one_user(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let at = NOW + SECOND;
    let sessions = sorted([0, 1].map(|_| tested.session(alice.id).id));
    let (over, bobs) = (tested.session(alice.id), tested.session(bob.id));
    tested.end(over.id, NOW);
    let event = tested.event(EventKind::UserSessionsEnded, at).of_user(alice.id);

    assert_eq!(sorted(tested.store.end_sessions(alice.id, None, &event).unwrap()), sessions);
    let tested = &tested.reopened();
    assert_eq!(tested.list(alice.id, at), [], "the live sessions of the user");
    assert!(tested.is_live(bobs.id, at), "the session is live");
    assert_eq!(
        tested.changes(at).ended,
        sessions.into_iter().map(|id| (id, at)).collect::<Vec<_>>(),
        "the reported ends, with their times"
    );
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&event)), "the event recorded last");

    let again = tested.event(EventKind::UserSessionsEnded, at + SECOND).of_user(alice.id);
    assert_eq!(tested.store.end_sessions(alice.id, None, &again).unwrap(), []);
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&again)), "the event recorded last");
    assert_eq!(tested.changes(at + SECOND).ended, [], "the first end counts");
}

/// One session may be spared; to spare somebody else's spares nothing.
// MUST session-end-all-except session-end-all-of-one-user
pub fn end_all_spares_the_excepted_session(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let [here, there] = [0, 1].map(|_| tested.session(alice.id).id);
    let bobs = tested.session(bob.id);
    let end_all = |except| {
        let event = tested.event(EventKind::LoggedOut(LogoutScope::Others), NOW).of_user(alice.id);
        tested.store.end_sessions(alice.id, Some(except), &event).unwrap()
    };
    assert_eq!(end_all(here), [there], "the sessions that ended");
    assert_eq!(tested.list(alice.id, NOW), [here], "the live sessions of the user");
    assert_eq!(end_all(here), [], "the sessions that ended");
    assert_eq!(end_all(bobs.id), [here], "the sessions that ended");
    assert!(tested.is_live(bobs.id, NOW), "the session is live");
}

/// Sessions whose end was lost end again, and no others; nothing is recorded.
// MUST session-end-again session-end-again-event
pub fn end_again_ends_only_live_sessions(tested: &TestedStore) {
    let user = tested.user("Alice");
    let [lost, also_lost, ended, live] = [(); 4].map(|()| tested.session(user.id).id);
    let unknown = tested.new_session(user.id, NOW).id;
    tested.end(ended, NOW);
    let recorded = tested.recorded();
    let at = NOW + SECOND;
    let end_again = |sessions: &[SessionId]| {
        sorted(tested.store.end_again(sessions, at, UnixTime::EPOCH).expect("the store answers"))
    };
    assert_eq!(end_again(&[lost, ended, unknown, also_lost]), sorted([lost, also_lost]));
    assert_eq!(end_again(&[lost, ended, unknown, also_lost]), []);
    assert_eq!(end_again(&[]), []);
    let tested = &tested.reopened();
    assert_eq!(tested.list(user.id, NOW), [live]);
    assert_eq!(tested.recorded(), recorded);
    let changes = tested.changes(NOW);
    let all = sorted([(lost, at), (also_lost, at), (ended, NOW)]);
    assert_eq!((changes.ended, changes.valid_from), (all, UnixTime::EPOCH));
}

/// The time that sessions are valid from is restored, and so is the high-water mark.
// MUST session-end-again-valid-from
pub fn end_again_raises_valid_from(tested: &TestedStore) {
    let user = tested.user("Alice");
    let old = tested.session(user.id).id;
    let end_again = |valid_from| tested.store.end_again(&[old], NOW, valid_from).expect("the store answers");
    for (valid_from, expected) in [(30, 30), (20, 30), (40, 40)] {
        assert_eq!(end_again(NOW + SECOND * valid_from), [], "it is invalid");
        let changes = tested.reopened().changes(NOW);
        let expected = NOW + SECOND * expected;
        assert_eq!(changes.valid_from, expected);
        assert!(changes.time.is_none_or(|time| time.high_water_mark == expected), "{changes:?}");
        assert!(!tested.is_live(old, NOW));
    }
}
