use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_domain::audit::LogoutScope;
use portcullis_domain::id::SessionId;
use portcullis_domain::maintenance::{Check, ClockNotTrusted, SyncError};
use portcullis_domain::ports::StoreHealth;
use portcullis_domain::session::{LoginError, LogoutToken, MockSessionStore, RefreshError, SessionChanges};
use portcullis_domain::token::{Authentication, RefreshToken, TokenSet};
use portcullis_domain::{AuthConfig, Ports, Unavailable};
use portcullis_testkit::fixtures::{NOW, PASSWORD};
use portcullis_testkit::{FaultyStore, FixedClock, MemoryStore};
use uuid::Uuid;

use super::{Services, World, assert_refused, broken_store, client, operator};

fn authenticate(service: &Services, tokens: &TokenSet) -> Authentication {
    service.auth.authenticate(tokens.access.expose())
}

fn login(service: &Services) -> Result<TokenSet, LoginError> {
    service.log_in("alice", PASSWORD)
}

fn by_refresh(tokens: &TokenSet) -> LogoutToken {
    LogoutToken::Refresh(RefreshToken::new(tokens.refresh.expose().to_owned()))
}

/// Another instance, by a clock of its own.
fn instance(store: &Arc<MemoryStore>, clock: &Arc<FixedClock>) -> Services {
    let ports = Ports { clock: clock.clone(), ..portcullis_testkit::ports_over(store) };
    Services::new(ports, AuthConfig::default())
}

#[test]
fn before_the_first_look_nothing_is_given_out_or_accepted() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let fresh = world.other_instance();
    let work = world.hasher.work();
    assert!(matches!(authenticate(&fresh, &tokens), Authentication::NotReady));
    assert!(matches!(
        login(&fresh),
        Err(LoginError::Unavailable(Unavailable::Clock(ClockNotTrusted::NotSet)))
    ));
    let refreshed = fresh.auth.refresh(&tokens.refresh, &client());
    assert!(
        matches!(refreshed, Err(RefreshError::Unavailable(Unavailable::Clock(ClockNotTrusted::NotSet)))),
        "{refreshed:?}"
    );
    assert_eq!(world.hasher.work(), work, "nothing is hashed in vain");
    assert_eq!(world.service.sessions.list(&world.live(&tokens)).unwrap()[0].newest.at, NOW, "nor rotated");

    fresh.maintenance.sync().unwrap();
    assert!(matches!(authenticate(&fresh, &tokens), Authentication::Live(_)));
    assert!(fresh.auth.refresh(&tokens.refresh, &client()).is_ok());
}

#[test]
fn the_first_look_goes_back_as_far_as_any_token_may_live() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    world.service.admin.end_sessions_of(&operator(), "alice").unwrap();
    world.wait(14 * 60);
    let fresh = world.other_instance();
    fresh.maintenance.sync().unwrap();
    assert_refused(&fresh, &tokens);
}

#[test]
fn a_clock_that_is_a_minute_off_gives_out_nothing_but_verifies() {
    for (store, far_off) in [
        (NOW + Duration::from_secs(61), ClockNotTrusted::Behind(61)),
        (NOW - Duration::from_secs(61), ClockNotTrusted::Ahead(61)),
    ] {
        let world = World::new();
        world.register("alice");
        let tokens = world.login("alice");
        let ended = world.login("alice");
        world.other_instance().auth.logout(&by_refresh(&ended), LogoutScope::Current, &client()).unwrap();
        world.store.set_time(store);
        let result = world.service.maintenance.sync();
        assert!(matches!(result, Err(SyncError::Clock(off)) if off == far_off), "{result:?}");
        let result = login(&world.service);
        assert!(
            matches!(result, Err(LoginError::Unavailable(Unavailable::Clock(off))) if off == far_off),
            "{result:?}"
        );
        let result = world.service.auth.refresh(&tokens.refresh, &client());
        assert!(
            matches!(result, Err(RefreshError::Unavailable(Unavailable::Clock(off))) if off == far_off),
            "{result:?}"
        );
        assert_eq!(world.service.maintenance.readiness().clock, Check::Failing);
        assert!(matches!(authenticate(&world.service, &tokens), Authentication::Live(_)));
        assert_refused(&world.service, &ended);

        world.store.set_time(NOW + Duration::from_mins(1));
        world.service.maintenance.sync().unwrap();
        assert!(world.service.auth.refresh(&tokens.refresh, &client()).is_ok(), "up to a minute is bearable");
    }
}

/// A store in which an instance whose clock was an hour ahead, like the store's then, left its mark.
fn marked_an_hour_ahead() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let ahead = NOW + Duration::from_hours(1);
    store.set_time(ahead);
    let service = instance(&store, &Arc::new(FixedClock::at(ahead)));
    service.maintenance.sync().unwrap();
    service.maintenance.purger().step().unwrap();
    assert_eq!(store.check().unwrap().time.unwrap().high_water_mark, ahead);
    store
}

#[test]
fn an_instance_does_not_start_with_a_mark_that_lies_in_the_future() {
    let store = marked_an_hour_ahead();
    let service = instance(&store, &Arc::new(FixedClock::at(NOW)));
    store.set_time(NOW);
    for _ in 0..2 {
        let result = service.maintenance.sync();
        let expected = ClockNotTrusted::Ahead(3_630);
        assert!(matches!(result, Err(SyncError::Clock(off)) if off == expected), "{result:?}");
        assert!(matches!(login(&service), Err(LoginError::Unavailable(Unavailable::Clock(_)))));
        assert_eq!(service.maintenance.readiness().revocations, Check::Failing);
    }

    store.set_time(NOW + Duration::from_hours(1));
    service.maintenance.sync().unwrap();
    assert_eq!(service.maintenance.readiness().revocations, Check::Ok);
}

