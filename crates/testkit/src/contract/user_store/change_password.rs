//! New passwords by users.

use std::time::Duration;

use portcullis_domain::account::{ChangeUserError, CredentialVersion, UserStatus};
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::ports::StoreErrorKind;
use portcullis_domain::session::{NewSession, OpenSessionError};

use super::{ends_the_sessions, hash, nobody};
use crate::contract::{RecordedEvent, TestedStore, race, rounds};
use crate::fixtures::NOW;

/// Of all sessions the new one is left; the version is raised, and the event is recorded whole.
// MUST user-change-password-ends-sessions
pub fn change_password_leaves_the_new_session_alone(tested: &TestedStore) {
    let session =
        NewSession { id: SessionId::new(NOW, &*tested.random), ..tested.new_session(nobody(tested), NOW) };
    let change = |user: UserId, at| {
        let session = NewSession { user, opened_at: at, ..session.clone() };
        let event = tested.event(EventKind::PasswordChanged, at).of_user(user).in_session(session.id);
        let acting = tested.list(user, at)[0];
        let ended = tested.store.change_password(acting, &hash("new"), &session, &event);
        assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&event)), "the event recorded last");
        assert_eq!(tested.list(user, at), [session.id], "the live sessions of the user");
        ended.map(|changed| changed.ended).map_err(|_error| ChangeUserError::NotFound)
    };
    let user = ends_the_sessions(tested, "password_changed", &change);
    let tested = &tested.reopened();
    let found = tested.store.find_user(user).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), hash("new").expose(), "the stored hash");
    assert_eq!(found.credential_version, CredentialVersion::FIRST.next(), "the credential version");
    assert_eq!(found.status, UserStatus::Enabled, "the status of the user");
    assert!(tested.is_live(session.id, NOW + Duration::from_mins(1)), "the session is live");
}

/// Whoever verified a password that is no longer the password changes nothing, nor does one who is disabled or gone.
// MUST user-change-password-unchanged
pub fn change_password_after_a_change_is_refused(tested: &TestedStore) {
    let event = |kind, user: UserId| tested.event(kind, NOW).of_user(user);
    let [changed, disabled, deleted] = ["Alice", "Bob", "Carol"].map(|name| tested.user(name).id);
    tested.store.set_password(changed, &hash("set"), &event(EventKind::PasswordSet, changed)).unwrap();
    tested.store.disable_user(disabled, &event(EventKind::UserDisabled, disabled)).unwrap();
    tested.delete_user(deleted, None, &event(EventKind::UserDeleted, deleted)).unwrap();
    let mut other = tested.new_session(changed, NOW);
    other.credential_version = CredentialVersion::FIRST.next();
    tested.open(&other);
    let before = tested.recorded();

    for user in [changed, disabled, deleted, nobody(tested)] {
        let session = tested.new_session(user, NOW);
        let result = change_password(tested, other.id, "new", &session);
        assert!(matches!(result, Err(OpenSessionError::UserChanged)), "{result:?}");
        assert!(!tested.is_live(session.id, NOW), "the session is over");
        let hash = tested.store.find_user(user).unwrap().map(|user| user.password_hash.expose().to_owned());
        assert_ne!(hash.as_deref(), Some("plain:1:new"));
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert_eq!(tested.list(changed, NOW), [other.id], "the live sessions of the user");
    assert_eq!(tested.changes(NOW).ended, [], "the reported ends, with their times");
}

/// Nor does one whose own session is over, or not one's own, however well the password is known.
// MUST user-change-password-acting
pub fn change_password_from_no_live_session_is_refused(tested: &TestedStore) {
    let (user, other) = (tested.user("Alice"), tested.user("Bob"));
    let (kept, over, bobs) = (tested.session(user.id), tested.session(user.id), tested.session(other.id));
    tested.end(over.id, NOW);
    let before = tested.recorded();
    for acting in [over.id, bobs.id, SessionId::new(NOW, &*tested.random)] {
        let session = tested.new_session(user.id, NOW);
        let result = change_password(tested, acting, "new", &session);
        assert!(matches!(result, Err(OpenSessionError::UserChanged)), "{result:?}");
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert_eq!(tested.list(user.id, NOW), [kept.id], "the live sessions of the user");
    let found = tested.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), user.password_hash.expose(), "the stored hash");
    assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");
}

