use std::sync::Arc;

use portcullis_domain::account::{
    InsertUserError, MockUserStore, RegisterError, Rejections, UserStatus, UserStore, UsernameViolation,
};
use portcullis_domain::audit::EventKind;
use portcullis_domain::password::policy::PasswordViolation;
use portcullis_domain::{AuthConfig, Unavailable};
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::PASSWORD;

use super::{World, broken_store, client, operator, registration};

#[test]
fn a_new_user_is_stored_with_its_event() {
    let world = World::new();
    let user = world.register("Alice");
    assert_eq!(
        (user.username.as_str(), user.created_at, user.status),
        ("Alice", world.now(), UserStatus::Enabled)
    );
    let stored = world.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(stored.username, user.username);
    let [event] = &world.store.events()[..] else { panic!("one event") };
    assert_eq!(
        (event.kind, event.user, &event.client),
        (EventKind::UserRegistered, Some(user.id), &client().for_events())
    );
    assert_eq!(
        event.client.address(),
        "2001:db8::".parse().ok(),
        "events keep the network of an IPv6 address"
    );
}

#[test]
fn every_problem_of_name_and_password_is_reported_at_once() {
    let world = World::new();
    let result = world.service.auth.register(&registration("-é", "é"), &client());
    let Err(RegisterError::Rejected(rejections)) = result else { panic!("{result:?}") };
    let expected = Rejections {
        username: vec![
            UsernameViolation::TooShort,
            UsernameViolation::InvalidCharacter,
            UsernameViolation::InvalidStart,
        ],
        password: vec![
            PasswordViolation::TooShort { min: 8 },
            PasswordViolation::MissingUpper,
            PasswordViolation::MissingDigit,
            PasswordViolation::MissingSpecial,
        ],
    };
    assert_eq!(rejections, expected);
    assert_eq!(world.hasher.work(), 0, "nothing is hashed for a form that fails");
    assert_eq!(world.events(), []);
}

#[test]
fn a_taken_name_is_refused_in_any_case() {
    let world = World::new();
    world.register("Alice");
    let result = world.service.auth.register(&registration("aLICE", PASSWORD), &client());
    assert!(matches!(result, Err(RegisterError::UsernameTaken)), "{result:?}");
}

#[test]
fn closed_registration_is_closed_but_for_the_operator() {
    let world =
        World::with(AuthConfig { registration_enabled: false, ..AuthConfig::default() }, |ports| ports);
    let result = world.service.auth.register(&registration("alice", PASSWORD), &client());
    assert!(matches!(result, Err(RegisterError::Closed)), "{result:?}");
    assert!(
        world.service.admin.add_user(&operator(), &registration("admin", PASSWORD)).is_ok(),
        "also a reserved name"
    );
    let result = world.service.admin.add_user(&operator(), &registration("bob", "short"));
    assert!(matches!(result, Err(RegisterError::Rejected(_))), "the policy is for everybody: {result:?}");
}

#[test]
fn a_store_that_fails_is_reported_as_such() {
    let mut users = MockUserStore::new();
    users.expect_insert_user().once().returning(|_, _| Err(InsertUserError::Store(broken_store())));
    let world = World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { users: Arc::new(users), ..store })
    });
    let result = world.service.auth.register(&registration("alice", PASSWORD), &client());
    assert!(matches!(result, Err(RegisterError::Unavailable(Unavailable::Store(_)))), "{result:?}");
}
