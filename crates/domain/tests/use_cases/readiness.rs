use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_domain::AuthConfig;
use portcullis_domain::maintenance::{Check, LONGEST_WRITE, WRITES_SETTLE_WITHIN, WRITES_STALE_AFTER};
use portcullis_domain::ports::{MockStoreHealth, StoreStatus};
use portcullis_domain::time::{StoreTime, UnixTime};
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::NOW;

use super::{World, broken_store};

fn world(
    check: impl Fn() -> Result<StoreStatus, portcullis_domain::ports::StoreError> + Send + 'static,
) -> World {
    let mut health = MockStoreHealth::new();
    health.expect_check().returning(check);
    health.expect_oldest_write().return_const(None);
    World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { health: Arc::new(health), ..store })
    })
}

#[test]
fn ready_means_that_everything_works() {
    let world = World::new();
    assert_eq!(
        world.other_instance().maintenance.readiness().revocations,
        Check::Failing,
        "no look at the store yet"
    );
    assert!(!world.service.maintenance.readiness().is_ready(), "no check of changes yet");
    world.service.maintenance.check_writes().unwrap();
    assert!(world.service.maintenance.readiness().is_ready());
    world.wait(6);
    assert!(!world.service.maintenance.readiness().is_ready(), "the last look is too long ago");
}

#[test]
fn a_store_that_does_not_answer_is_not_ready() {
    let readiness = world(|| Err(broken_store())).service.maintenance.readiness();
    assert_eq!(
        (readiness.database, readiness.migrations, readiness.clock),
        (Check::Failing, Check::Failing, Check::Failing)
    );
}

#[test]
fn pending_migrations_are_not_ready() {
    let readiness = world(|| Ok(StoreStatus { migrated: false, time: None })).service.maintenance.readiness();
    assert_eq!(
        (readiness.database, readiness.migrations, readiness.clock),
        (Check::Ok, Check::Failing, Check::Ok)
    );
}

#[test]
fn clocks_may_differ_by_five_seconds() {
    for (skew, expected) in [(5, Check::Ok), (6, Check::Failing)] {
        for now in [NOW + Duration::from_secs(skew), NOW - Duration::from_secs(skew)] {
            let time = Some(StoreTime { now, high_water_mark: UnixTime::EPOCH });
            let readiness =
                world(move || Ok(StoreStatus { migrated: true, time })).service.maintenance.readiness();
            assert_eq!(readiness.clock, expected, "{skew}");
        }
    }
}

/// A world whose store commits changes while the flag is set.
fn world_that_writes(can_write: &Arc<AtomicBool>) -> World {
    world_with_oldest_write(can_write, || None)
}

fn world_with_oldest_write(
    can_write: &Arc<AtomicBool>,
    oldest_write: impl Fn() -> Option<Duration> + Send + 'static,
) -> World {
    let can_write = Arc::clone(can_write);
    let mut health = MockStoreHealth::new();
    health.expect_check().returning(|| Ok(StoreStatus { migrated: true, time: None }));
    health.expect_check_writes().returning(move || match can_write.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(broken_store()),
    });
    health.expect_oldest_write().returning(oldest_write);
    World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { health: Arc::new(health), ..store })
    })
}

#[test]
fn writes_fail_with_the_first_failed_check() {
    let can_write = Arc::new(AtomicBool::new(true));
    let world = world_that_writes(&can_write);
    assert_eq!(world.service.maintenance.check_writes().unwrap(), Check::Ok);
    assert!(world.service.maintenance.readiness().is_ready());
    can_write.store(false, Ordering::SeqCst);
    world.service.maintenance.check_writes().unwrap_err();
    let readiness = world.service.maintenance.readiness();
    assert!(!readiness.is_ready());
    assert_eq!((readiness.writes, readiness.database), (Check::Failing, Check::Ok));
}

#[test]
fn writes_pass_again_after_they_have_settled() {
    let can_write = Arc::new(AtomicBool::new(false));
    let world = world_that_writes(&can_write);
    world.service.maintenance.check_writes().unwrap_err();
    can_write.store(true, Ordering::SeqCst);
    for _ in 1..WRITES_SETTLE_WITHIN.as_secs() {
        world.wait(1);
        assert_eq!(world.service.maintenance.check_writes().unwrap(), Check::Failing);
        assert_eq!(world.service.maintenance.readiness().writes, Check::Failing);
    }
    world.wait(1);
    assert_eq!(world.service.maintenance.check_writes().unwrap(), Check::Ok);
    assert_eq!(world.service.maintenance.readiness().writes, Check::Ok);
}

#[test]
fn writes_fail_while_no_check_ends() {
    let world = world_that_writes(&Arc::new(AtomicBool::new(true)));
    world.service.maintenance.check_writes().unwrap();
    world.wait(WRITES_STALE_AFTER.as_secs() - 1);
    assert_eq!(world.service.maintenance.readiness().writes, Check::Ok);
    world.wait(1);
    assert_eq!(world.service.maintenance.readiness().writes, Check::Failing);
    world.service.maintenance.check_writes().unwrap();
    assert_eq!(world.service.maintenance.readiness().writes, Check::Ok);
}

#[test]
fn hanging_write_makes_an_instance_unready_without_a_check() {
    let age = Arc::new(Mutex::new(Some(LONGEST_WRITE)));
    let asked = Arc::clone(&age);
    let world = world_with_oldest_write(&Arc::new(AtomicBool::new(true)), move || *asked.lock().unwrap());
    world.service.maintenance.check_writes().unwrap();
    assert_eq!(world.service.maintenance.readiness().writes, Check::Ok);
    *age.lock().unwrap() = Some(LONGEST_WRITE + Duration::from_millis(1));
    assert_eq!(world.service.maintenance.readiness().writes, Check::Failing);
    *age.lock().unwrap() = None;
    assert_eq!(world.service.maintenance.readiness().writes, Check::Ok);
}
