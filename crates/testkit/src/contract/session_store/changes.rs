//! What instances learn of ended sessions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use portcullis_domain::session::revocation::STALE_AFTER;
use portcullis_domain::time::UnixTime;

use super::{MICROSECOND, SECOND};
use crate::contract::{TestedStore, race, sorted};
use crate::fixtures::NOW;

/// Ends from `since` on are listed, expiries are not, and all sessions are valid at first.
// MUST session-changes-ended
pub fn changes_list_ends_but_no_expiries(tested: &TestedStore) {
    let user = tested.user("Alice");
    let (early, late, _live) = (tested.session(user.id), tested.session(user.id), tested.session(user.id));
    tested.end(early.id, NOW + SECOND);
    tested.end(late.id, NOW + SECOND * 2);
    let tested = &tested.reopened();
    let mut both = vec![(early.id, NOW + SECOND), (late.id, NOW + SECOND * 2)];
    both.sort();
    assert_eq!(tested.changes(NOW + SECOND).ended, both, "the reported ends, with their times");
    assert_eq!(
        tested.changes(NOW + SECOND + MICROSECOND).ended,
        [(late.id, NOW + SECOND * 2)],
        "the reported ends, with their times"
    );
    assert_eq!(tested.changes(NOW + SECOND * 3).ended, [], "the reported ends, with their times");
    assert_eq!(tested.changes(NOW).valid_from, UnixTime::EPOCH, "when sessions are valid from");
}

/// However many ended, no more are told than were asked for: one more than that says that there are more.
// MUST session-changes-most
pub fn changes_list_at_most_the_requested_number(tested: &TestedStore) {
    let user = tested.user("Alice");
    let ended = sorted([0, 1, 2].map(|_| tested.session(user.id).id));
    for session in &ended {
        tested.end(*session, NOW);
    }
    for most in 1..5 {
        let told = tested.store.session_changes(NOW, most).unwrap().ended;
        assert_eq!(told.len(), ended.len().min(most as usize));
        assert!(told.iter().all(|(session, at)| ended.contains(session) && *at == NOW), "{told:?}");
    }
}

/// While other callers change the store, each answer comes before the previous one is stale.
// MUST session-changes-no-wait
pub fn changes_do_not_wait_for_other_callers(tested: &TestedStore) {
    let user = tested.user("Alice");
    let is_over = AtomicBool::new(false);
    race(16, |n| match n {
        0 => {
            let _over = SetOnDrop(&is_over);
            for _ in 0..20 {
                let asked = Instant::now();
                tested.store.session_changes(NOW, 100).expect("the store answers");
                assert!(asked.elapsed() < STALE_AFTER, "{:?}", asked.elapsed());
            }
        }
        _ => {
            while !is_over.load(Ordering::SeqCst) {
                let session = tested.session(user.id);
                tested.present(session.id, 0, NOW);
                tested.end(session.id, NOW);
            }
        }
    });
}

/// Sets a flag at the end of its scope, even if a check panics there: threads that wait for the flag never hang.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
