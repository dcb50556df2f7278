//! Promises of [`UserStore`](portcullis_domain::account::UserStore).

use std::time::Duration;

use portcullis_domain::account::{
    CanonicalName, ChangeUserError, CredentialVersion, InsertUserError, Reauthentication, UserStatus,
};
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::StoreErrorKind;
use portcullis_domain::session::{EndOutcome, NewSession, OpenSessionError, Proof};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, TestedStore, race, rounds, sorted};
use crate::fixtures::{self, NOW};

/// A name is taken in any case; the refused insert leaves nothing behind, not even its event.
// MUST user-insert-unique
pub fn insert_refuses_a_taken_name_in_any_case(tested: &TestedStore) {
    tested.user("Alice");
    for name in ["Alice", "alice", "ALICE"] {
        let user = fixtures::new_user(name, &*tested.random);
        let event = tested.event(EventKind::UserRegistered, NOW).of_user(user.id);
        let result = tested.store.insert_user(&user, &event);
        assert!(matches!(result, Err(InsertUserError::UsernameTaken)), "{name}: {result:?}");
        assert!(tested.store.find_user(user.id).unwrap().is_none(), "there is no such user");
    }
    assert_eq!(tested.recorded_names(), ["user_registered"]);
}

/// Of 32 callers who want one name at once, one gets it and 31 are told that it is taken.
// ASVS 2.3.4 15.4.2
// MUST user-insert-unique
pub fn insert_lets_exactly_one_racer_win(tested: &TestedStore) {
    let mut registered = 0;
    rounds(|round| {
        let users: Vec<_> = (0..32)
            .map(|n| {
                let name = format!("{}{round}", if n % 2 == 0 { "Racer" } else { "rACER" });
                let user = fixtures::new_user(&name, &*tested.random);
                let event = tested.event(EventKind::UserRegistered, NOW).of_user(user.id);
                (user, event)
            })
            .collect();
        let results = race(users.len(), |n| tested.store.insert_user(&users[n].0, &users[n].1));
        let won = results.iter().filter(|result| result.is_ok()).count();
        let lost = results.iter().filter(|r| matches!(r, Err(InsertUserError::UsernameTaken))).count();
        assert_eq!((won, lost), (1, 31), "callers that got the name, and that were refused: {results:?}");
        registered += 1;
    });
    assert_eq!(tested.count_of("user_registered"), registered, "recorded registrations");
}

/// A user comes back as it was stored, by id and by name in any case, to the microsecond.
// MUST user-find-stored store-durable
pub fn finds_what_was_inserted(tested: &TestedStore) {
    let user = tested.user("Alice");
    tested.user("Bob");
    let tested = &tested.reopened();
    let by_id = tested.store.find_user(user.id).unwrap().expect("stored");
    let by_name = tested.store.find_user_by_name(&CanonicalName::of("ALICE")).unwrap().expect("stored");
    for found in [by_id, by_name] {
        assert_eq!(found.id, user.id);
        assert_eq!(found.username, user.username);
        assert_eq!(found.password_hash.expose(), user.password_hash.expose(), "the stored hash");
        assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");
        assert_eq!(found.status, UserStatus::Enabled, "the status of the user");
        assert_eq!(found.created_at, NOW);
    }
    let expected = tested.event(EventKind::UserRegistered, NOW).of_user(user.id);
    assert_eq!(tested.recorded()[0], RecordedEvent::from(&expected));
}

/// Unknown names and ids are `None`, whatever text was asked for.
// MUST user-find-unknown
pub fn finds_nothing_where_nothing_is(tested: &TestedStore) {
    tested.user("Alice");
    for name in ["", "bob", "alic", "alice ", "' OR 1=1 --", "%", "al_ce", "\u{1f980}"] {
        assert!(tested.store.find_user_by_name(&CanonicalName::of(name)).unwrap().is_none(), "{name:?}");
    }
    assert!(
        tested.store.find_user(UserId::new(NOW, &*tested.random)).unwrap().is_none(),
        "there is no such user"
    );
}

