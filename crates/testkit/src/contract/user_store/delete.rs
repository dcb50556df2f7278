//! Deleting users.

use portcullis_domain::account::{CanonicalName, ChangeUserError, CredentialVersion};
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::session::EndOutcome;

use super::{confirmed_in, ends_the_sessions, hash};
use crate::contract::{RecordedEvent, TestedStore, race, rounds};
use crate::fixtures::NOW;

/// With the user the sessions end, of this user and of nobody else. Every instance is told, also of a user who is
/// gone, and that they are over is known until they are purged.
// MUST user-delete-ends-sessions
pub fn delete_ends_the_sessions(tested: &TestedStore) {
    let change = |user: UserId, at| {
        let event = tested.event(EventKind::UserDeleted, at).of_user(user);
        let ended = tested.delete_user(user, Some(confirmed_in(tested, tested.list(user, at)[0])), &event);
        assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&event)), "the event recorded last");
        for session in ended.iter().flatten() {
            for owner in [None, Some(user)] {
                assert_eq!(tested.end_of(owner, *session, at), EndOutcome::AlreadyEnded);
            }
        }
        assert_eq!(tested.list(user, at), [], "the live sessions of the user");
        ended
    };
    let user = ends_the_sessions(tested, "user_deleted", &change);
    let tested = &tested.reopened();
    assert!(tested.store.find_user(user).unwrap().is_none(), "there is no such user");
    assert!(tested.store.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none());
    let of_the_user = tested.recorded().into_iter().filter(|event| event.user == Some(user)).count();
    assert!(of_the_user > 1, "what happened before stays recorded");
}

/// The name can be registered again, by somebody with whom the user of before has nothing in common.
// MUST user-delete-frees-name
pub fn delete_frees_the_name(tested: &TestedStore) {
    let old = tested.user("Alice");
    let session = tested.session(old.id);
    let event = tested.event(EventKind::UserDeleted, NOW).of_user(old.id);
    assert_eq!(tested.delete_user(old.id, None, &event).unwrap(), [session.id]);

    let tested = &tested.reopened();
    let new = tested.user("aLICE");
    let found = tested.store.find_user_by_name(&CanonicalName::of("Alice")).unwrap().expect("stored");
    assert_eq!(found.id, new.id);
    assert_eq!(tested.list(new.id, NOW), [], "the live sessions of the user");
    assert_eq!(tested.end_of(Some(new.id), session.id, NOW), EndOutcome::Unknown);
    assert!(tested.store.find_user(old.id).unwrap().is_none(), "there is no such user");
}

/// Whoever verified a password that is no longer the password deletes nothing, nor does one who is disabled; an
/// operator, who verified none, deletes anybody.
// MUST user-delete-unchanged
pub fn delete_after_a_change_is_refused(tested: &TestedStore) {
    let event = |kind, user: UserId| tested.event(kind, NOW).of_user(user);
    let [changed, disabled] = ["Alice", "Bob"].map(|name| tested.user(name).id);
    tested.store.set_password(changed, &hash("set"), &event(EventKind::PasswordSet, changed)).unwrap();
    tested.store.disable_user(disabled, &event(EventKind::UserDisabled, disabled)).unwrap();
    let mut session = tested.new_session(changed, NOW);
    session.credential_version = CredentialVersion::FIRST.next();
    tested.open(&session);
    let before = tested.recorded();

    for user in [changed, disabled] {
        let confirmed = Some(confirmed_in(tested, session.id));
        let result = tested.delete_user(user, confirmed, &event(EventKind::AccountDeleted, user));
        assert!(matches!(result, Err(ChangeUserError::NotFound)), "{result:?}");
        assert!(tested.store.find_user(user).unwrap().is_some(), "the user is there");
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert!(tested.is_live(session.id, NOW), "the session is live");
    assert_eq!(tested.changes(NOW).ended, [], "the reported ends, with their times");

    for user in [changed, disabled] {
        tested.delete_user(user, None, &event(EventKind::UserDeleted, user)).map(drop).unwrap();
        assert!(tested.store.find_user(user).unwrap().is_none(), "there is no such user");
    }
}

/// Nor does one whose own session is over, or not one's own.
// MUST user-delete-acting
pub fn delete_from_no_live_session_is_refused(tested: &TestedStore) {
    let (user, other) = (tested.user("Alice"), tested.user("Bob"));
    let (kept, over, bobs) = (tested.session(user.id), tested.session(user.id), tested.session(other.id));
    tested.end(over.id, NOW);
    let before = tested.recorded();
    for acting in [over.id, bobs.id, SessionId::new(NOW, &*tested.random)] {
        let event = tested.event(EventKind::AccountDeleted, NOW).of_user(user.id);
        let result = tested.delete_user(user.id, Some(confirmed_in(tested, acting)), &event);
        assert!(matches!(result, Err(ChangeUserError::NotFound)), "{result:?}");
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert!(tested.store.find_user(user.id).unwrap().is_some(), "the user is there");
    assert_eq!(tested.list(user.id, NOW), [kept.id], "the live sessions of the user");
}

/// Of four who delete a user at once, one does.
// MUST user-delete-once
pub fn delete_is_acknowledged_once(tested: &TestedStore) {
    let mut deleted = 0;
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let session = tested.session(user.id);
        let calls = [(); 4].map(|()| {
            let event = tested.event(EventKind::UserDeleted, NOW).of_user(user.id);
            (confirmed_in(tested, session.id), event)
        });
        let results = race(calls.len(), |n| {
            let (by, event) = &calls[n];
            tested.delete_user(user.id, Some(by.clone()), event)
        });
        let done: Vec<_> = results.iter().flatten().collect();
        assert_eq!(done, [&[session.id]], "the sessions that each successful call ended: {results:?}");
        let lost = results.iter().filter(|r| matches!(r, Err(ChangeUserError::NotFound))).count();
        assert_eq!(lost, 3, "calls that found no user: {results:?}");
        deleted += 1;
    });
    assert_eq!(tested.count_of("user_deleted"), deleted, "recorded deletions");
}