/// A new password does not open a session that would be over at once, and is not stored then.
// MUST user-change-password-valid
pub fn change_password_to_an_invalid_session_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    let acting = tested.new_session(user.id, NOW.next_second());
    tested.open(&acting);
    let before = tested.recorded();

    match change_password(tested, acting.id, "new", &tested.new_session(user.id, NOW)) {
        Err(OpenSessionError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        other => panic!("{other:?}"),
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    let reopened = &tested.reopened();
    assert_eq!(reopened.list(user.id, acting.opened_at), [acting.id], "the live sessions of the user");
    let found = reopened.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), user.password_hash.expose(), "the stored hash");
    assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");

    let valid = tested.new_session(user.id, acting.opened_at);
    let ended = change_password(tested, acting.id, "new", &valid).expect("the session is valid");
    assert_eq!(ended, [acting.id], "the sessions that the change ended");
}

/// Of four who change one password at once, one does; that one's password and session are left.
// ASVS 15.4.2
// MUST user-change-password-once
pub fn change_password_lets_exactly_one_racer_win(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let old = tested.session(user.id);
        let sessions: Vec<_> = (0..4).map(|_| tested.new_session(user.id, NOW)).collect();
        let results = race(4, |n| change_password(tested, old.id, &n.to_string(), &sessions[n]));
        let won: Vec<_> = (0..4).filter(|n| results[*n].is_ok()).collect();
        let lost = results.iter().filter(|r| matches!(r, Err(OpenSessionError::UserChanged))).count();
        let &[winner] = won.as_slice() else { panic!("{results:?}") };
        assert_eq!(lost, 3, "{results:?}");
        assert_eq!(results[winner].as_deref().ok(), Some(&[old.id][..]));
        assert_eq!(tested.list(user.id, NOW), [sessions[winner].id], "the live sessions of the user");
        let found = tested.store.find_user(user.id).unwrap().expect("stored");
        assert_eq!(found.password_hash.expose(), hash(&winner.to_string()).expose(), "the stored hash");
        assert_eq!(found.credential_version, CredentialVersion::FIRST.next(), "the credential version");
    });
}

/// Whether a login commits before the change or after it, no session of the old password is left.
// MUST user-change-password-ends-sessions
pub fn change_password_racing_open_leaves_the_new_session_alone(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let (acting, new) = (tested.session(user.id), tested.new_session(user.id, NOW));
        race(5, |n| match n {
            0 => drop(change_password(tested, acting.id, "new", &new).expect("the first change")),
            _ => match tested.try_open(&tested.new_session(user.id, NOW)) {
                Ok(_) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
        });
        assert_eq!(tested.list(user.id, NOW), [new.id], "the live sessions of the user");
    });
}

/// Whichever commits first, nobody who is disabled is left with a session.
// MUST user-disable-ends-sessions
pub fn change_password_racing_disable_leaves_no_live_session(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let acting = tested.session(user.id);
        race(2, |n| match n {
            0 => {
                let event = tested.event(EventKind::UserDisabled, NOW).of_user(user.id);
                tested.store.disable_user(user.id, &event).map(drop).unwrap();
            }
            _ => match change_password(tested, acting.id, "new", &tested.new_session(user.id, NOW)) {
                Ok(_) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
        });
        assert_eq!(tested.list(user.id, NOW), [], "the live sessions of the user");
        let found = tested.store.find_user(user.id).unwrap().expect("stored");
        assert_eq!(found.status, UserStatus::Disabled, "the status of the user");
    });
}

fn change_password(
    tested: &TestedStore,
    acting: SessionId,
    password: &str,
    session: &NewSession,
) -> Result<Vec<SessionId>, OpenSessionError> {
    let event = tested.event(EventKind::PasswordChanged, session.opened_at);
    let event = event.of_user(session.user).in_session(session.id);
    tested.store.change_password(acting, &hash(password), session, &event).map(|changed| changed.ended)
}