/// Names that registration would refuse are stored, shown as they are, and found without regard to case.
// MUST user-find-imported
pub fn imported_names_live(tested: &TestedStore) {
    for (name, typed) in [("Bob@Example.com", "bob@example.COM"), ("É", "e\u{301}"), ("x y", "X Y")] {
        let user = tested.user(name);
        let tested = &tested.reopened();
        let found = tested.store.find_user_by_name(&CanonicalName::of(typed)).unwrap().expect("stored");
        assert_eq!((found.id, found.username.as_str()), (user.id, name));
    }
}

/// A rehash replaces the hash alone.
// MUST user-upgrade-hash-version
pub fn upgrade_hash_does_not_change_the_credential_version(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let new = PasswordHash::new("plain:1:stronger".to_owned());
    let event = tested.event(EventKind::HashUpgraded, NOW).of_user(user.id);
    assert!(tested.store.upgrade_hash(user.id, &user.password_hash, &new, &event).unwrap());

    let tested = &tested.reopened();
    let found = tested.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), new.expose(), "the stored hash");
    assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");
    assert!(tested.is_live(session.id, NOW), "the session is live");
    assert!(tested.recorded_names().contains(&"hash_upgraded".to_owned()));
}

/// A rehash made from the old password's hash does nothing once the password changed.
// MUST user-upgrade-hash-no-undo
pub fn rehash_never_undoes_a_password_change(tested: &TestedStore) {
    let user = tested.user("Alice");
    let changed = PasswordHash::new("plain:1:changed".to_owned());
    let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    tested.store.set_password(user.id, &changed, &event).unwrap();

    let tested = &tested.reopened();
    let rehash = PasswordHash::new("plain:2:old password, rehashed".to_owned());
    let event = tested.event(EventKind::HashUpgraded, NOW).of_user(user.id);
    assert!(!tested.store.upgrade_hash(user.id, &user.password_hash, &rehash, &event).unwrap());
    assert_eq!(
        tested.store.find_user(user.id).unwrap().expect("stored").password_hash.expose(),
        changed.expose()
    );
    assert!(
        !tested.recorded_names().contains(&"hash_upgraded".to_owned()),
        "nothing happened, nothing is recorded"
    );
}

/// Nor does one that races the change: the new password's hash is what is left.
// MUST user-upgrade-hash-no-undo
pub fn upgrade_hash_racing_set_password_leaves_the_new_password(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let changed = PasswordHash::new("plain:1:changed".to_owned());
        let rehash = PasswordHash::new("plain:2:old password, rehashed".to_owned());
        race(4, |n| match n {
            0 => {
                let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id);
                tested.store.set_password(user.id, &changed, &event).map(drop).unwrap();
            }
            _ => {
                let event = tested.event(EventKind::HashUpgraded, NOW).of_user(user.id);
                tested.store.upgrade_hash(user.id, &user.password_hash, &rehash, &event).map(drop).unwrap();
            }
        });
        let found = tested.store.find_user(user.id).unwrap().expect("stored");
        assert_eq!(found.password_hash.expose(), changed.expose(), "the stored hash");
        assert_eq!(found.credential_version, CredentialVersion::FIRST.next(), "the credential version");
    });
}

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

/// A new password raises the version and ends the live sessions of this user, and of nobody else.
// MUST user-set-password-ends-sessions
pub fn set_password_ends_the_sessions(tested: &TestedStore) {
    let change = |user: UserId, at| {
        let event = tested.event(EventKind::PasswordChanged, at).of_user(user);
        tested.store.set_password(user, &PasswordHash::new("plain:1:new".to_owned()), &event)
    };
    let user = ends_the_sessions(tested, "password_changed", &change);
    let tested = &tested.reopened();
    let found = tested.store.find_user(user).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), "plain:1:new", "the stored hash");
    assert_eq!(found.credential_version, CredentialVersion::FIRST.next(), "the credential version");
    assert_eq!(found.status, UserStatus::Enabled, "the status of the user");
}

