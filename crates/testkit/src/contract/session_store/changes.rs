//! What instances learn of ended sessions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::id::SessionId;
use portcullis_domain::session::Cursor;
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

/// An end is in the changes after it committed, however late that is, whatever time it wrote down, and whatever was polled
/// and committed meanwhile.
// MUST session-changes-cursor
pub fn an_end_that_commits_late_is_in_the_next_changes(tested: &TestedStore) {
    let user = tested.user("Alice");
    let [late, other, meanwhile] = [(); 3].map(|()| tested.session(user.id));
    // Loads by time would go on from a minute before.
    let long_ago = NOW - Duration::from_hours(2);
    let first = tested.changes(NOW);
    assert_eq!(first.ended, []);
    tested.end(other.id, NOW);
    let open = tested.backend.begin_end(late.id, long_ago);
    let mut changes = tested.changes_after(first.next, NOW);
    assert_eq!((changes.ended, changes.continues), (vec![(other.id, NOW)], true), "before it commits");
    if open.lets_others_commit {
        tested.end(meanwhile.id, NOW);
        for _ in 0..2 {
            changes = tested.changes_after(changes.next, NOW);
            assert!(changes.ended.contains(&(meanwhile.id, NOW)), "{changes:?}");
            assert!(changes.ended.iter().all(|(session, _)| *session != late.id), "{changes:?}");
        }
    }
    (open.commit)();
    let changes = tested.changes_after(changes.next, NOW);
    assert!(changes.continues);
    assert!(changes.ended.contains(&(late.id, long_ago)), "{changes:?}");
    assert_nothing_remains(tested, changes.next);
}

/// Polls that follow each other return each end, of any kind, and none of them for ever.
// MUST session-changes-cursor session-changes-advance
pub fn changes_continue_from_the_cursor(tested: &TestedStore) {
    let user = tested.user("Alice");
    let mut cursor = tested.changes(NOW).next;
    assert!(cursor.is_some(), "the store makes a cursor");
    let mut check = |expected: &[SessionId], at: UnixTime| {
        let changes = tested.changes_after(cursor, NOW + Duration::from_hours(1));
        let expected = sorted(expected.iter().map(|session| (*session, at)));
        assert_eq!((changes.ended, changes.continues), (expected, true));
        cursor = assert_nothing_remains(tested, changes.next);
    };
    check(&[], NOW);
    let [ended, reused] = [(); 2].map(|()| tested.session(user.id).id);
    tested.end(ended, NOW);
    check(&[ended], NOW);
    tested.present(reused, 0, NOW);
    check(&[], NOW);
    tested.present(reused, 0, NOW + SECOND * 31);
    check(&[reused], NOW + SECOND * 31);
    let all = [(); 3].map(|()| tested.session(user.id).id);
    let event = tested.event(EventKind::LoggedOut(LogoutScope::All), NOW).of_user(user.id);
    tested.store.end_sessions(user.id, None, &event).unwrap();
    check(&all, NOW);
}

/// Polls until no end is returned any more: transactions of other tests, in other databases of a server, may still be open.
fn assert_nothing_remains(tested: &TestedStore, mut cursor: Option<Cursor>) -> Option<Cursor> {
    let begun = Instant::now();
    loop {
        let changes = tested.changes_after(cursor, NOW + Duration::from_hours(1));
        assert!(changes.continues);
        cursor = changes.next;
        if changes.ended.is_empty() {
            return cursor;
        }
        assert!(begun.elapsed() < ADVANCES_WITHIN, "the same ends are returned again and again: {changes:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How long transactions of other tests may stay open.
const ADVANCES_WITHIN: Duration = Duration::from_mins(1);

/// A cursor of another epoch, or one that is ahead of the store, loads by time.
// MUST session-changes-reset
pub fn changes_after_a_foreign_cursor_are_loaded_by_time(tested: &TestedStore) {
    let user = tested.user("Alice");
    let [early, late] = [(); 2].map(|()| tested.session(user.id).id);
    tested.end(early, NOW - SECOND);
    tested.end(late, NOW);
    let next = tested.changes(NOW).next.expect("the store makes a cursor");
    for foreign in [Cursor::new(u64::MAX, 0), Cursor::new(next.epoch(), next.position() + 1_000_000)] {
        let changes = tested.changes_after(Some(foreign), NOW);
        assert_eq!((changes.ended, changes.continues), (vec![(late, NOW)], false), "{foreign:?}");
        assert_nothing_remains(tested, changes.next);
    }
    let loaded = tested.changes(NOW);
    assert_eq!((loaded.ended, loaded.continues), (vec![(late, NOW)], false));
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
        let told = tested.store.session_changes(None, NOW, most).unwrap().ended;
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
                tested.store.session_changes(None, NOW, 100).expect("the store answers");
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
