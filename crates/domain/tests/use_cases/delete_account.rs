use std::sync::Arc;

use portcullis_domain::AuthConfig;
use portcullis_domain::account::{
    ChangeUserError, CredentialVersion, DeleteAccountError, MockUserStore, UserStore,
};
use portcullis_domain::audit::EventKind;
use portcullis_domain::session::LoginError;
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::PASSWORD;

use super::{Services, World, client, operator, password};

#[test]
fn with_the_account_its_sessions_end_and_its_name_is_free() {
    let world = World::new();
    let user = world.register("alice");
    world.register("bob");
    let (here, there, bobs) = (world.login("alice"), world.login("alice"), world.login("bob"));
    let bearer = world.live(&here);
    world.service.account.delete(&bearer, &password(PASSWORD), &client()).unwrap();

    for tokens in [&here, &there] {
        world.assert_over(tokens);
    }
    world.live(&bobs);
    assert!(world.service.account.profile(&bearer).is_err());
    assert!(matches!(world.try_login("alice", PASSWORD), Err(LoginError::InvalidCredentials)));
    assert!(world.store.find_user(user.id).unwrap().is_none());
    let event =
        world.store.events().into_iter().find(|event| event.kind == EventKind::AccountDeleted).unwrap();
    assert_eq!((event.user, event.session), (Some(user.id), Some(here.session)));

    let new = world.register("Alice");
    assert_ne!(new.id, user.id);
    assert_eq!(world.live(&world.login("alice")).claims().user, new.id);
    world.assert_over(&here);
}

#[test]
fn without_the_password_nothing_is_deleted_and_that_is_recorded() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let bearer = world.live(&tokens);
    for wrong in ["Wr0ng-password", "", &"x".repeat(257)] {
        let result = world.service.account.delete(&bearer, &password(wrong), &client());
        assert!(matches!(result, Err(DeleteAccountError::Incorrect)), "{result:?}");
    }
    assert_eq!(world.count(EventKind::PasswordNotConfirmed), 3);
    world.live(&tokens);
}

#[test]
fn an_account_that_is_disabled_or_gone_is_not_deleted_by_its_user() {
    let world = World::new();
    let user = world.register("alice");
    let bearer = world.live(&world.login("alice"));
    world.disable(&user);
    for is_there in [true, false] {
        let result = world.service.account.delete(&bearer, &password(PASSWORD), &client());
        assert!(matches!(result, Err(DeleteAccountError::Gone)), "{result:?}");
        assert_eq!(world.store.find_user(user.id).unwrap().is_some(), is_there);
        assert_eq!(world.count(EventKind::AccountDeleted), 0);
        let _deleted_by_an_operator = world.service.admin.delete_user(&operator(), "alice");
    }
}

#[test]
fn a_session_that_ended_meanwhile_deletes_nothing() {
    let world = World::new();
    let user = world.register("alice");
    let tokens = world.login("alice");
    let bearer = world.live(&tokens);
    world.service.sessions.end(&bearer, tokens.session, &client()).unwrap();
    let result = world.service.account.delete(&bearer, &password(PASSWORD), &client());
    assert!(matches!(result, Err(DeleteAccountError::Gone)), "{result:?}");
    assert!(world.store.find_user(user.id).unwrap().is_some());
}

#[test]
fn an_account_that_changed_since_the_password_was_verified_is_not_deleted() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let mut users = MockUserStore::new();
    users.expect_find_user().returning({
        let store = Arc::clone(&world.store);
        move |id| store.find_user(id)
    });
    users
        .expect_delete_user()
        .once()
        .withf(|_, confirmed, _, _| {
            confirmed.as_ref().is_some_and(|it| it.credential_version == CredentialVersion::FIRST)
        })
        .returning(|_, _, _, _| Err(ChangeUserError::NotFound));
    let ports = portcullis_testkit::ports_over(&world.store);
    let ports = FaultyStore::within(ports, |store| FaultyStore { users: Arc::new(users), ..store });
    let service = Services::new(ports, AuthConfig::default());
    let result = service.account.delete(&bearer, &password(PASSWORD), &client());
    assert!(matches!(result, Err(DeleteAccountError::Gone)), "{result:?}");
}
