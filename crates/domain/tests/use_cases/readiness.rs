use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::ports::{MockStoreHealth, StoreStatus};
use portcullis_domain::service::Check;
use portcullis_domain::time::{StoreTime, UnixTime};
use portcullis_domain::{Ports, Rules};
use portcullis_testkit::fixtures::NOW;

use super::{World, broken_store};

fn world(
    check: impl Fn() -> Result<StoreStatus, portcullis_domain::ports::StoreError> + Send + 'static,
) -> World {
    let mut health = MockStoreHealth::new();
    health.expect_check().returning(check);
    World::with(Rules::default(), |ports| Ports { health: Arc::new(health), ..ports })
}

#[test]
fn ready_means_that_everything_works() {
    let world = World::new();
    assert_eq!(world.other_instance().readiness().revocations, Check::Failing, "no look at the store yet");
    assert!(world.service.readiness().is_ready());
    world.wait(6);
    assert!(!world.service.readiness().is_ready(), "the last look is too long ago");
}

#[test]
fn a_store_that_does_not_answer_is_not_ready() {
    let readiness = world(|| Err(broken_store())).service.readiness();
    assert_eq!(
        (readiness.database, readiness.migrations, readiness.clock),
        (Check::Failing, Check::Failing, Check::Failing)
    );
}

#[test]
fn pending_migrations_are_not_ready() {
    let readiness = world(|| Ok(StoreStatus { migrated: false, time: None })).service.readiness();
    assert_eq!(
        (readiness.database, readiness.migrations, readiness.clock),
        (Check::Ok, Check::Failing, Check::Ok)
    );
}

#[test]
fn clocks_may_differ_by_five_seconds() {
    for (skew, expected) in [(5, Check::Ok), (6, Check::Failing)] {
        for now in [NOW + Duration::from_secs(skew), NOW - Duration::from_secs(skew)] {
            let time = Some(StoreTime { now, newest: UnixTime::EPOCH });
            let readiness = world(move || Ok(StoreStatus { migrated: true, time })).service.readiness();
            assert_eq!(readiness.clock, expected, "{skew}");
        }
    }
}
