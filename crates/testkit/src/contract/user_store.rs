//! Promises of [`UserStore`](portcullis_domain::ports::UserStore).

use std::time::Duration;

use portcullis_domain::event::EventKind;
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::{ChangeUserError, InsertUserError};
use portcullis_domain::user::{CredentialVersion, UserStatus};
use portcullis_domain::username::CanonicalName;

use super::{RecordedEvent, Stores, race};
use crate::fixtures::{self, NOW};

/// A name is taken in any case; the refused insert leaves nothing behind, not even its event.
pub fn insert_refuses_a_taken_name_in_any_case(stores: &Stores) {
    stores.user("Alice");
    for name in ["Alice", "alice", "ALICE"] {
        let user = fixtures::new_user(name, &*stores.entropy);
        let event = stores.event(EventKind::UserRegistered, NOW).of_user(user.id);
        let result = stores.users.insert(&user, &event);
        assert!(matches!(result, Err(InsertUserError::UsernameTaken)), "{name}: {result:?}");
        assert!(stores.users.find(user.id).unwrap().is_none());
    }
    assert_eq!(stores.recorded_names(), ["user_registered"]);
}

/// Of 32 callers who want one name at once, one gets it and 31 are told that it is taken.
pub fn insert_lets_exactly_one_racer_win(stores: &Stores) {
    let results = race(32, |n| {
        let name = if n % 2 == 0 { "Racer" } else { "rACER" };
        let user = fixtures::new_user(name, &*stores.entropy);
        let event = stores.event(EventKind::UserRegistered, NOW).of_user(user.id);
        stores.users.insert(&user, &event)
    });
    let won = results.iter().filter(|result| result.is_ok()).count();
    let lost = results.iter().filter(|r| matches!(r, Err(InsertUserError::UsernameTaken))).count();
    assert_eq!((won, lost), (1, 31), "{results:?}");
    assert_eq!(stores.recorded_names(), ["user_registered"]);
}

/// A user comes back as it was stored, by id and by name in any case, to the microsecond.
pub fn finds_what_was_inserted(stores: &Stores) {
    let user = stores.user("Alice");
    stores.user("Bob");
    let by_id = stores.users.find(user.id).unwrap().expect("stored");
    let by_name = stores.users.find_by_name(&CanonicalName::of("ALICE")).unwrap().expect("stored");
    for found in [by_id, by_name] {
        assert_eq!(found.id, user.id);
        assert_eq!(found.username, user.username);
        assert_eq!(found.password_hash.expose(), user.password_hash.expose());
        assert_eq!(found.credential_version, CredentialVersion::FIRST);
        assert_eq!(found.status, UserStatus::Enabled);
        assert_eq!(found.created_at, NOW);
    }
    let expected = stores.event(EventKind::UserRegistered, NOW).of_user(user.id);
    assert_eq!((stores.recorded)()[0], RecordedEvent::from(&expected));
}

/// Unknown names and ids are `None`, whatever text was asked for.
pub fn finds_nothing_where_nothing_is(stores: &Stores) {
    stores.user("Alice");
    for name in ["", "bob", "alic", "alice ", "' OR 1=1 --", "%", "al_ce", "\u{1f980}"] {
        assert!(stores.users.find_by_name(&CanonicalName::of(name)).unwrap().is_none(), "{name:?}");
    }
    assert!(stores.users.find(UserId::new(NOW, &*stores.entropy)).unwrap().is_none());
}

/// Names that registration would refuse are stored, shown as they are, and found without regard to case.
pub fn imported_names_live(stores: &Stores) {
    for (name, typed) in [("Bob@Example.com", "bob@example.COM"), ("É", "e\u{301}"), ("x y", "X Y")] {
        let user = stores.user(name);
        let found = stores.users.find_by_name(&CanonicalName::of(typed)).unwrap().expect("stored");
        assert_eq!((found.id, found.username.as_str()), (user.id, name));
    }
}

/// A rehash replaces the hash alone.
pub fn upgrade_hash_does_not_change_the_credential_version(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    let new = PasswordHash::new("plain:1:stronger".to_owned());
    let event = stores.event(EventKind::HashUpgraded, NOW).of_user(user.id);
    assert!(stores.users.upgrade_hash(user.id, &user.password_hash, &new, &event).unwrap());

    let found = stores.users.find(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), new.expose());
    assert_eq!(found.credential_version, CredentialVersion::FIRST);
    assert!(stores.is_live(session.id, NOW));
    assert!(stores.recorded_names().contains(&"hash_upgraded".to_owned()));
}