#[test]
fn no_expired_session_comes_back_when_the_clock_is_set_back_across_a_restart() {
    let world = World::new();
    world.store.set_time(NOW);
    world.register("alice");
    let tokens = world.login("alice");
    world.clock.advance(Duration::from_hours(24 * 30));
    world.store.set_time(world.now());
    world.service.maintenance.sync().unwrap();
    world.service.maintenance.purger().step().unwrap();
    assert!(matches!(world.service.auth.refresh(&tokens.refresh, &client()), Err(RefreshError::Invalid)));

    // An hour back it would be live again, and so would its access token at the hour of the login.
    for back in [NOW, world.now() - Duration::from_hours(1), world.now() - Duration::from_secs(30)] {
        world.store.set_time(back);
        let restarted = instance(&world.store, &Arc::new(FixedClock::at(back)));
        let _may_be_refused = restarted.maintenance.sync();
        assert!(!matches!(authenticate(&restarted, &tokens), Authentication::Live(_)));
        let result = restarted.auth.refresh(&tokens.refresh, &client());
        assert!(
            matches!(result, Err(RefreshError::Invalid | RefreshError::Unavailable(Unavailable::Clock(_)))),
            "{result:?}"
        );
    }
}

/// The mark may be as old as half a minute: what expired between it and the end of the instance that left it must not
/// live again when, an hour after the clock was set back, that time comes round.
#[test]
fn what_expired_after_the_newest_mark_does_not_revive_when_its_time_comes_round() {
    let world = World::new();
    world.store.set_time(NOW);
    world.register("alice");
    let tokens = world.login("alice");
    world.clock.advance(Duration::from_secs(15 * 60 - 20));
    world.store.set_time(world.now());
    world.service.maintenance.sync().unwrap();
    world.service.maintenance.purger().step().unwrap();
    world.clock.advance(Duration::from_secs(25));
    assert!(matches!(world.service.auth.authenticate(tokens.access.expose()), Authentication::Refused));

    let back = Arc::new(FixedClock::at(world.now() - Duration::from_hours(1)));
    let restarted = instance(&world.store, &back);
    let set_back = world.now() - Duration::from_hours(1);
    for second in 0..3_700 {
        world.store.set_time(set_back + Duration::from_secs(second));
        let _may_be_refused = restarted.maintenance.sync();
        assert!(!matches!(authenticate(&restarted, &tokens), Authentication::Live(_)));
        back.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_store_that_does_not_answer_leaves_what_is_known_until_it_is_stale() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let mut sessions = MockSessionStore::new();
    sessions.expect_session_changes().returning({
        let is_broken = is_broken.clone();
        move |_, _, _| match is_broken.load(Ordering::SeqCst) {
            true => Err(broken_store()),
            false => Ok(SessionChanges::default()),
        }
    });
    let ports = Ports { clock: world.clock.clone(), ..portcullis_testkit::ports_over(&world.store) };
    let ports = FaultyStore::within(ports, |store| FaultyStore { sessions: Arc::new(sessions), ..store });
    let service = Services::new(ports, AuthConfig::default());
    service.maintenance.sync().unwrap();
    is_broken.store(true, Ordering::SeqCst);
    world.wait(5);
    assert!(matches!(service.maintenance.sync(), Err(SyncError::Store(_))));
    assert!(matches!(authenticate(&service, &tokens), Authentication::Live(_)));
    world.clock.advance(Duration::from_micros(1));
    assert!(matches!(authenticate(&service, &tokens), Authentication::NeedsLookup(_)));

    is_broken.store(false, Ordering::SeqCst);
    service.maintenance.sync().unwrap();
    assert!(matches!(authenticate(&service, &tokens), Authentication::Live(_)));
}

#[test]
fn where_more_ended_than_fits_every_token_is_looked_up_until_they_are_fewer() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let mut sessions = MockSessionStore::new();
    let is_too_much = Arc::new(AtomicBool::new(true));
    sessions.expect_session_changes().returning({
        let is_too_much = is_too_much.clone();
        move |_, _, most| {
            let ended = if is_too_much.load(Ordering::SeqCst) { most } else { 0 };
            let ended = (0..u128::from(ended)).map(|n| (SessionId::from_uuid(Uuid::from_u128(n)), NOW));
            Ok(SessionChanges { ended: ended.collect(), ..SessionChanges::default() })
        }
    });
    let ports = Ports { clock: world.clock.clone(), ..portcullis_testkit::ports_over(&world.store) };
    let ports = FaultyStore::within(ports, |store| FaultyStore { sessions: Arc::new(sessions), ..store });
    let service = Services::new(ports, AuthConfig::default());
    for _ in 0..3 {
        service.maintenance.sync().unwrap();
        assert!(matches!(authenticate(&service, &tokens), Authentication::NeedsLookup(_)));
        assert_eq!(service.maintenance.readiness().revocations, Check::Failing);
        world.wait(9);
    }
    is_too_much.store(false, Ordering::SeqCst);
    world.wait(3);
    service.maintenance.sync().unwrap();
    assert!(matches!(authenticate(&service, &tokens), Authentication::Live(_)));
}
