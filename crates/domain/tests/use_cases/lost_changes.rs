//! A store that went back to an earlier state under running instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_domain::audit::LogoutScope;
use portcullis_domain::maintenance::{LostChanges, SyncError};
use portcullis_domain::session::{LogoutToken, MockSessionStore, RefreshError, SessionStore};
use portcullis_domain::token::{AccessToken, Authentication, RefreshToken, TokenSet};
use portcullis_domain::{AuthConfig, Ports};
use portcullis_testkit::FaultyStore;

use super::{Services, World, assert_refused, broken_store, client, operator};

fn log_out(world: &World, tokens: &TokenSet) {
    let access = LogoutToken::Access(AccessToken::new(tokens.access.expose().to_owned()));
    world.service.auth.logout(&access, LogoutScope::Current, &client()).unwrap();
}

/// As the background does, until nothing is left.
fn restore(service: &Services) {
    service.maintenance.sync().unwrap();
    while !service.maintenance.end_lost_sessions().unwrap() {}
}

fn assert_not_refreshed(service: &Services, tokens: &TokenSet) {
    let refreshed = service.auth.refresh(&tokens.refresh, &client());
    assert!(matches!(refreshed, Err(RefreshError::Invalid)), "{refreshed:?}");
}

/// Ends sessions on another instance, so that the store's numbers of transactions are beyond every earlier cursor.
fn overtake(world: &World, sessions: &[TokenSet]) {
    let other = world.other_instance();
    other.maintenance.sync().unwrap();
    for tokens in sessions {
        let token = LogoutToken::Refresh(RefreshToken::new(tokens.refresh.expose().to_owned()));
        other.auth.logout(&token, LogoutScope::Current, &client()).unwrap();
    }
}

fn noticed(times: u64, ended_again: u64) -> LostChanges {
    LostChanges { times, ended_again, ..LostChanges::default() }
}

#[test]
fn ends_lost_in_a_failover_are_restored() {
    let world = World::new();
    world.register("alice");
    let [lost, kept, other] = [(); 3].map(|()| world.login("alice"));
    let elsewhere = world.other_instance();
    elsewhere.maintenance.sync().unwrap();
    log_out(&world, &other);
    let backup = world.store.backup();
    log_out(&world, &lost);
    elsewhere.maintenance.sync().unwrap();
    world.store.fail_over_to(&backup);

    // Before anything is restored.
    for service in [&world.service, &elsewhere] {
        assert_refused(service, &lost);
        assert_not_refreshed(service, &lost);
    }
    restore(&elsewhere);
    assert_eq!(elsewhere.maintenance.lost_changes(), noticed(1, 1));
    restore(&world.service);
    assert_eq!(world.service.maintenance.lost_changes(), noticed(0, 0), "the other was faster");
    world.assert_over(&lost);
    world.assert_over(&other);
    assert!(matches!(world.service.auth.authenticate(kept.access.expose()), Authentication::Live(_)));
    assert!(world.service.auth.refresh(&kept.refresh, &client()).is_ok());

    // A second time is another one.
    let backup = world.store.backup();
    log_out(&world, &kept);
    world.store.fail_over_to(&backup);
    restore(&world.service);
    assert_eq!(world.service.maintenance.lost_changes(), noticed(1, 1));
    world.assert_over(&kept);
}

/// Another instance, which just started, refreshes a session in the meantime: its tokens end with it.
#[test]
fn sessions_refreshed_since_the_loss_end_everywhere() {
    let world = World::new();
    world.register("alice");
    let lost = world.login("alice");
    let backup = world.store.backup();
    log_out(&world, &lost);
    let elsewhere = world.other_instance();
    elsewhere.maintenance.sync().unwrap();
    world.store.fail_over_to(&backup);
    world.wait(50 * 60);
    let restarted = world.other_instance();
    restarted.maintenance.sync().unwrap();
    let refreshed = restarted.auth.refresh(&lost.refresh, &client()).unwrap();
    restore(&world.service);
    for service in [&world.service, &elsewhere, &restarted] {
        service.maintenance.sync().unwrap();
    }
    // Longer after the first end than that is remembered.
    world.wait(14 * 60);
    let late = world.other_instance();
    for service in [&world.service, &elsewhere, &restarted, &late] {
        service.maintenance.sync().unwrap();
        assert_refused(service, &refreshed);
        assert_not_refreshed(service, &refreshed);
    }
}

#[test]
fn invalidation_of_all_sessions_is_restored() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let backup = world.store.backup();
    world.service.admin.end_all_sessions(&operator()).unwrap();
    world.service.maintenance.sync().unwrap();
    world.store.fail_over_to(&backup);
    restore(&world.service);
    assert_eq!(world.service.maintenance.lost_changes(), noticed(1, 0));
    world.assert_over(&tokens);
}

