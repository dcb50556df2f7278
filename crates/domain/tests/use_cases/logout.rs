use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::session::{LogoutError, LogoutToken, RefreshError};
use portcullis_domain::token::{AccessToken, Authentication, RefreshToken, TokenSet};

use super::{World, assert_refused, client};

fn by_access(tokens: &TokenSet) -> LogoutToken {
    LogoutToken::Access(AccessToken::new(tokens.access.expose().to_owned()))
}

fn by_refresh(tokens: &TokenSet) -> LogoutToken {
    LogoutToken::Refresh(RefreshToken::new(tokens.refresh.expose().to_owned()))
}

#[test]
fn either_token_ends_its_session_and_no_other() {
    for token in [by_access, by_refresh] {
        let world = World::new();
        let user = world.register("alice");
        let (here, there) = (world.login("alice"), world.login("alice"));
        world.service.auth.logout(&token(&here), LogoutScope::Current, &client()).unwrap();

        assert!(matches!(world.service.auth.authenticate(here.access.expose()), Authentication::Refused));
        assert!(matches!(world.service.auth.refresh(&here.refresh, &client()), Err(RefreshError::Invalid)));
        assert!(world.service.auth.refresh(&there.refresh, &client()).is_ok());
        let event = world.store.events().pop().unwrap();
        assert_eq!(
            (event.kind, event.user, event.session),
            (EventKind::LoggedOut(LogoutScope::Current), Some(user.id), Some(here.session))
        );
    }
}

#[test]
fn logging_out_twice_is_fine() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    for token in [by_refresh(&tokens), by_refresh(&tokens), by_access(&tokens)] {
        world.service.auth.logout(&token, LogoutScope::Current, &client()).unwrap();
    }
    assert_eq!(
        world.events().iter().filter(|kind| **kind == EventKind::LoggedOut(LogoutScope::Current)).count(),
        1
    );
}

#[test]
fn old_tokens_still_end_their_session() {
    let world = World::new();
    world.register("alice");
    let old = world.login("alice");
    let new = world.service.auth.refresh(&old.refresh, &client()).unwrap();
    world.wait(3_600);
    assert!(
        matches!(world.service.auth.authenticate(old.access.expose()), Authentication::Refused),
        "expired"
    );
    world.service.auth.logout(&by_access(&old), LogoutScope::Current, &client()).unwrap();
    assert!(matches!(world.service.auth.refresh(&new.refresh, &client()), Err(RefreshError::Invalid)));
}

#[test]
fn either_token_ends_all_the_other_sessions_of_its_user_or_all() {
    for token in [by_access, by_refresh] {
        for scope in [LogoutScope::Others, LogoutScope::All] {
            let world = World::new();
            let user = world.register("alice");
            world.register("bob");
            let (here, bobs) = (world.login("alice"), world.login("bob"));
            let others = [world.login("alice"), world.login("alice")];
            world.service.auth.logout(&token(&here), scope, &client()).unwrap();

            for other in &others {
                world.assert_over(other);
            }
            match scope {
                LogoutScope::All => world.assert_over(&here),
                _ => assert_eq!(world.live(&here).claims().user, user.id),
            }
            world.live(&bobs);
            let event = world.store.events().pop().unwrap();
            assert_eq!(
                (event.kind, event.user, event.session),
                (EventKind::LoggedOut(scope), Some(user.id), Some(here.session))
            );
        }
    }
}

fn by_both(refresh: &TokenSet, access: &TokenSet) -> LogoutToken {
    LogoutToken::Both {
        refresh: RefreshToken::new(refresh.refresh.expose().to_owned()),
        access: AccessToken::new(access.access.expose().to_owned()),
    }
}

#[test]
fn both_tokens_of_one_session_end_it() {
    for scope in [LogoutScope::Current, LogoutScope::Others, LogoutScope::All] {
        let world = World::new();
        world.register("alice");
        let (here, there) = (world.login("alice"), world.login("alice"));
        world.service.auth.logout(&by_both(&here, &here), scope, &client()).unwrap();
        match scope {
            LogoutScope::Current => drop(world.live(&there)),
            _ => world.assert_over(&there),
        }
        match scope {
            LogoutScope::Others => drop(world.live(&here)),
            _ => world.assert_over(&here),
        }
    }
}

