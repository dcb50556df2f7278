use std::sync::Arc;

use portcullis_domain::account::{MockUserStore, UserStore};
use portcullis_domain::audit::EventKind;
use portcullis_domain::maintenance::ClockNotTrusted;
use portcullis_domain::password::policy::PasswordViolation;
use portcullis_domain::password::{ChangePasswordError, PasswordChange, PasswordHash};
use portcullis_domain::session::{LoginError, OpenSessionError};
use portcullis_domain::token::{Authentication, TokenSet, VerifiedClaims};
use portcullis_domain::{AuthConfig, Ports, Unavailable};
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::{NOW, PASSWORD};

use super::{Services, World, client, operator, password};

const NEW: &str = "An0ther-horse battery";

fn form(current: &str, new: &str) -> PasswordChange {
    PasswordChange { current: password(current), new: password(new) }
}

fn change(
    world: &World,
    bearer: &VerifiedClaims,
    current: &str,
    new: &str,
) -> Result<TokenSet, ChangePasswordError> {
    world.service.account.change_password(bearer, &form(current, new), &client())
}

#[test]
fn a_new_password_ends_every_session_and_opens_a_new_one() {
    let world = World::new();
    let user = world.register("alice");
    let (here, there) = (world.login("alice"), world.login("alice"));
    let bearer = world.live(&here);
    world.wait(60);
    let new = change(&world, &bearer, PASSWORD, NEW).unwrap();

    for old in [&here, &there] {
        world.assert_over(old);
    }
    assert_eq!(world.live(&new).claims().user, user.id);
    assert!(world.service.auth.refresh(&new.refresh, &client()).is_ok());
    let event = world.store.events().pop().unwrap();
    assert_eq!(
        (event.kind, event.user, event.session),
        (EventKind::PasswordChanged, Some(user.id), Some(new.session))
    );
    assert!(matches!(world.try_login("alice", PASSWORD), Err(LoginError::InvalidCredentials)));
    assert!(world.try_login("alice", NEW).is_ok());
}

#[test]
fn without_the_current_password_nothing_changes_and_that_is_recorded() {
    let world = World::new();
    let user = world.register("alice");
    let tokens = world.login("alice");
    let bearer = world.live(&tokens);
    let result = change(&world, &bearer, "Wr0ng-password", NEW);
    assert!(matches!(result, Err(ChangePasswordError::Incorrect)), "{result:?}");
    let event = world.store.events().pop().unwrap();
    assert_eq!(
        (event.kind, event.user, event.session),
        (EventKind::PasswordNotConfirmed, Some(user.id), Some(tokens.session))
    );
    assert!(world.try_login("alice", PASSWORD).is_ok());
    assert!(world.service.auth.refresh(&tokens.refresh, &client()).is_ok());
}

#[test]
fn a_new_password_that_breaks_a_rule_is_refused_before_the_current_one_is_looked_at() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let (work, events) = (world.hasher.work(), world.events());
    let result = change(&world, &bearer, "Wr0ng-password", "Ali-9");
    let Err(ChangePasswordError::Rejected(violations)) = result else { panic!("{result:?}") };
    assert_eq!(violations, [PasswordViolation::TooShort { min: 8 }]);
    assert_eq!((world.hasher.work(), world.events()), (work, events));
}

#[test]
fn an_unchanged_password_is_refused_and_ends_nothing() {
    let world = World::new();
    world.register("alice");
    let first = world.live(&world.login("alice"));
    let composed = change(&world, &first, PASSWORD, "Caf\u{e9}-Corr3ct").unwrap();
    let bearer = world.live(&composed);
    for new in ["Caf\u{e9}-Corr3ct", "Cafe\u{301}-Corr3ct"] {
        for current in ["Caf\u{e9}-Corr3ct", "Cafe\u{301}-Corr3ct"] {
            let work = world.hasher.work();
            let result = change(&world, &bearer, current, new);
            assert!(matches!(result, Err(ChangePasswordError::Rejected(_))), "{result:?}");
            assert_eq!(world.hasher.work(), work + 1, "one verification");
        }
    }
    assert!(world.service.auth.refresh(&composed.refresh, &client()).is_ok());
    assert_eq!(world.count(EventKind::PasswordChanged), 1);
    assert!(change(&world, &bearer, "Caf\u{e9}-Corr3ct", NEW).is_ok());
}