/// The store's numbers of transactions may have overtaken the cursor when the instance polls next.
#[test]
fn a_lower_high_water_mark_shows_a_restored_backup() {
    let world = World::new();
    world.store.set_time(world.now());
    world.register("alice");
    let (lost, others) = (world.login("alice"), [(); 3].map(|()| world.login("alice")));
    let purge = || world.service.maintenance.purger().step().unwrap();
    world.service.maintenance.sync().unwrap();
    purge();
    let backup = world.store.backup();
    log_out(&world, &lost);
    world.wait(10);
    world.store.set_time(world.now());
    purge();
    world.service.maintenance.sync().unwrap();
    world.store.restore(&backup);
    world.store.set_time(world.now());
    overtake(&world, &others);
    restore(&world.service);
    let by = Duration::from_secs(10);
    assert_eq!(world.service.maintenance.lost_changes(), LostChanges { by, ..noticed(1, 1) });
    world.assert_over(&lost);
    restore(&world.service);
    assert_eq!(world.service.maintenance.lost_changes(), LostChanges { by, ..noticed(1, 1) }, "counted once");
}

/// The load fails that follows on a lower mark, and so does the first attempt to restore.
#[test]
fn failures_delay_the_restoration() {
    let world = World::new();
    world.store.set_time(world.now());
    world.register("alice");
    let (lost, others) = (world.login("alice"), [(); 3].map(|()| world.login("alice")));
    let backup = world.store.backup();
    log_out(&world, &lost);
    let fails = Arc::new(AtomicBool::new(false));
    let mut sessions = MockSessionStore::new();
    sessions.expect_session_changes().returning({
        let (fails, store) = (Arc::clone(&fails), Arc::clone(&world.store));
        move |after, since, most| match after {
            None if fails.load(Ordering::SeqCst) => Err(broken_store()),
            _ => store.session_changes(after, since, most),
        }
    });
    sessions.expect_end_again().returning({
        let (fails, store) = (Arc::clone(&fails), Arc::clone(&world.store));
        move |sessions, at, valid_from| match fails.swap(false, Ordering::SeqCst) {
            true => Err(broken_store()),
            false => store.end_again(sessions, at, valid_from),
        }
    });
    let ports = Ports { clock: world.clock.clone(), ..portcullis_testkit::ports_over(&world.store) };
    let ports = FaultyStore::within(ports, |store| FaultyStore { sessions: Arc::new(sessions), ..store });
    let service = Services::new(ports, AuthConfig::default());
    world.service.maintenance.sync().unwrap();
    world.service.maintenance.purger().step().unwrap();
    service.maintenance.sync().unwrap();
    world.store.restore(&backup);
    world.store.set_time(world.now());
    overtake(&world, &others);
    fails.store(true, Ordering::SeqCst);
    let result = service.maintenance.sync();
    assert!(matches!(result, Err(SyncError::Store(_))), "{result:?}");
    assert_eq!(service.maintenance.lost_changes().times, 1);
    assert!(service.maintenance.end_lost_sessions().unwrap(), "nothing is known to be lost yet");

    fails.store(false, Ordering::SeqCst);
    service.maintenance.sync().unwrap();
    fails.store(true, Ordering::SeqCst);
    assert!(service.maintenance.end_lost_sessions().is_err());
    assert!(service.maintenance.end_lost_sessions().unwrap());
    assert_eq!(
        (service.maintenance.lost_changes().times, service.maintenance.lost_changes().ended_again),
        (1, 1)
    );
    world.assert_over(&lost);
}

#[test]
fn tokens_ahead_of_the_store_are_counted() {
    let world = World::new();
    world.register("alice");
    let tokens = world.login("alice");
    let backup = world.store.backup();
    let newer = world.service.auth.refresh(&tokens.refresh, &client()).unwrap();
    world.store.fail_over_to(&backup);
    let refreshed = world.service.auth.refresh(&newer.refresh, &client());
    assert!(matches!(refreshed, Err(RefreshError::Ahead)), "{refreshed:?}");
    let expected = LostChanges { tokens_ahead: 1, ..LostChanges::default() };
    assert_eq!(world.service.maintenance.lost_changes(), expected);
}

#[test]
fn more_lost_ends_than_a_batch_are_restored_in_steps() {
    let world = World::with(
        AuthConfig {
            max_sessions_per_user: std::num::NonZeroU32::new(2_000).unwrap(),
            ..AuthConfig::default()
        },
        |ports| ports,
    );
    world.register("alice");
    let all: Vec<_> = (0..1_200).map(|_| world.login("alice")).collect();
    let backup = world.store.backup();
    world.service.admin.end_sessions_of(&operator(), "alice").unwrap();
    world.store.fail_over_to(&backup);
    world.service.maintenance.sync().unwrap();
    let steps = (1..100).find(|_| world.service.maintenance.end_lost_sessions().unwrap());
    assert_eq!(steps, Some(3));
    assert_eq!(world.service.maintenance.lost_changes(), noticed(1, 1_200));
    for tokens in [&all[0], &all[700], &all[1_199]] {
        world.assert_over(tokens);
    }
}
