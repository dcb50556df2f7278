use std::sync::Arc;

use portcullis_domain::audit::LogoutScope;
use portcullis_domain::session::{LogoutToken, SessionStore};
use portcullis_domain::token::{
    AccessTokenCodec, Authentication, ConfirmSessionError, RefreshToken, TokenSet,
};
use portcullis_domain::{AuthConfig, Ports};
use portcullis_testkit::{FaultyStore, PlainAccessTokens};

use super::{Services, World, client};

fn log_out(service: &Services, tokens: &TokenSet) {
    let token = LogoutToken::Refresh(RefreshToken::new(tokens.refresh.expose().to_owned()));
    service.auth.logout(&token, LogoutScope::Current, &client()).unwrap();
}

#[test]
fn after_a_look_at_the_store_tokens_are_judged_without_it() {
    let world = World::new();
    let user = world.register("alice");
    let tokens = world.login("alice");
    world.service.maintenance.sync().unwrap();
    let Authentication::Live(live) = world.service.auth.authenticate(tokens.access.expose()) else {
        panic!("live")
    };
    assert_eq!((live.claims().user, live.claims().session), (user.id, tokens.session));
    assert_eq!(world.service.account.profile(&live).unwrap().username.as_str(), "alice");
}

#[test]
fn what_this_instance_cannot_know_is_asked_of_the_store() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    world.wait(6);
    let Authentication::NeedsLookup(open) = world.service.auth.authenticate(tokens.access.expose()) else {
        panic!("the last look was too long ago")
    };
    assert_eq!(world.service.auth.confirm_session(open.clone()).unwrap().claims().session, tokens.session);
    log_out(&world.other_instance(), &tokens);
    assert!(matches!(world.service.auth.confirm_session(open), Err(ConfirmSessionError::Refused)));
}

#[test]
fn the_end_of_a_session_reaches_other_instances_with_their_next_look() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let other = world.other_instance();
    other.maintenance.sync().unwrap();
    assert!(matches!(other.auth.authenticate(tokens.access.expose()), Authentication::Live(_)));
    log_out(&world.service, &tokens);
    other.maintenance.sync().unwrap();
    assert!(matches!(other.auth.authenticate(tokens.access.expose()), Authentication::Refused));
}

#[test]
fn tokens_expire_to_the_second() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    world.wait(15 * 60 - 1);
    assert!(!matches!(world.service.auth.authenticate(tokens.access.expose()), Authentication::Refused));
    world.wait(1);
    assert!(matches!(world.service.auth.authenticate(tokens.access.expose()), Authentication::Refused));
}

#[test]
fn tokens_of_another_issuer_and_rubbish_are_refused() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    world.service.maintenance.sync().unwrap();
    let Authentication::Live(live) = world.service.auth.authenticate(tokens.access.expose()) else {
        panic!("live")
    };
    let foreign = PlainAccessTokens::new("another").sign(live.claims()).unwrap();
    for token in [foreign.expose(), "", "a.b.c", tokens.refresh.expose()] {
        assert!(matches!(world.service.auth.authenticate(token), Authentication::Refused), "{token}");
    }
}

#[test]
fn a_token_of_a_disabled_user_is_refused_after_the_next_look() {
    let world = World::new();
    let user = world.register("alice");
    let tokens = world.login("alice");
    world.disable(&user);
    world.service.maintenance.sync().unwrap();
    assert!(matches!(world.service.auth.authenticate(tokens.access.expose()), Authentication::Refused));
}

#[test]
fn raising_the_floor_ends_every_token_from_before() {
    let world = World::new();
    world.register("alice");
    let old = world.login("alice");
    world.wait(2);
    let kind = portcullis_domain::audit::EventKind::AllSessionsEnded;
    let event = portcullis_testkit::fixtures::event(kind, world.now(), &*super::random());
    world.store.invalidate_sessions(&event).unwrap();
    world.service.maintenance.sync().unwrap();
    assert!(matches!(world.service.auth.authenticate(old.access.expose()), Authentication::Refused));
    world.wait(1);
    world.service.maintenance.sync().unwrap();
    let new = world.login("alice");
    assert!(matches!(world.service.auth.authenticate(new.access.expose()), Authentication::Live(_)));
}

#[test]
fn a_user_who_is_gone_is_nobody() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let empty = Arc::new(portcullis_testkit::MemoryStore::new());
    let ports = Ports { clock: world.clock.clone(), ..portcullis_testkit::ports_over(&world.store) };
    let ports = FaultyStore::within(ports, |store| FaultyStore { users: empty, ..store });
    let service = Services::new(ports, AuthConfig::default());
    service.maintenance.sync().unwrap();
    let Authentication::Live(live) = service.auth.authenticate(tokens.access.expose()) else {
        panic!("live")
    };
    assert!(service.account.profile(&live).is_err());
}