/// A rehash made from the old password's hash does nothing once the password changed.
pub fn rehash_never_undoes_a_password_change(stores: &Stores) {
    let user = stores.user("Alice");
    let changed = PasswordHash::new("plain:1:changed".to_owned());
    let event = stores.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    stores.users.set_password(user.id, &changed, &event).unwrap();

    let rehash = PasswordHash::new("plain:2:old password, rehashed".to_owned());
    let event = stores.event(EventKind::HashUpgraded, NOW).of_user(user.id);
    assert!(!stores.users.upgrade_hash(user.id, &user.password_hash, &rehash, &event).unwrap());
    assert_eq!(stores.users.find(user.id).unwrap().expect("stored").password_hash.expose(), changed.expose());
    assert!(
        !stores.recorded_names().contains(&"hash_upgraded".to_owned()),
        "nothing happened, nothing is recorded"
    );
}

/// Nor does one that races the change: the new password's hash is what is left.
pub fn upgrade_hash_racing_set_password_leaves_the_new_password(stores: &Stores) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let changed = PasswordHash::new("plain:1:changed".to_owned());
        let rehash = PasswordHash::new("plain:2:old password, rehashed".to_owned());
        race(4, |n| match n {
            0 => {
                let event = stores.event(EventKind::PasswordChanged, NOW).of_user(user.id);
                stores.users.set_password(user.id, &changed, &event).map(drop).unwrap();
            }
            _ => {
                let event = stores.event(EventKind::HashUpgraded, NOW).of_user(user.id);
                stores.users.upgrade_hash(user.id, &user.password_hash, &rehash, &event).map(drop).unwrap();
            }
        });
        let found = stores.users.find(user.id).unwrap().expect("stored");
        assert_eq!(found.password_hash.expose(), changed.expose());
        assert_eq!(found.credential_version, CredentialVersion::FIRST.next());
    }
}

/// A new password raises the version and ends the live sessions of this user, and of nobody else.
pub fn set_password_ends_the_sessions(stores: &Stores) {
    let change = |user: UserId, at| {
        let event = stores.event(EventKind::PasswordChanged, at).of_user(user);
        stores.users.set_password(user, &PasswordHash::new("plain:1:new".to_owned()), &event)
    };
    let user = ends_the_sessions(stores, "password_changed", &change);
    let found = stores.users.find(user).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), "plain:1:new");
    assert_eq!(found.credential_version, CredentialVersion::FIRST.next());
    assert_eq!(found.status, UserStatus::Enabled);
}

/// Disabling ends the live sessions of this user, and of nobody else.
pub fn disable_ends_the_sessions(stores: &Stores) {
    let change = |user: UserId, at| {
        let event = stores.event(EventKind::UserDisabled, at).of_user(user);
        stores.users.disable(user, &event)
    };
    let user = ends_the_sessions(stores, "user_disabled", &change);
    let found = stores.users.find(user).unwrap().expect("stored");
    assert_eq!(found.status, UserStatus::Disabled);
    assert_eq!(found.credential_version, CredentialVersion::FIRST);
}

/// Changing nobody says so and records nothing.
pub fn changing_an_unknown_user_changes_nothing(stores: &Stores) {
    let nobody = UserId::new(NOW, &*stores.entropy);
    let event = stores.event(EventKind::UserDisabled, NOW).of_user(nobody);
    let results = [
        stores.users.disable(nobody, &event),
        stores.users.set_password(nobody, &PasswordHash::new("plain:1:new".to_owned()), &event),
    ];
    assert!(results.iter().all(|result| matches!(result, Err(ChangeUserError::NotFound))), "{results:?}");
    let upgraded = PasswordHash::new("plain:1:new".to_owned());
    assert!(!stores.users.upgrade_hash(nobody, &upgraded, &upgraded, &event).unwrap());
    assert_eq!((stores.recorded)(), []);
}

fn ends_the_sessions(
    stores: &Stores,
    event_name: &str,
    change: &dyn Fn(
        UserId,
        portcullis_domain::time::UnixTime,
    ) -> Result<Vec<portcullis_domain::id::SessionId>, ChangeUserError>,
) -> UserId {
    let (alice, bob) = (stores.user("Alice"), stores.user("Bob"));
    let (first, second, over) =
        (stores.session(alice.id), stores.session(alice.id), stores.session(alice.id));
    let bobs = stores.session(bob.id);
    stores.end(over.id, NOW);
    let later = NOW + Duration::from_mins(1);

    let mut ended = change(alice.id, later).unwrap();
    ended.sort();
    let mut expected = vec![first.id, second.id];
    expected.sort();
    assert_eq!(ended, expected, "the live ones");
    assert!([first.id, second.id].iter().all(|id| !stores.is_live(*id, later)));
    assert!(stores.is_live(bobs.id, later));
    let told = stores.ended_since(later);
    assert_eq!(told.ended, expected.iter().map(|id| (*id, later)).collect::<Vec<_>>());
    assert_eq!(stores.recorded_names().iter().filter(|name| *name == event_name).count(), 1);
    alice.id
}
