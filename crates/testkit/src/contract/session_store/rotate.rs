//! Rotating sessions.

use std::time::Duration;

use portcullis_domain::audit::EventKind;
use portcullis_domain::id::SessionId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::session::{Generation, RotateOutcome, StoredSession};
use portcullis_domain::time::UnixTime;

use super::{MICROSECOND, SECOND};
use crate::contract::{RecordedEvent, TestedStore, race, rotate_request, rounds};
use crate::fixtures::{ABSOLUTE, IDLE, NOW};

/// A rotation neither revives a session that ends meanwhile nor hides it from its end.
// MUST session-rotate-gone
pub fn rotate_racing_end_leaves_nothing_live(tested: &TestedStore) {
    let user = tested.user("Alice");
    rounds(|_| {
        let session = tested.session(user.id);
        rotate_racing(tested, session.id, &|| assert!(tested.end(session.id, NOW), "it was live"));
    });
}

/// Nor does it revive one whose user is disabled meanwhile.
// MUST session-rotate-gone
pub fn rotate_racing_disable_leaves_nothing_live(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let session = tested.session(user.id);
        rotate_racing(tested, session.id, &|| {
            let event = tested.event(EventKind::UserDisabled, NOW).of_user(user.id);
            assert_eq!(tested.store.disable_user(user.id, &event).unwrap(), [session.id]);
        });
    });
}

/// Nor one of an old password.
// MUST session-rotate-gone
pub fn rotate_racing_change_password_leaves_nothing_live(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let (session, new) = (tested.session(user.id), tested.new_session(user.id, NOW));
        rotate_racing(tested, session.id, &|| {
            let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id).in_session(new.id);
            let hash = PasswordHash::new("plain:1:new".to_owned());
            let changed = tested.store.change_password(session.id, &hash, &new, &event).unwrap();
            assert_eq!(changed.ended, [session.id]);
        });
        assert_eq!(tested.list(user.id, NOW), [new.id], "the live sessions of the user");
    });
}

/// Nor one that is invalidated with all others.
// MUST session-rotate-gone
pub fn rotate_racing_invalidate_leaves_nothing_live(tested: &TestedStore) {
    let user = tested.user("Alice");
    let mut opened_at = NOW;
    rounds(|_round| {
        let session = tested.new_session(user.id, opened_at);
        tested.open(&session);
        rotate_racing_at(tested, session.id, opened_at, &|| {
            let event = tested.event(EventKind::AllSessionsEnded, opened_at);
            tested.store.invalidate_sessions(&event).unwrap();
        });
        opened_at = tested.changes(opened_at).valid_from;
    });
}

fn rotate_racing(tested: &TestedStore, session: SessionId, end: &(dyn Fn() + Sync)) {
    rotate_racing_at(tested, session, NOW, end);
}

fn rotate_racing_at(tested: &TestedStore, session: SessionId, now: UnixTime, end: &(dyn Fn() + Sync)) {
    let presentation = tested.presentation(session, 0, now);
    race(5, |n| match n {
        0 => end(),
        _ => {
            let rotation = presentation();
            assert!(matches!(rotation, RotateOutcome::Rotated(_) | RotateOutcome::Gone), "{rotation:?}");
        }
    });
    assert!(!tested.is_live(session, now), "the session that was ended while others rotated it");
    for generation in 0..2 {
        assert_eq!(tested.present(session, generation, now), RotateOutcome::Gone, "generation {generation}");
    }
}

/// Every small case has the outcome of [`StoredSession::rotate`], to the microsecond of the grace, and leaves the session
/// as that does.
// MUST session-rotate-gone session-rotate-reuse-ends session-rotate-ahead
pub fn rotate_follows_the_stored_session(tested: &TestedStore) {
    let user = tested.user("Alice");
    let grace = Duration::from_secs(30);
    let rotated_at = NOW + Duration::from_secs(100);
    let moments = [
        rotated_at - Duration::from_secs(5) - MICROSECOND,
        rotated_at - Duration::from_secs(5),
        rotated_at,
        rotated_at + grace,
        rotated_at + grace + MICROSECOND,
        rotated_at + Duration::from_mins(10),
    ];
    for newest in 0..3 {
        for presented in 0..5 {
            for now in moments {
                let session = tested.session(user.id);
                let mut expected = StoredSession::new(&session);
                let mut rotates = |generation, now| {
                    let outcome = tested.present(session.id, generation, now);
                    let request = rotate_request(session.id, generation, now);
                    let meant = expected.rotate(&request, UnixTime::EPOCH);
                    assert_eq!(outcome, meant, "generation {generation} of {newest} at {now:?}");
                };
                for generation in 0..newest {
                    rotates(generation, if generation + 1 == newest { rotated_at } else { NOW + SECOND });
                }
                rotates(presented, now);
                let is_live = expected.is_live(now, UnixTime::EPOCH);
                let expected = is_live.then(|| expected.to_session());
                let case = format!("the session after generation {presented} of {newest} at {now:?}");
                assert_eq!(tested.find(session.id, now), expected, "{case}");
            }
        }
    }
}

