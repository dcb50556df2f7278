use uuid::Uuid;

use super::*;

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
    assert_eq!(
        poll(&revocations, later, SessionChanges::default()),
        T - POLL_OVERLAP,
        "nothing between the polls is missed"
    );
    let much_later = later + REVOCATION_RETENTION * 2;
    let from = poll(&revocations, much_later, SessionChanges::default());
    assert_eq!(from, T + much_later - REVOCATION_RETENTION, "nor is asked for what no longer matters");
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

    revocations.insert([sid(3)], T, UP);
    for session in [1, 3, 9] {
        assert_eq!(revocations.status(sid(session), T, UP), SessionStatus::Unknown);
    }
    revocations.insert([sid(4)], T, UP);
    assert_eq!(revocations.status(sid(4), T, UP), SessionStatus::Ended, "what is known is still of use");
    assert!(!revocations.is_fresh(UP));
    assert!(revocations.begin(T, UP).is_none(), "the store is not asked at once again");

    let pause = PAUSE_WHEN_FULL;
    assert_eq!(poll(&revocations, pause, ended([1, 2, 3], T)), T + pause - REVOCATION_RETENTION);
    assert_eq!(revocations.status(sid(1), T, UP + pause), SessionStatus::Unknown, "still too many");

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
fn polls_go_back_to_the_slowest_clock() {
    let revocations = Revocations::default();
    let hour = Duration::from_hours(1);
    poll(&revocations, NO_TIME, changes_at(T));
    // Set back an hour: instances that start now write down such times.
    let second = Duration::from_secs(1);
    poll(&revocations, second, changes_at(T + second - hour));
    assert!(
        poll(&revocations, second * 2, changes_at(T + second * 2 - hour)) <= T + second - hour - POLL_OVERLAP
    );
}

#[test]
fn what_a_clock_far_behind_wrote_down_is_not_forgotten_at_once() {
    let revocations = Revocations::default();
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    poll(&revocations, NO_TIME, changes_at(T - hour));
    let changes =
        SessionChanges { ended: vec![(sid(1), T - hour - minute * 2)], ..changes_at(T + minute - hour) };
    poll(&revocations, minute, changes);
    for after in 2..10 {
        poll(&revocations, minute * after, changes_at(T + minute * after - hour));
        assert_eq!(revocations.status(sid(1), T, UP + minute * after), SessionStatus::Ended, "{after}");
    }
}

#[test]
fn polls_after_a_clock_jump_go_all_the_way_back() {
    let revocations = Revocations::default();
    let jump = Duration::from_mins(5);
    let mut all_the_way = 0;
    for second in 0..1_000 {
        let after = Duration::from_secs(second);
        // The store's clock is set after ten minutes, and this instance's is not a second later.
        let by = if second < 600 { NO_TIME } else { jump };
        let shown = if second < 601 { after } else { after + jump };
        let begun = revocations.begin(T + shown, UP + after).unwrap();
        revocations.merge(&begun, changes_at(T + after + by));
        all_the_way += usize::from(begun.goes_all_the_way());
        let is_settled = (120..600).contains(&second) || second > 722;
        assert!(!is_settled || !begun.goes_all_the_way(), "after {second} s");
    }
    assert_eq!(all_the_way, 2 * 24, "every five seconds, for two minutes each");
}
