use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_domain::AuthConfig;
use portcullis_domain::maintenance::{ClockNotTrusted, Purger, SyncError};
use portcullis_domain::ports::StoreHealth;
use portcullis_domain::session::revocation::REVOCATION_RETENTION;

use super::World;

/// Alice logged in so often that all sessions but one ended to make room.
fn world_with_ended_sessions(ended: u32) -> World {
    let rules = AuthConfig { max_sessions_per_user: NonZeroU32::MIN, ..AuthConfig::default() };
    let world = World::with(rules, |ports| ports);
    world.register("alice");
    for _ in 0..=ended {
        world.login("alice");
    }
    world
}

#[test]
fn what_is_over_is_swept_out_step_by_step_when_no_token_of_it_can_be_left() {
    let world = world_with_ended_sessions(Purger::BATCH + 10);
    let all = world.store.session_rows();
    let mut purger = world.service.maintenance.purger();
    world.clock.advance(REVOCATION_RETENTION);
    assert_eq!(purger.step().unwrap(), Purger::STEP);
    assert_eq!(purger.step().unwrap(), Purger::PAUSE);
    assert_eq!(world.store.session_rows(), all, "a microsecond too early");

    world.clock.advance(Duration::from_micros(1));
    assert_eq!(purger.step().unwrap(), Purger::STEP, "it begins anew");
    assert!(world.store.session_rows() > 1);
    assert_eq!(purger.step().unwrap(), Purger::PAUSE);
    assert_eq!(world.store.session_rows(), 1, "the live one");
}

#[test]
fn one_instance_sweeps_until_it_is_gone() {
    let world = world_with_ended_sessions(1);
    let other = world.other_instance();
    other.maintenance.sync().unwrap();
    let (mut first, mut second) = (world.service.maintenance.purger(), other.maintenance.purger());
    first.step().unwrap();
    world.clock.advance(REVOCATION_RETENTION);
    first.step().unwrap();
    world.wait(59);
    assert_eq!(second.step().unwrap(), Purger::PAUSE);
    assert_eq!(world.store.session_rows(), 2, "it was not its turn");
    world.wait(1);
    second.step().unwrap();
    assert_eq!(world.store.session_rows(), 1);
}

#[test]
fn a_step_leaves_a_mark_of_the_time() {
    let world = World::new();
    world.store.set_time(world.now());
    world.service.maintenance.purger().step().unwrap();
    assert_eq!(world.store.check().unwrap().time.unwrap().high_water_mark, world.now());
}

#[test]
fn an_instance_that_does_not_know_the_time_sweeps_nothing() {
    let world = World::new();
    world.store.set_time(world.now() - Duration::from_secs(61));
    let before_the_first_look = world.other_instance().maintenance.purger().step();
    assert!(matches!(before_the_first_look, Err(SyncError::Clock(ClockNotTrusted::NotSet))));
    assert!(world.service.maintenance.sync().is_err());
    let far_ahead = world.service.maintenance.purger().step();
    assert!(matches!(far_ahead, Err(SyncError::Clock(ClockNotTrusted::Ahead(61)))), "{far_ahead:?}");
    let newest = world.store.check().unwrap().time.unwrap().high_water_mark;
    assert!(newest < world.now(), "nor leaves it a mark");
}