/// Disabling ends the live sessions of this user, and of nobody else.
// MUST user-disable-ends-sessions
pub fn disable_ends_the_sessions(tested: &TestedStore) {
    let change = |user: UserId, at| {
        let event = tested.event(EventKind::UserDisabled, at).of_user(user);
        tested.store.disable_user(user, &event)
    };
    let user = ends_the_sessions(tested, "user_disabled", &change);
    let tested = &tested.reopened();
    let found = tested.store.find_user(user).unwrap().expect("stored");
    assert_eq!(found.status, UserStatus::Disabled, "the status of the user");
    assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");
}

/// Who is enabled again may log in again, with the password of before; what ended stays ended.
// MUST user-enable-revives-nothing
pub fn enable_revives_no_session(tested: &TestedStore) {
    let user = tested.user("Alice");
    let old = tested.session(user.id);
    let event = tested.event(EventKind::UserDisabled, NOW).of_user(user.id);
    tested.store.disable_user(user.id, &event).unwrap();
    let event = tested.event(EventKind::UserEnabled, NOW + Duration::from_secs(1)).of_user(user.id);
    tested.store.enable_user(user.id, &event).unwrap();
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&event)), "the event recorded last");

    let tested = &tested.reopened();
    let found = tested.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.status, UserStatus::Enabled, "the status of the user");
    assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");
    assert_eq!(found.password_hash.expose(), user.password_hash.expose(), "the stored hash");
    assert!(!tested.is_live(old.id, NOW), "the session is over");
    let new = tested.session(user.id);
    assert_eq!(tested.list(user.id, NOW), [new.id], "the live sessions of the user");
}

/// With the user the sessions end, of this user and of nobody else. Every instance is told, also of a user who is
/// gone, and that they are over is known until they are swept out.
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

/// Changing nobody says so and records nothing.
// MUST user-change-unknown
pub fn changing_an_unknown_user_changes_nothing(tested: &TestedStore) {
    let nobody = nobody(tested);
    let event = tested.event(EventKind::UserDisabled, NOW).of_user(nobody);
    let results = [
        tested.store.disable_user(nobody, &event),
        tested.store.enable_user(nobody, &event).map(|()| vec![]),
        tested.store.set_password(nobody, &hash("new"), &event),
        tested.delete_user(nobody, None, &event),
        tested.delete_user(nobody, Some(confirmed_in(tested, SessionId::new(NOW, &*tested.random))), &event),
    ];
    assert!(results.iter().all(|result| matches!(result, Err(ChangeUserError::NotFound))), "{results:?}");
    assert!(!tested.store.upgrade_hash(nobody, &hash("new"), &hash("new"), &event).unwrap());
    assert_eq!(tested.recorded(), [], "nothing is recorded");
}

fn nobody(tested: &TestedStore) -> UserId {
    UserId::new(NOW, &*tested.random)
}

/// The password was confirmed before it was ever changed.
fn confirmed_in(tested: &TestedStore, session: SessionId) -> Reauthentication {
    let proof = Proof::Password(fixtures::successful_attempt(&*tested.random));
    Reauthentication { session, credential_version: CredentialVersion::FIRST, proof }
}

fn hash(password: &str) -> PasswordHash {
    PasswordHash::new(format!("plain:1:{password}"))
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

fn ends_the_sessions(
    tested: &TestedStore,
    event_name: &str,
    change: &dyn Fn(UserId, UnixTime) -> Result<Vec<SessionId>, ChangeUserError>,
) -> UserId {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let (first, second, over) =
        (tested.session(alice.id), tested.session(alice.id), tested.session(alice.id));
    let bobs = tested.session(bob.id);
    tested.end(over.id, NOW);
    let later = NOW + Duration::from_mins(1);

    let ended = sorted(change(alice.id, later).unwrap());
    let expected = sorted([first.id, second.id]);
    assert_eq!(ended, expected, "the live ones");
    let tested = &tested.reopened();
    assert!([first.id, second.id].iter().all(|id| !tested.is_live(*id, later)));
    assert!(tested.is_live(bobs.id, later), "the session is live");
    let told = tested.changes(later);
    assert_eq!(
        told.ended,
        expected.iter().map(|id| (*id, later)).collect::<Vec<_>>(),
        "the reported ends, with their times"
    );
    assert_eq!(tested.count_of(event_name), 1, "recorded events of this name");
    alice.id
}
