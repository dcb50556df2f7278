use portcullis_domain::admin::{AdminError, SetPasswordError};
use portcullis_domain::audit::EventKind;
use portcullis_domain::password::policy::PasswordViolation;
use portcullis_domain::session::LoginError;
use portcullis_domain::session::SessionStore;
use portcullis_testkit::fixtures::PASSWORD;

use super::{World, assert_refused, operator, password};

/// Alice with two sessions, which end by `act`; Bob's lives on.
fn ends_two_sessions(kind: EventKind, act: &dyn Fn(&World) -> usize) -> World {
    let world = World::new();
    let user = world.register("alice");
    world.register("bob");
    let (sessions, bobs) = ([world.login("alice"), world.login("alice")], world.login("bob"));
    assert_eq!(act(&world), sessions.len());
    for tokens in &sessions {
        world.assert_over(tokens);
    }
    world.live(&bobs);
    let event = world.store.events().pop().unwrap();
    assert_eq!((event.kind, event.user, event.session), (kind, Some(user.id), None));
    assert_eq!((event.client.address(), event.client.agent()), (None, None));
    world
}

#[test]
fn a_disabled_user_is_out_and_may_come_back() {
    let world = ends_two_sessions(EventKind::UserDisabled, &|world| {
        world.service.admin.disable_user(&operator(), "ALICE").unwrap()
    });
    assert!(matches!(world.try_login("alice", PASSWORD), Err(LoginError::InvalidCredentials)));
    world.service.admin.enable_user(&operator(), "Alice").unwrap();
    assert_eq!(world.events().last(), Some(&EventKind::UserEnabled));
    world.live(&world.login("alice"));
}

#[test]
fn a_deleted_user_is_gone_and_the_name_is_free() {
    let world = ends_two_sessions(EventKind::UserDeleted, &|world| {
        world.service.admin.delete_user(&operator(), "Alice").unwrap()
    });
    assert!(matches!(world.try_login("alice", PASSWORD), Err(LoginError::InvalidCredentials)));
    world.register("alice");
    world.live(&world.login("alice"));
}

#[test]
fn a_disabled_user_can_be_deleted() {
    let world = World::new();
    world.register("alice");
    world.service.admin.disable_user(&operator(), "alice").unwrap();
    assert_eq!(world.service.admin.delete_user(&operator(), "alice").unwrap(), 0);
}

#[test]
fn a_set_password_ends_the_sessions_and_lets_in() {
    let new = "An0ther-horse battery";
    let world = ends_two_sessions(EventKind::PasswordSet, &|world| {
        world.service.admin.set_password(&operator(), "alice", &password(new)).unwrap()
    });
    assert!(matches!(world.try_login("alice", PASSWORD), Err(LoginError::InvalidCredentials)));
    assert!(world.try_login("alice", new).is_ok());

    let result = world.service.admin.set_password(&operator(), "alice", &password("Ali-9"));
    let Err(SetPasswordError::Rejected(violations)) = result else { panic!("{result:?}") };
    assert_eq!(violations, [PasswordViolation::TooShort { min: 8 }]);
}

#[test]
fn the_sessions_of_a_user_are_listed_and_ended() {
    let world = ends_two_sessions(EventKind::UserSessionsEnded, &|world| {
        assert_eq!(world.service.admin.sessions_of(&operator(), "Alice").unwrap().len(), 2);
        world.service.admin.end_sessions_of(&operator(), "Alice").unwrap()
    });
    assert_eq!(world.service.admin.sessions_of(&operator(), "alice").unwrap(), []);
    assert_eq!(world.service.admin.end_sessions_of(&operator(), "alice").unwrap(), 0);
}

#[test]
fn all_sessions_of_everybody_end_and_new_ones_live() {
    let world = World::new();
    world.register("alice");
    world.register("bob");
    let old = ["alice", "bob"].map(|name| world.login(name));
    let old_second = world.now();
    world.store.set_time(old_second);
    world.service.admin.end_all_sessions(&operator()).unwrap();
    assert_eq!(world.events().last(), Some(&EventKind::AllSessionsEnded));
    for tokens in &old {
        world.assert_over(tokens);
    }
    world.service.maintenance.sync().unwrap();
    let new = world.login("alice");
    assert_eq!(world.live(&new).claims().opened_at, old_second.next_second(), "in no second of old");
}

#[test]
fn a_token_renewed_while_all_sessions_end_ends_with_its_session() {
    let world = World::new();
    world.register("alice");
    let old = world.login("alice");
    world.wait(1);
    let kind = EventKind::AllSessionsEnded;
    let raised = portcullis_testkit::fixtures::event(kind, world.now(), &*super::random());
    world.wait(3);
    // The rotation commits first, with a later time than the raising of the floor that commits after it.
    let renewed = world.service.auth.refresh(&old.refresh, &super::client()).unwrap();
    world.store.invalidate_sessions(&raised).unwrap();
    world.service.maintenance.sync().unwrap();
    assert_refused(&world.service, &renewed);
    world.assert_over(&renewed);
}

#[test]
fn nobody_of_that_name_is_said_to_be_nobody() {
    let world = World::new();
    let before = world.events();
    let service = &world.service;
    let results = [
        service.admin.disable_user(&operator(), "nobody").map(drop),
        service.admin.enable_user(&operator(), "nobody"),
        service.admin.delete_user(&operator(), "nobody").map(drop),
        service.admin.sessions_of(&operator(), "nobody").map(drop),
        service.admin.end_sessions_of(&operator(), "nobody").map(drop),
    ];
    assert!(results.iter().all(|result| matches!(result, Err(AdminError::NotFound))), "{results:?}");
    let result = service.admin.set_password(&operator(), "nobody", &password(PASSWORD));
    assert!(matches!(result, Err(SetPasswordError::NotFound)), "{result:?}");
    assert_eq!(world.events(), before);
}
