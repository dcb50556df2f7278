//! Polls by cursor find every end, however transactions interleave.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_domain::account::UserStore as _;
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::SessionId;
use portcullis_domain::session::{Cursor, SessionStore as _};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::fixtures::{self, NOW};
use portcullis_testkit::{MemoryStore, OpenEnd};
use proptest::collection::vec;
use proptest::prelude::*;

use super::random;

/// What happens next to the transactions that end sessions.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One begins, and writes down this time.
    Begin(i64),
    /// Of those that are open, one commits.
    Commit(usize),
    /// Of those that are open, one rolls back.
    RollBack(usize),
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<i32>().prop_map(|at| Step::Begin(at.into())),
        any::<usize>().prop_map(Step::Commit),
        any::<usize>().prop_map(Step::RollBack),
        Just(Step::Poll),
    ];
    vec(step, 0..60)
}

proptest! {
    #[test]
    fn interleaved_ends_are_each_in_the_next_poll(steps in steps()) {
        prop_assert_eq!(missed(&steps, |next| next), []);
    }
}

/// A cursor that passes what is still open is what the property test catches.
#[test]
fn cursors_that_pass_open_transactions_miss_ends() {
    let steps = [Step::Begin(1), Step::Begin(2), Step::Commit(1), Step::Poll, Step::Commit(0), Step::Poll];
    assert_eq!(missed(&steps, |next| next), []);
    let past_what_is_open = |next: Cursor| Cursor::new(next.epoch(), next.position() + 1);
    assert_ne!(missed(&steps, past_what_is_open), []);
}

/// Returns the ends that the poll after their commit did not return. `change` makes the cursor of the next poll from what the
/// store returned.
fn missed(steps: &[Step], change: impl Fn(Cursor) -> Cursor) -> Vec<SessionId> {
    let (store, random) = (Arc::new(MemoryStore::new()), random());
    let user = fixtures::new_user("alice", &*random);
    let registered = fixtures::event(EventKind::UserRegistered, NOW, &*random).of_user(user.id);
    store.insert_user(&user, &registered).unwrap();
    let new_session = || {
        let session = fixtures::new_session(user.id, NOW, &*random);
        store.open_session(&session, &fixtures::opening_events(&session, &*random)).unwrap();
        session.id
    };
    // Nothing is loaded by its time.
    let poll = |cursor| store.session_changes(cursor, UnixTime::from_secs(i64::MAX), u32::MAX).unwrap();
    let mut cursor = poll(None).next.map(&change);
    let (mut open, mut committed, mut missed) = (Vec::<OpenEnd>::new(), BTreeSet::new(), vec![]);
    for step in steps {
        match *step {
            Step::Begin(at) => open.push(store.begin_end(new_session(), UnixTime::from_secs(at))),
            Step::Commit(n) if !open.is_empty() => {
                let end = open.swap_remove(n % open.len());
                committed.insert(end.session());
                end.commit();
            }
            Step::RollBack(n) if !open.is_empty() => drop(open.swap_remove(n % open.len())),
            Step::Commit(_) | Step::RollBack(_) => {}
            Step::Poll => {
                let changes = poll(cursor);
                let ended: BTreeSet<_> = changes.ended.into_iter().map(|(session, _)| session).collect();
                missed.extend(committed.difference(&ended));
                committed.clear();
                cursor = changes.next.map(&change);
            }
        }
    }
    missed
}
