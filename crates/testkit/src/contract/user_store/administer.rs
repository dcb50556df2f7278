//! Changes by administrators.

use std::time::Duration;

use portcullis_domain::account::{ChangeUserError, CredentialVersion, UserStatus};
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;

use super::{confirmed_in, ends_the_sessions, hash, nobody};
use crate::contract::{RecordedEvent, TestedStore};
use crate::fixtures::NOW;

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
