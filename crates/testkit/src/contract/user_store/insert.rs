//! Adding and finding users.

use portcullis_domain::account::{CanonicalName, CredentialVersion, InsertUserError, UserStatus};
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::UserId;

use crate::contract::{RecordedEvent, TestedStore, race, rounds};
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
