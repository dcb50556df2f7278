//! Ending all sessions.

use portcullis_domain::audit::EventKind;
use portcullis_domain::session::RotateOutcome;

use super::{MICROSECOND, SECOND};
use crate::contract::TestedStore;
use crate::fixtures::NOW;

/// Every session opened before is over, every instance learns of it, and the time never decreases.
// MUST session-invalidate-all session-invalidate-monotonic
pub fn invalidate_ends_earlier_sessions(tested: &TestedStore) {
    let user = tested.user("Alice");
    let old = tested.session(user.id);
    let valid_from = (NOW + SECOND).next_second();
    let raise =
        |at| tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, at)).unwrap();
    assert_eq!(raise(NOW + SECOND), valid_from);
    assert_eq!(raise(NOW), valid_from);
    let at_floor = tested.new_session(user.id, valid_from);
    tested.open(&at_floor);

    let tested = &tested.reopened();
    assert_eq!(tested.changes(NOW).valid_from, valid_from, "when sessions are valid from");
    assert!(!tested.is_live(old.id, valid_from), "the session is over");
    assert_eq!(tested.present(old.id, 0, valid_from), RotateOutcome::Gone);
    assert!(!tested.end(old.id, valid_from));
    assert_eq!(tested.list(user.id, valid_from), [at_floor.id], "the live sessions of the user");
    assert!(tested.is_live(at_floor.id, valid_from), "the session is live");
    assert!(matches!(tested.present(at_floor.id, 0, valid_from), RotateOutcome::Rotated(_)));
    assert_eq!(tested.count_of("all_sessions_ended"), 2, "recorded events of this name");
}

/// Tokens carry the opening of their session in whole seconds, so the time is the next one: a session opened
/// at this very moment ends too. As a mark it keeps clocks from opening sessions before it.
// MUST session-invalidate-second session-invalidate-high-water-mark
pub fn invalidate_sets_the_next_whole_second(tested: &TestedStore) {
    let whole = NOW.next_second();
    for (at, valid_from) in [(whole - MICROSECOND, whole), (whole, whole + SECOND)] {
        tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, at)).unwrap();
        let news = tested.changes(NOW);
        assert_eq!(news.valid_from, valid_from);
        assert!(news.time.is_none_or(|time| time.high_water_mark == news.valid_from), "{news:?}");
    }
}

/// Whoever opened a session by a clock ahead of the caller's is caught too.
// MUST session-invalidate-all
pub fn invalidate_ends_sessions_opened_by_clocks_ahead(tested: &TestedStore) {
    let user = tested.user("Alice");
    let ahead = tested.new_session(user.id, NOW + SECOND * 40);
    tested.open(&ahead);
    let valid_from =
        tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    assert_eq!(valid_from, ahead.opened_at.next_second());
    assert!(!tested.is_live(ahead.id, ahead.opened_at), "the session is over");
    assert_eq!(tested.present(ahead.id, 0, ahead.opened_at), RotateOutcome::Gone);
}