#[test]
fn tokens_of_different_sessions_end_nothing() {
    let world = World::new();
    world.register("alice");
    let (here, there) = (world.login("alice"), world.login("alice"));
    for scope in [LogoutScope::Current, LogoutScope::Others, LogoutScope::All] {
        let result = world.service.auth.logout(&by_both(&here, &there), scope, &client());
        assert!(matches!(result, Err(LogoutError::DifferentSessions)), "{result:?}");
    }
    world.live(&here);
    world.live(&there);
}

/// Asserts that a token is good for nothing but the end of its own session.
fn assert_ends_its_own_session_alone(world: &World, token: impl Fn() -> LogoutToken, other: &TokenSet) {
    let before = world.events();
    for scope in [LogoutScope::Others, LogoutScope::All] {
        let result = world.service.auth.logout(&token(), scope, &client());
        assert!(
            matches!(result, Err(LogoutError::InvalidAccessToken | LogoutError::InvalidRefreshToken)),
            "{result:?}"
        );
    }
    assert_eq!(world.events(), before);
    world.live(other);
    world.service.auth.logout(&token(), LogoutScope::Current, &client()).unwrap();
    world.live(other);
}

#[test]
fn a_token_that_is_good_for_nothing_else_ends_no_other_session() {
    let world = World::new();
    world.register("alice");
    let old = world.login("alice");
    world.wait(16 * 60);
    let other = world.login("alice");
    assert_ends_its_own_session_alone(&world, || by_access(&old), &other);
    assert_ends_its_own_session_alone(&world, || by_refresh(&old), &other);

    let ended = world.login("alice");
    world.service.auth.logout(&by_access(&ended), LogoutScope::Current, &client()).unwrap();
    assert_ends_its_own_session_alone(&world, || by_access(&ended), &other);

    let copied = world.login("alice");
    world.service.auth.refresh(&copied.refresh, &client()).unwrap();
    world.wait(30);
    world.service.auth.logout(&by_refresh(&copied), LogoutScope::Others, &client()).unwrap();
    let other = world.login("alice");
    world.wait(1);
    assert_ends_its_own_session_alone(&world, || by_refresh(&copied), &other);
}

#[test]
fn where_the_instance_cannot_know_the_store_is_asked() {
    let world = World::new();
    world.register("alice");
    let (here, there) = (world.login("alice"), world.login("alice"));
    world.wait(6);
    world.service.auth.logout(&by_access(&here), LogoutScope::Others, &client()).unwrap();
    world.assert_over(&there);

    world.wait(6);
    world.other_instance().auth.logout(&by_access(&here), LogoutScope::Current, &client()).unwrap();
    let result = world.service.auth.logout(&by_access(&here), LogoutScope::All, &client());
    assert!(matches!(result, Err(LogoutError::InvalidAccessToken)), "{result:?}");
}

#[test]
fn an_instance_that_just_started_ends_the_session_of_the_token_and_no_other() {
    let world = World::new();
    world.register("alice");
    let (here, there) = (world.login("alice"), world.login("alice"));
    let fresh = world.other_instance();
    let result = fresh.auth.logout(&by_access(&here), LogoutScope::All, &client());
    assert!(matches!(result, Err(LogoutError::NotReady)), "{result:?}");
    fresh.auth.logout(&by_access(&here), LogoutScope::Current, &client()).unwrap();
    assert_refused(&fresh, &here);
    world.live(&there);
}

#[test]
fn tokens_of_others_end_nothing() {
    let world = World::new();
    let result = world.service.auth.logout(
        &LogoutToken::Access(AccessToken::new("x".into())),
        LogoutScope::Current,
        &client(),
    );
    assert!(matches!(result, Err(LogoutError::InvalidAccessToken)), "{result:?}");
    let result = world.service.auth.logout(
        &LogoutToken::Refresh(RefreshToken::new("x".into())),
        LogoutScope::Current,
        &client(),
    );
    assert!(matches!(result, Err(LogoutError::InvalidRefreshToken)), "{result:?}");
}
