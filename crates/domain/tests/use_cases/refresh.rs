use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis_domain::audit::EventKind;
use portcullis_domain::session::{ConsumedProof, Generation, RefreshError, RotateOutcome, SessionOpened};
use portcullis_domain::token::{Authentication, RefreshClaims, RefreshToken, RefreshTokenCodec, TokenSet};
use portcullis_domain::{AuthConfig, Unavailable};
use portcullis_testkit::{FaultyStore, PlainRefreshTokens};

use super::{World, broken_store, client, mock_sessions};

fn refresh(world: &World, tokens: &TokenSet) -> Result<TokenSet, RefreshError> {
    world.service.auth.refresh(&tokens.refresh, &client())
}

#[test]
fn a_refresh_gives_the_next_tokens_of_the_session() {
    let world = World::new();
    world.register("alice");
    let first = world.login("alice");
    world.wait(60);
    let second = refresh(&world, &first).unwrap();
    assert_eq!(second.session, first.session);
    assert_ne!(second.refresh.expose(), first.refresh.expose());
    assert_ne!(second.access.expose(), first.access.expose());
    world.service.maintenance.sync().unwrap();
    assert!(matches!(world.service.auth.authenticate(second.access.expose()), Authentication::Live(_)));
    assert_eq!(world.events().len(), 2, "successful refreshes are no events");
}

#[test]
fn a_lost_reply_costs_nothing_within_the_grace() {
    let world = World::new();
    world.register("alice");
    let first = world.login("alice");
    let lost = refresh(&world, &first).unwrap();
    world.wait(30);
    let again = refresh(&world, &first).unwrap();
    assert_eq!(again.refresh.expose(), lost.refresh.expose(), "the same successor");
    assert!(refresh(&world, &again).is_ok());
}

#[test]
fn twenty_four_callers_with_one_token_get_one_successor() {
    let world = World::new();
    world.register("alice");
    let first = world.login("alice");
    let successors: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..24).map(|_| scope.spawn(|| refresh(&world, &first).unwrap())).collect();
        calls.into_iter().map(|call| call.join().unwrap().refresh.expose().to_owned()).collect()
    });
    assert!(successors.iter().all(|successor| *successor == successors[0]));
}

// ASVS 10.4.5 2.3.1
#[test]
fn a_copy_used_after_the_grace_ends_the_session() {
    let world = World::new();
    let user = world.register("alice");
    let stolen = world.login("alice");
    let newest = refresh(&world, &stolen).unwrap();
    world.wait(31);
    let result = refresh(&world, &stolen);
    assert!(matches!(result, Err(RefreshError::Reused)), "{result:?}");
    assert!(matches!(refresh(&world, &newest), Err(RefreshError::Invalid)), "for the thief and the owner");
    let verdict = world.service.auth.authenticate(newest.access.expose());
    assert!(matches!(verdict, Authentication::Refused), "at once on this instance: {verdict:?}");
    let event = world.store.events().pop().unwrap();
    assert_eq!(
        (event.kind, event.user, event.session),
        (EventKind::RefreshTokenReused, Some(user.id), Some(stolen.session))
    );
}

// ASVS 7.3.1
#[test]
fn a_session_ends_when_it_is_not_refreshed_in_time() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    world.wait(30 * 86_400);
    assert!(matches!(refresh(&world, &tokens), Err(RefreshError::Invalid)));
}

// ASVS 7.3.2 10.4.8
#[test]
fn endless_refreshing_stops_at_the_absolute_end() {
    let world = World::new();
    world.register("alice");
    let mut tokens = world.login("alice");
    for _ in 0..89 {
        world.wait(86_400);
        tokens = refresh(&world, &tokens).unwrap();
    }
    assert_eq!(tokens.refresh_expires_in.as_secs(), 86_400, "what is left of ninety days");
    world.wait(86_400);
    assert!(matches!(refresh(&world, &tokens), Err(RefreshError::Invalid)));
}

#[test]
fn no_access_token_outlives_its_session() {
    let mut rules = AuthConfig::default();
    rules.lifetimes.refresh_idle = Duration::from_mins(10);
    rules.lifetimes.refresh_absolute = Duration::from_mins(25);
    let world = World::with(rules, |ports| ports);
    world.register("alice");
    let mut tokens = world.login("alice");
    for (minutes_left, grants) in [(25, 10), (16, 10), (7, 7)] {
        assert_eq!(tokens.access_expires_in, Duration::from_mins(grants), "{minutes_left}");
        assert_eq!(tokens.refresh_expires_in, Duration::from_mins(grants), "{minutes_left}");
        world.wait(9 * 60);
        if minutes_left > 9 {
            tokens = refresh(&world, &tokens).unwrap();
        }
    }
    assert!(matches!(world.service.auth.authenticate(tokens.access.expose()), Authentication::Refused));
    assert!(matches!(refresh(&world, &tokens), Err(RefreshError::Invalid)));
}

#[test]
fn a_repeated_reply_promises_no_more_than_the_first() {
    let world = World::new();
    world.register("alice");
    let first = world.login("alice");
    let lost = refresh(&world, &first).unwrap();
    world.wait(30);
    let again = refresh(&world, &first).unwrap();
    assert_eq!(again.refresh_expires_in, lost.refresh_expires_in - Duration::from_secs(30));
}

#[test]
fn disabling_the_user_ends_the_session() {
    let world = World::new();
    let user = world.register("alice");
    let tokens = world.login("alice");
    world.disable(&user);
    assert!(matches!(refresh(&world, &tokens), Err(RefreshError::Invalid)));
}

#[test]
fn a_token_that_is_not_ours_never_reaches_the_store() {
    let mut sessions = mock_sessions();
    sessions.expect_rotate().never();
    let world = World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { sessions: Arc::new(sessions), ..store })
    });
    let session = portcullis_domain::id::SessionId::new(world.now(), &*super::random());
    let claims = RefreshClaims { session, generation: Generation::FIRST };
    for forged in [PlainRefreshTokens::new("other key").issue(claims), RefreshToken::new(String::new())] {
        let result = world.service.auth.refresh(&forged, &client());
        assert!(matches!(result, Err(RefreshError::Invalid)), "{result:?}");
    }
}

#[test]
fn a_token_newer_than_the_store_is_refused_and_ends_nothing() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let ahead = RefreshClaims { session: tokens.session, generation: Generation::new(5) };
    let result = world.service.auth.refresh(&PlainRefreshTokens::new("fake").issue(ahead), &client());
    assert!(matches!(result, Err(RefreshError::Ahead)), "{result:?}");
    assert!(refresh(&world, &tokens).is_ok());
}

#[test]
fn a_store_that_fails_is_reported_as_such() {
    let mut sessions = mock_sessions();
    sessions.expect_open_session().returning(|session, _| {
        let consumed = ConsumedProof::Password { attempts: 1 };
        Ok(SessionOpened { grant: session.grant(), ended: Vec::new(), consumed })
    });
    sessions.expect_rotate().once().returning(|_, _| -> Result<RotateOutcome, _> { Err(broken_store()) });
    let world = World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { sessions: Arc::new(sessions), ..store })
    });
    world.register("alice");
    let tokens = world.login("alice");
    assert!(matches!(refresh(&world, &tokens), Err(RefreshError::Unavailable(Unavailable::Store(_)))));
}
