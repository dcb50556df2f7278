use portcullis_domain::event::EventKind;
use portcullis_domain::service::{LogoutError, LogoutToken, RefreshError};
use portcullis_domain::token::{AccessToken, Authentication, RefreshToken, TokenSet};

use super::{World, client};

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
        world.service.logout(&token(&here), &client()).unwrap();

        assert!(matches!(world.service.authenticate(here.access.expose()), Authentication::Refused));
        assert!(matches!(world.service.refresh(&here.refresh, &client()), Err(RefreshError::Invalid)));
        assert!(world.service.refresh(&there.refresh, &client()).is_ok());
        let event = world.store.events().pop().unwrap();
        assert_eq!(
            (event.kind, event.user, event.session),
            (EventKind::LoggedOut, Some(user.id), Some(here.session))
        );
    }
}

#[test]
fn logging_out_twice_is_fine() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    for token in [by_refresh(&tokens), by_refresh(&tokens), by_access(&tokens)] {
        world.service.logout(&token, &client()).unwrap();
    }
    assert_eq!(world.events().iter().filter(|kind| **kind == EventKind::LoggedOut).count(), 1);
}

#[test]
fn old_tokens_still_end_their_session() {
    let world = World::new();
    world.register("alice");
    let old = world.login("alice");
    let new = world.service.refresh(&old.refresh, &client()).unwrap();
    world.wait(3_600);
    assert!(matches!(world.service.authenticate(old.access.expose()), Authentication::Refused), "expired");
    world.service.logout(&by_access(&old), &client()).unwrap();
    assert!(matches!(world.service.refresh(&new.refresh, &client()), Err(RefreshError::Invalid)));
}

#[test]
fn tokens_of_others_end_nothing() {
    let world = World::new();
    let result = world.service.logout(&LogoutToken::Access(AccessToken::new("x".into())), &client());
    assert!(matches!(result, Err(LogoutError::InvalidAccessToken)), "{result:?}");
    let result = world.service.logout(&LogoutToken::Refresh(RefreshToken::new("x".into())), &client());
    assert!(matches!(result, Err(LogoutError::InvalidRefreshToken)), "{result:?}");
}
