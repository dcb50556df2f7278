use uuid::Uuid;

use super::*;
use crate::time::StoreTime;

const T: UnixTime = UnixTime::from_secs(10_000);
const UP: Duration = Duration::from_secs(50);

fn sid(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

fn ended(sessions: impl IntoIterator<Item = u128>, at: UnixTime) -> SessionChanges {
    SessionChanges {
        ended: sessions.into_iter().map(|n| (sid(n), at)).collect(),
        ..SessionChanges::default()
    }
}

fn changes_at(store: UnixTime) -> SessionChanges {
    SessionChanges {
        time: Some(StoreTime { now: store, high_water_mark: UnixTime::EPOCH }),
        ..SessionChanges::default()
    }
}

/// The ends that a cursor brought.
fn brought(sessions: impl IntoIterator<Item = u128>, at: UnixTime, next: u64) -> SessionChanges {
    SessionChanges { continues: true, next: Some(Cursor::new(1, next)), ..ended(sessions, at) }
}

/// Polls `after` [`T`], with this result. Returns the time from which on it asked.
fn poll(revocations: &Revocations, after: Duration, changes: SessionChanges) -> UnixTime {
    let window = revocations.begin(T + after, UP + after).expect("there is room");
    revocations.merge(&window, changes);
    window.since()
}

const NO_TIME: Duration = Duration::ZERO;

#[test]
fn sessions_without_a_recent_poll_are_not_live() {
    let revocations = Revocations::default();
    assert_eq!(revocations.status(sid(1), T, UP), SessionStatus::NotReady);
    assert_eq!(poll(&revocations, NO_TIME, SessionChanges::default()), T - REVOCATION_RETENTION);
    assert_eq!(revocations.status(sid(1), T, UP + STALE_AFTER), SessionStatus::Live);

    let later = STALE_AFTER + Duration::from_micros(1);
    assert_eq!(revocations.status(sid(1), T, UP + later), SessionStatus::Unknown);
    assert_eq!(poll(&revocations, later, SessionChanges::default()), T + later - REVOCATION_RETENTION);
    assert_eq!(revocations.status(sid(1), T, UP + later), SessionStatus::Live);
}

#[test]
fn polls_continue_from_the_last_cursor() {
    let revocations = Revocations::default();
    let after = |uptime: Duration| revocations.begin(T, UP + uptime).expect("there is room").after();
    assert_eq!(after(NO_TIME), None, "the first loads by time");
    poll(&revocations, NO_TIME, SessionChanges { continues: false, ..brought([1], T, 7) });
    assert_eq!(after(NO_TIME), Some(Cursor::new(1, 7)));
    poll(&revocations, NO_TIME, brought([2], T, 9));
    assert_eq!(after(Duration::from_hours(3)), Some(Cursor::new(1, 9)), "however long ago that was");
    poll(&revocations, NO_TIME, SessionChanges { next: None, ..brought([], T, 0) });
    assert_eq!(after(NO_TIME), None, "the store made no cursor");
}

#[test]
fn late_ends_are_remembered_since_they_were_brought() {
    let revocations = Revocations::default();
    poll(&revocations, NO_TIME, brought([], T, 1));
    let minute = Duration::from_mins(1);
    // Of a clock that is two hours behind; each poll returns it again while another transaction is open.
    let written = T - Duration::from_hours(2);
    for n in 1..=64 {
        let changes = if n < 40 { brought([1], written, 2) } else { brought([], T, 2) };
        poll(&revocations, minute * n, changes);
        let expected = if minute * n <= REVOCATION_RETENTION + minute {
            SessionStatus::Ended
        } else {
            SessionStatus::Live
        };
        assert_eq!(revocations.status(sid(1), T, UP + minute * n), expected, "{n}");
    }
}

#[test]
fn sessions_ended_again_are_remembered_longer() {
    let revocations = Revocations::default();
    poll(&revocations, NO_TIME, ended([1], T));
    let hour = Duration::from_hours(1);
    poll(&revocations, hour, brought([1], T + hour, 2));
    poll(&revocations, hour * 2, brought([], T, 2));
    assert_eq!(revocations.status(sid(1), T, UP + hour * 2), SessionStatus::Ended);
}

#[test]
fn a_clock_that_stands_still_does_not_keep_the_memory_fresh() {
    let revocations = Revocations::default();
    poll(&revocations, NO_TIME, SessionChanges::default());
    assert!(revocations.is_fresh(UP + STALE_AFTER));
    assert!(!revocations.is_fresh(UP + STALE_AFTER + Duration::from_micros(1)));
}

#[test]
fn ended_sessions_are_remembered_while_a_token_may_live() {
    let revocations = Revocations::default();
    revocations.insert([sid(1)], T, UP);
    assert_eq!(revocations.status(sid(1), T, UP), SessionStatus::Ended, "at once, before any poll");

    poll(&revocations, REVOCATION_RETENTION, ended([2], T));
    assert_eq!(revocations.status(sid(2), T, UP + REVOCATION_RETENTION), SessionStatus::Ended);

    let later = REVOCATION_RETENTION + FORGET_EVERY;
    poll(&revocations, later, SessionChanges::default());
    assert_eq!(revocations.status(sid(2), T, UP + later), SessionStatus::Live, "every token has expired");
    assert_eq!(revocations.read().ended.len(), 0);
}

#[test]
fn sessions_opened_before_valid_from_are_ended() {
    let revocations = Revocations::default();
    poll(&revocations, NO_TIME, SessionChanges { valid_from: T, ..SessionChanges::default() });
    poll(&revocations, NO_TIME, SessionChanges::default());
    assert_eq!(revocations.status(sid(1), T - Duration::from_secs(1), UP), SessionStatus::Ended);
    assert_eq!(revocations.status(sid(1), T, UP), SessionStatus::Live);
}

#[test]
fn what_does_not_fit_makes_the_memory_stale_until_it_does() {
    let revocations = Revocations::with_capacity(2);
    assert_eq!(revocations.most(), 3);
    poll(&revocations, NO_TIME, ended([1, 2], T));
    assert_eq!(revocations.status(sid(9), T, UP), SessionStatus::Live);

    poll(&revocations, NO_TIME, brought([], T, 7));
    revocations.insert([sid(3)], T, UP);
    for session in [1, 3, 9] {
        assert_eq!(revocations.status(sid(session), T, UP), SessionStatus::Unknown);
    }
    revocations.insert([sid(4)], T, UP);
    assert_eq!(revocations.status(sid(4), T, UP), SessionStatus::Ended, "what is known is still of use");
    assert!(!revocations.is_fresh(UP));
    assert!(revocations.begin(T, UP).is_none(), "the store is not asked at once again");

    let pause = PAUSE_WHEN_FULL;
    let window = revocations.begin(T, UP + pause).expect("the pause is over");
    assert_eq!(window.after(), None, "what the cursor passed was given up");
    assert_eq!(poll(&revocations, pause, ended([1, 2, 3], T)), T + pause - REVOCATION_RETENTION);
    assert_eq!(revocations.status(sid(1), T, UP + pause), SessionStatus::Unknown, "still too many");

    assert_eq!(revocations.begin(T, UP + pause * 2).map(|window| window.after()), Some(None));
    poll(&revocations, pause * 2, ended([3], T));
    for session in [3, 4] {
        assert_eq!(revocations.status(sid(session), T, UP + pause * 2), SessionStatus::Ended);
    }
    assert_eq!(revocations.status(sid(9), T, UP + pause * 2), SessionStatus::Live);
}

#[test]
fn polls_begun_before_the_memory_overflowed_prove_nothing() {
    let revocations = Revocations::with_capacity(2);
    poll(&revocations, NO_TIME, ended([1, 2], T));
    let later = Duration::from_mins(10);
    let under_way = revocations.begin(T + later, UP + later).unwrap();
    revocations.insert([sid(3)], T + later, UP + later);
    revocations.merge(&under_way, SessionChanges::default());
    for session in [1, 3] {
        assert_eq!(revocations.status(sid(session), T, UP + later), SessionStatus::Unknown);
    }
}

#[test]
fn more_than_fits_after_a_cursor_loads_by_time_again() {
    let revocations = Revocations::with_capacity(2);
    poll(&revocations, NO_TIME, brought([1], T, 7));
    poll(&revocations, NO_TIME, brought([2, 3, 4], T, 9));
    assert_eq!(revocations.status(sid(9), T, UP), SessionStatus::Unknown);
    assert!(revocations.begin(T, UP).is_none());
    let window = revocations.begin(T, UP + PAUSE_WHEN_FULL).expect("the pause is over");
    assert_eq!(window.after(), None);
}

#[test]
fn loads_by_time_go_back_to_the_slower_clock() {
    let revocations = Revocations::default();
    let hour = Duration::from_hours(1);
    poll(&revocations, NO_TIME, changes_at(T));
    // Set back an hour: instances that start now write down such times.
    let second = Duration::from_secs(1);
    poll(&revocations, second, changes_at(T + second - hour));
    let since = poll(&revocations, second * 2, changes_at(T + second * 2 - hour));
    assert_eq!(since, T + second - hour - REVOCATION_RETENTION);
}
