use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_domain::Rules;
use portcullis_domain::maintenance::{CatchUpError, ClockNotTrusted, Sweeper};
use portcullis_domain::ports::StoreHealth;
use portcullis_domain::session::revocation::REMEMBERED;

use super::World;

/// Alice logged in so often that all sessions but one ended to make room.
fn world_with_ended_sessions(ended: u32) -> World {
    let rules = Rules { max_sessions_per_user: NonZeroU32::MIN, ..Rules::default() };
    let world = World::with(rules, |ports| ports);
    world.register("alice");
    for _ in 0..=ended {
        world.login("alice");
    }
    world
}

#[test]
fn what_is_over_is_swept_out_step_by_step_when_no_token_of_it_can_be_left() {
    let world = world_with_ended_sessions(Sweeper::BATCH + 10);
    let all = world.store.session_rows();
    let mut sweeper = world.service.sweeper();
    world.clock.advance(REMEMBERED);
    assert_eq!(sweeper.step().unwrap(), Sweeper::STEP);
    assert_eq!(sweeper.step().unwrap(), Sweeper::PAUSE);
    assert_eq!(world.store.session_rows(), all, "a microsecond too early");

    world.clock.advance(Duration::from_micros(1));
    assert_eq!(sweeper.step().unwrap(), Sweeper::STEP, "it begins anew");
    assert!(world.store.session_rows() > 1);
    assert_eq!(sweeper.step().unwrap(), Sweeper::PAUSE);
    assert_eq!(world.store.session_rows(), 1, "the live one");
}

#[test]
fn one_instance_sweeps_until_it_is_gone() {
    let world = world_with_ended_sessions(1);
    let other = world.other_instance();
    other.catch_up().unwrap();
    let (mut first, mut second) = (world.service.sweeper(), other.sweeper());
    first.step().unwrap();
    world.clock.advance(REMEMBERED);
    first.step().unwrap();
    world.wait(59);
    assert_eq!(second.step().unwrap(), Sweeper::PAUSE);
    assert_eq!(world.store.session_rows(), 2, "it was not its turn");
    world.wait(1);
    second.step().unwrap();
    assert_eq!(world.store.session_rows(), 1);
}

#[test]
fn a_step_leaves_a_mark_of_the_time() {
    let world = World::new();
    world.store.set_time(world.now());
    world.service.sweeper().step().unwrap();
    assert_eq!(world.store.check().unwrap().time.unwrap().newest, world.now());
}

#[test]
fn an_instance_that_does_not_know_the_time_sweeps_nothing() {
    let world = World::new();
    world.store.set_time(world.now() - Duration::from_secs(61));
    let before_the_first_look = world.other_instance().sweeper().step();
    assert!(matches!(before_the_first_look, Err(CatchUpError::Clock(ClockNotTrusted::NotSet))));
    assert!(world.service.catch_up().is_err());
    let far_ahead = world.service.sweeper().step();
    assert!(matches!(far_ahead, Err(CatchUpError::Clock(ClockNotTrusted::Ahead(61)))), "{far_ahead:?}");
    let newest = world.store.check().unwrap().time.unwrap().newest;
    assert!(newest < world.now(), "nor leaves it a mark");
}