/// 24 callers with one token get one successor, and the generation moved by one.
// ASVS 2.3.4 15.4.2
// MUST session-rotate-once session-rotate-same
pub fn rotate_returns_one_generation_to_many_callers(tested: &TestedStore) {
    let user = tested.user("Alice");
    rounds(|_round| {
        let session = tested.session(user.id);
        for generation in 0..3 {
            let now = NOW + SECOND * (generation + 1);
            // The callers' clocks differ by as much as is tolerated.
            let skew = |n: usize| Duration::from_micros(u64::try_from(n).unwrap() * 200_000);
            let calls: Vec<_> =
                (0..24).map(|n| tested.presentation(session.id, generation, now + skew(n))).collect();
            let results = race(calls.len(), |n| calls[n]());
            let next = Generation::new(generation + 1);
            let same = results
                .iter()
                .all(|r| matches!(r, RotateOutcome::Rotated(session) if session.generation == next));
            assert!(same, "all callers with generation {generation} get {next:?}: {results:?}");
        }
        let ahead = tested.present(session.id, 4, NOW + SECOND * 4);
        assert_eq!(ahead, RotateOutcome::Ahead, "generation 4, after three rotations");
    });
}

/// A copy of an old token ends the session; the event is recorded with the session's user.
// MUST session-rotate-reuse-ends session-rotate-reuse-event
pub fn rotate_ends_the_session_on_a_reused_token(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    tested.present(session.id, 0, NOW + SECOND);
    tested.present(session.id, 1, NOW + SECOND * 2);
    let theft = NOW + SECOND * 3;

    assert_eq!(tested.present(session.id, 0, theft), RotateOutcome::Reused);
    let tested = &tested.reopened();
    assert!(!tested.is_live(session.id, theft), "the session is over");
    assert_eq!(tested.present(session.id, 2, theft), RotateOutcome::Gone, "the newest token is dead too");
    assert_eq!(tested.changes(theft).ended, [(session.id, theft)], "the reported ends, with their times");
    let expected = tested.event(EventKind::RefreshTokenReused, theft).in_session(session.id).of_user(user.id);
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&expected)), "the event recorded last");
}

/// Eight copies at once are one theft: one call ends the session and records it, the others find it gone.
// MUST session-rotate-reuse-event
pub fn rotate_reports_one_theft_once(tested: &TestedStore) {
    let user = tested.user("Alice");
    let mut thefts = 0;
    rounds(|_round| {
        let session = tested.session(user.id);
        tested.present(session.id, 0, NOW + SECOND);
        tested.present(session.id, 1, NOW + SECOND * 2);
        let copies = [(); 8].map(|()| tested.presentation(session.id, 0, NOW + SECOND * 3));
        let results = race(copies.len(), |n| copies[n]());
        let count = |outcome| results.iter().filter(|result| **result == outcome).count();
        let counted = (count(RotateOutcome::Reused), count(RotateOutcome::Gone));
        assert_eq!(counted, (1, 7), "calls that ended the session, and that found it gone: {results:?}");
        thefts += 1;
    });
    assert_eq!(tested.count_of("refresh_token_reused"), thefts, "recorded thefts");
}

/// Unknown, ended and expired sessions are gone, whatever generation is presented, and stay as they are.
// MUST session-rotate-gone
pub fn rotate_changes_nothing_where_no_session_lives(tested: &TestedStore) {
    let user = tested.user("Alice");
    let (ended, expired) = (tested.session(user.id), tested.session(user.id));
    tested.end(ended.id, NOW);
    let before = tested.recorded();
    let late = NOW + IDLE;
    for generation in 0..3 {
        assert_eq!(
            tested.present(SessionId::new(NOW, &*tested.random), generation, NOW),
            RotateOutcome::Gone
        );
        assert_eq!(tested.present(ended.id, generation, NOW), RotateOutcome::Gone);
        assert_eq!(tested.present(expired.id, generation, late), RotateOutcome::Gone);
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    let tested = &tested.reopened();
    assert_eq!(tested.changes(NOW).ended, [(ended.id, NOW)], "an expired session does not end as well");
}

/// Each rotation moves the end to an hour later, but not beyond the absolute one.
// MUST session-rotate-absolute
pub fn rotate_extends_the_session_up_to_its_absolute_end(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let last = ABSOLUTE - SECOND;
    let mut generation = 0;
    let mut elapsed = Duration::ZERO;
    while elapsed < last {
        elapsed = last.min(elapsed + IDLE - SECOND);
        let now = NOW + elapsed;
        let expected = session.absolute_expires_at.min(now + IDLE);
        match tested.present(session.id, generation, now) {
            RotateOutcome::Rotated(session) => assert_eq!(session.expires_at, expected),
            other => panic!("{other:?} after {elapsed:?}"),
        }
        generation += 1;
    }
    assert_eq!(tested.present(session.id, generation, NOW + ABSOLUTE), RotateOutcome::Gone);
}
