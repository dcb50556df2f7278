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

fn told_at(store: UnixTime) -> SessionChanges {
    SessionChanges {
        time: Some(StoreTime { now: store, high_water_mark: UnixTime::EPOCH }),
        ..SessionChanges::default()
    }
}

/// A look so long after [`T`], and what it says. Returns from when on it asked.
fn look(revocations: &Revocations, after: Duration, news: SessionChanges) -> UnixTime {
    let look = revocations.begin(T + after, UP + after).expect("there is room");
    revocations.merge(&look, news);
    look.since()
}

const NO_TIME: Duration = Duration::ZERO;

#[test]
fn nothing_is_live_before_the_first_look_or_long_after_the_last() {
    let revocations = Revocations::default();
    assert_eq!(revocations.status(sid(1), T, UP), SessionStatus::NotReady);
    assert_eq!(look(&revocations, NO_TIME, SessionChanges::default()), T - REVOCATION_RETENTION);
    assert_eq!(revocations.status(sid(1), T, UP + STALE_AFTER), SessionStatus::Live);

    let later = STALE_AFTER + Duration::from_micros(1);
    assert_eq!(revocations.status(sid(1), T, UP + later), SessionStatus::Unknown);
    assert_eq!(
        look(&revocations, later, SessionChanges::default()),
        T - POLL_OVERLAP,
        "nothing between the looks is missed"
    );
    let much_later = later + REVOCATION_RETENTION * 2;
    let from = look(&revocations, much_later, SessionChanges::default());
    assert_eq!(from, T + much_later - REVOCATION_RETENTION, "nor is asked for what no longer matters");
}

#[test]
fn a_clock_that_stands_still_does_not_keep_the_memory_fresh() {
    let revocations = Revocations::default();
    look(&revocations, NO_TIME, SessionChanges::default());
    assert!(revocations.is_fresh(UP + STALE_AFTER));
    assert!(!revocations.is_fresh(UP + STALE_AFTER + Duration::from_micros(1)));
}

#[test]
fn ended_sessions_are_remembered_while_a_token_may_live() {
    let revocations = Revocations::default();
    revocations.insert([sid(1)], T, UP);
    assert_eq!(revocations.status(sid(1), T, UP), SessionStatus::Ended, "at once, before any look");

    look(&revocations, REVOCATION_RETENTION, ended([2], T));
    assert_eq!(revocations.status(sid(2), T, UP + REVOCATION_RETENTION), SessionStatus::Ended);

    let later = REVOCATION_RETENTION + FORGET_EVERY;
    look(&revocations, later, SessionChanges::default());
    assert_eq!(revocations.status(sid(2), T, UP + later), SessionStatus::Live, "every token has expired");
    assert_eq!(revocations.read().ended.len(), 0);
}

#[test]
fn tokens_from_before_the_floor_are_ended() {
    let revocations = Revocations::default();
    look(&revocations, NO_TIME, SessionChanges { valid_from: T, ..SessionChanges::default() });
    look(&revocations, NO_TIME, SessionChanges::default());
    assert_eq!(revocations.status(sid(1), T - Duration::from_secs(1), UP), SessionStatus::Ended);
    assert_eq!(revocations.status(sid(1), T, UP), SessionStatus::Live);
}

#[test]
fn what_does_not_fit_makes_the_memory_stale_until_it_does() {
    let revocations = Revocations::with_capacity(2);
    assert_eq!(revocations.most(), 3);
    look(&revocations, NO_TIME, ended([1, 2], T));
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
    assert_eq!(look(&revocations, pause, ended([1, 2, 3], T)), T + pause - REVOCATION_RETENTION);
    assert_eq!(revocations.status(sid(1), T, UP + pause), SessionStatus::Unknown, "still too many");

    look(&revocations, pause * 2, ended([3], T));
    for session in [3, 4] {
        assert_eq!(revocations.status(sid(session), T, UP + pause * 2), SessionStatus::Ended);
    }
    assert_eq!(revocations.status(sid(9), T, UP + pause * 2), SessionStatus::Live);
}

#[test]
fn a_look_that_began_before_everything_was_given_up_proves_nothing() {
    let revocations = Revocations::with_capacity(2);
    look(&revocations, NO_TIME, ended([1, 2], T));
    let later = Duration::from_mins(10);
    let under_way = revocations.begin(T + later, UP + later).unwrap();
    revocations.insert([sid(3)], T + later, UP + later);
    revocations.merge(&under_way, SessionChanges::default());
    for session in [1, 3] {
        assert_eq!(revocations.status(sid(session), T, UP + later), SessionStatus::Unknown);
    }
}

#[test]
fn looks_go_back_as_far_as_the_clock_that_is_furthest_behind() {
    let revocations = Revocations::default();
    let hour = Duration::from_hours(1);
    look(&revocations, NO_TIME, told_at(T));
    // Set back an hour: whoever starts now writes down such times.
    let second = Duration::from_secs(1);
    look(&revocations, second, told_at(T + second - hour));
    assert!(
        look(&revocations, second * 2, told_at(T + second * 2 - hour)) <= T + second - hour - POLL_OVERLAP
    );
}

#[test]
fn what_a_clock_far_behind_wrote_down_is_not_forgotten_at_once() {
    let revocations = Revocations::default();
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    look(&revocations, NO_TIME, told_at(T - hour));
    let told = SessionChanges { ended: vec![(sid(1), T - hour - minute * 2)], ..told_at(T + minute - hour) };
    look(&revocations, minute, told);
    for after in 2..10 {
        look(&revocations, minute * after, told_at(T + minute * after - hour));
        assert_eq!(revocations.status(sid(1), T, UP + minute * after), SessionStatus::Ended, "{after}");
    }
}

#[test]
fn after_the_start_and_after_a_jump_some_looks_go_all_the_way_back() {
    let revocations = Revocations::default();
    let jump = Duration::from_mins(5);
    let mut all_the_way = 0;
    for second in 0..1_000 {
        let after = Duration::from_secs(second);
        // The store's clock is set after ten minutes, and this instance's is not a second later.
        let by = if second < 600 { NO_TIME } else { jump };
        let shown = if second < 601 { after } else { after + jump };
        let begun = revocations.begin(T + shown, UP + after).unwrap();
        revocations.merge(&begun, told_at(T + after + by));
        all_the_way += usize::from(begun.goes_all_the_way());
        let is_settled = (120..600).contains(&second) || second > 722;
        assert!(!is_settled || !begun.goes_all_the_way(), "after {second} s");
    }
    assert_eq!(all_the_way, 2 * 24, "every five seconds, for two minutes each");
}
