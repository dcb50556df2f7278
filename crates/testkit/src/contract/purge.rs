//! Promises of [`SessionStore::purge_sessions`](portcullis_domain::session::SessionStore::purge_sessions).

use std::time::Duration;

use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, uuid_v7};
use portcullis_domain::maintenance::{PurgeOutcome, PurgeRequest};
use portcullis_domain::session::EndOutcome;
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::{TestedStore, race, rounds};
use crate::fixtures::{IDLE, NOW};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);
const TURN: Duration = Duration::from_mins(2);

/// What ended or expired before the given time goes; what did so at that time or later, or is live, stays.
// ASVS 14.2.4 14.2.7
// MUST session-purge-only-over
pub fn purge_deletes_only_sessions_over_before(tested: &TestedStore) {
    let user = tested.user("Alice");
    let over_before = NOW + IDLE * 2;
    let ended = |at| {
        let session = tested.new_session(user.id, at - SECOND);
        tested.open(&session);
        assert!(tested.end(session.id, at));
        session.id
    };
    let expired = |at| {
        let session = tested.new_session(user.id, at - IDLE);
        tested.open(&session);
        session.id
    };
    let before = over_before - MICROSECOND;
    let gone = [ended(NOW), ended(before), expired(NOW + IDLE), expired(before)];
    let kept = [ended(over_before), expired(over_before), ended(over_before + SECOND)];
    let live = tested.new_session(user.id, over_before);
    tested.open(&live);
    let (told, events) = (tested.changes(over_before), tested.recorded());

    let request = PurgeRequest { now: over_before + SECOND, over_before, ..purge(tested) };
    assert_eq!(walk(tested, request), gone.len(), "sessions deleted");
    let tested = &tested.reopened();
    assert_eq!(tested.changes(over_before).ended, told.ended, "the reported ends, with their times");
    assert_eq!(tested.recorded(), events, "a purge deletes and records no event");
    assert_eq!(walk(tested, request), 0, "nothing is deleted twice");
    assert!(tested.is_live(live.id, over_before), "the session is live");
    assert!(gone.iter().all(|session| is_forgotten(tested, *session)));
    assert!(kept.iter().all(|session| !is_forgotten(tested, *session)));
}

/// A purge also deletes sessions that were invalidated long ago, though they were not ended one by one and would live for
/// long.
// MUST session-purge-invalidated
pub fn purge_deletes_sessions_invalidated_before(tested: &TestedStore) {
    let user = tested.user("Alice");
    let old = tested.session(user.id);
    let valid_from =
        tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    let new = tested.new_session(user.id, valid_from);
    tested.open(&new);
    let tested = &tested.reopened();
    let request = PurgeRequest { now: valid_from + IDLE / 2, ..purge(tested) };
    assert_eq!(
        walk(tested, PurgeRequest { over_before: valid_from, ..request }),
        0,
        "the sessions are not invalid for long enough"
    );
    let deleted = walk(tested, PurgeRequest { over_before: valid_from + MICROSECOND, ..request });
    assert_eq!(deleted, 1, "sessions deleted, once they have been invalid for long enough");
    assert!(is_forgotten(tested, old.id));
    assert!(tested.is_live(new.id, valid_from), "the session is live");
}

/// The steps reach every session, none deletes more than requested, and then the next walk begins.
// MUST session-purge-batch
pub fn purge_walks_to_the_end_and_restarts(tested: &TestedStore) {
    let user = tested.user("Alice");
    for round in 0..3 {
        for n in 0..7 {
            let session = tested.session(user.id);
            // What is live in between does not stop the walk.
            if n % 3 != 2 {
                tested.end(session.id, NOW);
            }
        }
        let request = PurgeRequest { now: NOW + SECOND * (round + 1), ..purge(tested) };
        assert_eq!(walk(tested, PurgeRequest { batch: 2, ..request }), 5, "{round}");
    }
    assert_eq!(tested.list(user.id, NOW).len(), 3 * 2, "live sessions that are left");
}