/// A guesser learns nothing by sending a guess also as the new password.
#[test]
fn equal_wrong_passwords_are_incorrect_and_counted() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    for _ in 0..5 {
        let result = change(&world, &bearer, "Wr0ng-password", "Wr0ng-password");
        assert!(matches!(result, Err(ChangePasswordError::Incorrect)), "{result:?}");
    }
    let result = change(&world, &bearer, PASSWORD, PASSWORD);
    assert!(matches!(result, Err(ChangePasswordError::Throttled(_))), "{result:?}");
    assert_eq!(world.count(EventKind::PasswordNotConfirmed), 5);
}

#[test]
fn an_unchanged_password_against_the_rules_is_rejected() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let work = world.hasher.work();
    let result = change(&world, &bearer, "Ali-9", "Ali-9");
    assert!(matches!(result, Err(ChangePasswordError::Rejected(_))), "{result:?}");
    assert_eq!(world.hasher.work(), work);
}

#[test]
fn what_no_password_can_be_is_wrong_without_a_hash() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let work = world.hasher.work();
    for current in ["x".repeat(257), "a\0b".to_owned()] {
        let result = change(&world, &bearer, &current, NEW);
        assert!(matches!(result, Err(ChangePasswordError::Incorrect)), "{result:?}");
    }
    assert_eq!(world.hasher.work(), work);
    assert_eq!(world.count(EventKind::PasswordNotConfirmed), 2);
}

#[test]
fn a_user_who_is_gone_or_changed_meanwhile_changes_nothing() {
    let world = World::new();
    let alice = world.register("alice");
    world.register("bob");
    let [alices, bobs] = ["alice", "bob"].map(|name| world.live(&world.login(name)));
    world.service.admin.delete_user(&operator(), "bob").unwrap();
    let result = change(&world, &bobs, PASSWORD, NEW);
    assert!(matches!(result, Err(ChangePasswordError::Gone)), "{result:?}");

    let mut users = MockUserStore::new();
    users.expect_find_user().returning({
        let store = Arc::clone(&world.store);
        move |id| store.find_user(id)
    });
    users.expect_change_password().once().returning(|_, _, _, _| Err(OpenSessionError::UserChanged));
    let ports = portcullis_testkit::ports_over(&world.store);
    let ports = FaultyStore::within(ports, |store| FaultyStore { users: Arc::new(users), ..store });
    let service = Services::new(ports, AuthConfig::default());
    service.maintenance.sync().unwrap();
    let result = service.account.change_password(&alices, &form(PASSWORD, NEW), &client());
    assert!(matches!(result, Err(ChangePasswordError::Gone)), "{result:?}");
    let verdict = service.auth.authenticate(world.login("alice").access.expose());
    assert!(matches!(verdict, Authentication::Live(live) if live.claims().user == alice.id));
}

#[test]
fn a_session_that_ended_meanwhile_changes_nothing() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let bearer = world.live(&tokens);
    world.service.sessions.end(&bearer, tokens.session, &client()).unwrap();
    let result = change(&world, &bearer, PASSWORD, NEW);
    assert!(matches!(result, Err(ChangePasswordError::Gone)), "{result:?}");
    world.live(&world.login("alice"));
    assert_eq!(world.count(EventKind::PasswordChanged), 0);
}

#[test]
fn a_hash_that_cannot_be_verified_confirms_nobody() {
    let world = World::new();
    let user = world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let damaged = PasswordHash::new("$2b$31$damaged".to_owned());
    let event = portcullis_testkit::fixtures::event(EventKind::HashUpgraded, NOW, &*super::random());
    assert!(world.store.upgrade_hash(user.id, &user.password_hash, &damaged, &event).unwrap());
    let result = change(&world, &bearer, PASSWORD, NEW);
    assert!(matches!(result, Err(ChangePasswordError::Incorrect)), "{result:?}");
}

#[test]
fn an_instance_that_does_not_know_the_time_hashes_nothing() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let ports = Ports { hasher: world.hasher.clone(), ..portcullis_testkit::ports_over(&world.store) };
    let (work, fresh) = (world.hasher.work(), Services::new(ports, AuthConfig::default()));
    let result = fresh.account.change_password(&bearer, &form(PASSWORD, NEW), &client());
    assert!(
        matches!(result, Err(ChangePasswordError::Unavailable(Unavailable::Clock(ClockNotTrusted::NotSet)))),
        "{result:?}"
    );
    assert_eq!(world.hasher.work(), work);
}
