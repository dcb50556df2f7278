//! Promises of [`StoreHealth`](portcullis_domain::ports::StoreHealth).

use portcullis_domain::account::InsertUserError;
use portcullis_domain::audit::EventKind;
use portcullis_domain::throttle::PurgedCounter;

use super::TestedStore;
use crate::fixtures::{self, NOW};

/// A store that was just made has the schema of this build.
// MUST health-migrated
pub fn a_fresh_store_is_migrated(tested: &TestedStore) {
    assert!(tested.store.check().unwrap().migrated);
}

/// A check of changes leaves no user, session or event behind.
// MUST health-no-trace
pub fn a_check_of_changes_leaves_nothing_behind(tested: &TestedStore) {
    let user = tested.user("alice");
    let session = tested.session(user.id);
    let recorded = tested.recorded_names();
    for _ in 0..3 {
        tested.store.check_writes().expect("the store commits changes");
    }
    assert_eq!(tested.recorded_names(), recorded);
    assert_eq!(tested.list(user.id, NOW), [session.id]);
    let deleted = tested.store.purge_counters(
        NOW + std::time::Duration::from_secs(1_000_000),
        10,
        &|_: &PurgedCounter| None,
    );
    assert_eq!(deleted.expect("the store answers"), 0, "no counter is left");
}

/// A refused call does not count against other changes.
// MUST health-refusals
pub fn a_refused_call_does_not_count_against_the_store(tested: &TestedStore) {
    let user = tested.user("alice");
    let same_name = fixtures::new_user("alice", &*tested.random);
    let event = tested.event(EventKind::UserRegistered, NOW).of_user(user.id);
    let refused = tested.store.insert_user(&same_name, &event);
    assert!(matches!(refused, Err(InsertUserError::UsernameTaken)), "{refused:?}");
    tested.store.check_writes().expect("the store commits changes");
}

/// Changes that returned, well or not, are under way no more.
// MUST health-oldest-write
pub fn returned_changes_are_not_under_way(tested: &TestedStore) {
    let user = tested.user("alice");
    let same_name = fixtures::new_user("alice", &*tested.random);
    let event = tested.event(EventKind::UserRegistered, NOW).of_user(user.id);
    tested.store.insert_user(&same_name, &event).expect_err("the name is taken");
    tested.store.check_writes().expect("the store commits changes");
    assert_eq!(tested.store.oldest_write(), None);
}