/// After a step no other instance makes one until the turn is over; the instance that has the turn goes on.
// MUST session-purge-turn
pub fn purge_is_done_by_one_instance_at_a_time(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    tested.end(session.id, NOW - SECOND);
    let (one, other) = (purge(tested), purge(tested));
    let nothing_over = |now| PurgeRequest { now, over_before: UnixTime::EPOCH, ..one };
    assert!(is_step(step(tested, nothing_over(NOW))));
    assert!(is_step(step(tested, nothing_over(NOW + SECOND))), "it goes on");

    let tested = &tested.reopened();
    let until = NOW + SECOND + TURN;
    for now in [NOW, NOW + SECOND, until - MICROSECOND] {
        assert_eq!(step(tested, PurgeRequest { now, ..other }), PurgeOutcome::NotThisInstance, "{now:?}");
        assert!(!is_forgotten(tested, session.id));
    }
    let taken_over = step(tested, PurgeRequest { now: until + MICROSECOND, ..other });
    assert!(matches!(taken_over, PurgeOutcome::Step { deleted: 1, .. }), "{taken_over:?}");
    assert_eq!(step(tested, PurgeRequest { now: until + SECOND, ..one }), PurgeOutcome::NotThisInstance);
}

/// Of four instances that try at once, one makes the step, whether it is the first one or a turn has just ended.
// MUST session-purge-turn
pub fn purge_lets_exactly_one_racer_step(tested: &TestedStore) {
    rounds(|round| {
        let now = NOW + (TURN + SECOND) * round;
        let requests = [(); 4].map(|()| PurgeRequest { now, ..purge(tested) });
        let results = race(requests.len(), |n| step(tested, requests[n]));
        let steps = results.iter().filter(|outcome| is_step(**outcome)).count();
        assert_eq!(steps, 1, "instances that made a step: {results:?}");
    });
}

/// If the store has a clock, a step raises its high-water mark, regardless of the turn. The mark never decreases.
// MUST session-purge-high-water-mark
pub fn purge_raises_the_high_water_mark(tested: &TestedStore) {
    let newest = || tested.changes(NOW).time.map(|time| time.high_water_mark);
    let Some(before) = newest() else { return };
    let (one, other) = (purge(tested), purge(tested));
    for (request, expected) in [
        (PurgeRequest { now: NOW + SECOND, ..one }, NOW + SECOND),
        (PurgeRequest { now: NOW, ..one }, NOW + SECOND),
        (PurgeRequest { now: NOW + SECOND * 2, ..other }, NOW + SECOND * 2),
        (PurgeRequest { now: NOW + SECOND * 3, ..one }, NOW + SECOND * 3),
    ] {
        step(tested, request);
        assert_eq!(newest(), Some(before.max(expected)), "{request:?}");
        let status = tested.store.check().unwrap();
        assert_eq!(status.time.map(|time| time.high_water_mark), newest());
    }
}

/// A first step at [`NOW`] of an instance that nobody knows yet, to which everything is over that ended by now.
fn purge(tested: &TestedStore) -> PurgeRequest {
    PurgeRequest {
        instance: instance(tested),
        now: NOW,
        turn: TURN,
        over_before: NOW + MICROSECOND,
        after: None,
        batch: 100,
    }
}

fn instance(tested: &TestedStore) -> Uuid {
    uuid_v7(NOW, &*tested.random)
}

fn step(tested: &TestedStore, request: PurgeRequest) -> PurgeOutcome {
    tested.store.purge_sessions(&request).expect("the store answers")
}

fn is_step(outcome: PurgeOutcome) -> bool {
    matches!(outcome, PurgeOutcome::Step { .. })
}

/// Steps to the end, in a turn that is over right after, and counts what was deleted.
fn walk(tested: &TestedStore, first: PurgeRequest) -> usize {
    let mut request = PurgeRequest { turn: Duration::ZERO, ..first };
    let mut all = 0;
    for _ in 0..100 {
        let PurgeOutcome::Step { deleted, next } = step(tested, request) else {
            panic!("no other instance purges")
        };
        assert!(deleted <= request.batch as usize, "{deleted}");
        all += deleted;
        match next {
            Some(next) => request.after = Some(next),
            None => return all,
        }
    }
    panic!("there is no end")
}

/// Whether the store knows nothing of a session, not even that it is over.
fn is_forgotten(tested: &TestedStore, session: SessionId) -> bool {
    tested.end_of(None, session, NOW + Duration::from_hours(48)) == EndOutcome::Unknown
}
