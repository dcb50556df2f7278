//! Promises of [`SessionStore`](portcullis_domain::session::SessionStore).

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_domain::account::CredentialVersion;
use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::StoreErrorKind;
use portcullis_domain::session::revocation::STALE_AFTER;
use portcullis_domain::session::{
    CurrentGeneration, EndOutcome, Generation, NewSession, OpenSessionError, RotateOutcome, Session,
    StoredSession,
};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, TestedStore, race, rotate_request, rounds, sorted};
use crate::fixtures::{ABSOLUTE, IDLE, NOW};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Opening records its event, whole.
// MUST session-open-event store-durable
pub fn open_records_its_event(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let tested = &tested.reopened();
    let expected = tested.opening_of(&session);
    assert!(tested.recorded().contains(&RecordedEvent::from(&expected)));
    assert!(tested.is_live(session.id, NOW), "the session is live");
}

/// A login in flight while its user is disabled opens nothing.
// MUST session-open-user-unchanged
pub fn open_after_disable_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    let event = tested.event(EventKind::UserDisabled, NOW).of_user(user.id);
    tested.store.disable_user(user.id, &event).unwrap();
    refuses_to_open(tested, user.id, CredentialVersion::FIRST);
}

/// A login in flight while its user gets a new password opens nothing; a later one does.
// MUST session-open-user-unchanged
pub fn open_after_a_password_change_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    tested.store.set_password(user.id, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    refuses_to_open(tested, user.id, CredentialVersion::FIRST);

    let mut session = tested.new_session(user.id, NOW);
    session.credential_version = CredentialVersion::FIRST.next();
    tested.open(&session);
}

/// Nobody has no sessions.
// MUST session-open-user-unchanged
pub fn open_for_an_unknown_user_is_refused(tested: &TestedStore) {
    refuses_to_open(tested, UserId::new(NOW, &*tested.random), CredentialVersion::FIRST);
}

/// Whether a login commits before a disable or after it, no session is left.
// ASVS 15.4.2
// MUST session-open-user-unchanged
pub fn open_racing_disable_leaves_no_live_session(tested: &TestedStore) {
    open_racing(tested, &|user| {
        let event = tested.event(EventKind::UserDisabled, NOW).of_user(user);
        tested.store.disable_user(user, &event).unwrap();
    });
}

/// Whether a login commits before a new password or after it, no session of the old one is left.
// MUST session-open-user-unchanged
pub fn open_racing_set_password_leaves_no_live_session(tested: &TestedStore) {
    open_racing(tested, &|user| {
        let event = tested.event(EventKind::PasswordSet, NOW).of_user(user);
        tested.store.set_password(user, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    });
}

/// Nobody who was deleted is left with a session.
// MUST session-open-user-unchanged
pub fn open_racing_delete_leaves_no_live_session(tested: &TestedStore) {
    open_racing(tested, &|user| {
        let event = tested.event(EventKind::UserDeleted, NOW).of_user(user);
        tested.delete_user(user, None, &event).unwrap();
    });
}

fn open_racing(tested: &TestedStore, change: &(dyn Fn(UserId) + Sync)) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let sessions: Vec<_> = (0..4).map(|_| tested.new_session(user.id, NOW)).collect();
        race(5, |n| match sessions.get(n) {
            Some(session) => match tested.try_open(session) {
                Ok(_) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
            None => change(user.id),
        });
        assert_eq!(tested.list(user.id, NOW), [], "the live sessions of the user");
        let live: Vec<_> = sessions.iter().filter(|session| tested.is_live(session.id, NOW)).collect();
        assert!(live.is_empty(), "{live:?}");
    });
}

/// The oldest sessions end to make room, as many as there are too many, and each end is recorded and told.
// MUST session-open-bound session-open-evicts-oldest
pub fn open_ends_the_oldest_beyond_the_bound(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let bobs = tested.session(bob.id);
    let open = |second, bound| {
        let session = bounded(tested, alice.id, NOW + SECOND * second, bound);
        let evicted = tested.try_open(&session).expect("the user did not change");
        (session.id, sorted(evicted))
    };
    let [(first, none), (second, nor), (third, nothing)] = [0, 1, 2].map(|n| open(n, 3));
    assert_eq!([none, nor, nothing], [[], [], []], "the sessions evicted by the first three");

    let (fourth, evicted) = open(3, 3);
    assert_eq!(evicted, [first], "the sessions evicted by the fourth of three");
    assert_eq!(
        tested.list(alice.id, NOW + SECOND * 3),
        [fourth, third, second],
        "the live sessions of the user"
    );

    let (fifth, evicted) = open(4, 2);
    assert_eq!(evicted, sorted([second, third]), "the bound was lowered");
    assert_eq!(tested.list(alice.id, NOW + SECOND * 4), [fifth, fourth], "the live sessions of the user");
    assert!(tested.is_live(bobs.id, NOW + SECOND * 4), "of others, nothing ends");

    let tested = &tested.reopened();
    let ends = [(first, NOW + SECOND * 3), (second, NOW + SECOND * 4), (third, NOW + SECOND * 4)];
    assert_eq!(tested.changes(NOW).ended, sorted(ends), "the reported ends, with their times");
    for (session, at) in ends {
        let event = tested.event(EventKind::SessionEvicted, at).of_user(alice.id).in_session(session);
        let event = RecordedEvent::from(&event);
        assert_eq!(tested.recorded().into_iter().filter(|recorded| *recorded == event).count(), 1);
    }
    assert_eq!(tested.count_of("session_evicted"), ends.len(), "recorded events of this name");
}

/// What is over takes no room.
// MUST session-open-evicts-oldest
pub fn open_counts_live_sessions_alone(tested: &TestedStore) {
    let user = tested.user("Alice");
    let (_expired, ended) = (tested.session(user.id), tested.new_session(user.id, NOW + SECOND));
    let late = NOW + IDLE;
    tested.open(&ended);
    tested.end(ended.id, late - SECOND);
    let live = tested.new_session(user.id, late - SECOND);
    tested.open(&live);
    let newest = bounded(tested, user.id, late, 2);
    assert_eq!(tested.try_open(&newest).unwrap(), []);
    assert_eq!(tested.list(user.id, late), [newest.id, live.id], "the live sessions of the user");
}

/// Eight logins at once, of which three may stay: five end, each once, and each is recorded.
// ASVS 2.3.4
// MUST session-open-bound
pub fn open_keeps_the_bound_when_callers_race(tested: &TestedStore) {
    let mut evictions = 0;
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let sessions = [(); 8].map(|()| bounded(tested, user.id, NOW, 3));
        let opened = race(sessions.len(), |n| {
            (sessions[n].id, tested.try_open(&sessions[n]).expect("the user did not change"))
        });
        let live = tested.list(user.id, NOW);
        assert_eq!(live.len(), 3, "live sessions of a user who may have three: {live:?}");
        let evicted = opened.iter().flat_map(|(_, evicted)| evicted.iter().copied());
        let all = sorted(opened.iter().map(|(id, _)| *id));
        assert_eq!(sorted(evicted.chain(live)), all, "each session is live or was evicted once");
        evictions += sessions.len() - 3;
    });
    assert_eq!(tested.count_of("session_evicted"), evictions, "recorded evictions");
}

fn bounded(tested: &TestedStore, user: UserId, opened_at: UnixTime, max_per_user: u32) -> NewSession {
    let max_per_user = NonZeroU32::new(max_per_user).expect("room for the new one");
    NewSession { max_per_user, ..tested.new_session(user, opened_at) }
}

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

/// The first end is acknowledged and recorded with the user; the next finds nothing to do.
// MUST session-end-once session-end-event
pub fn end_is_acknowledged_once(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let at = NOW + SECOND;
    assert!(tested.end(session.id, at));
    let tested = &tested.reopened();
    assert!(!tested.is_live(session.id, at), "the session is over");
    let expected =
        tested.event(EventKind::LoggedOut(LogoutScope::Current), at).in_session(session.id).of_user(user.id);
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&expected)), "the event recorded last");

    let before = tested.recorded();
    assert!(!tested.end(session.id, at + SECOND));
    assert!(!tested.end(SessionId::new(NOW, &*tested.random), at));
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert_eq!(tested.changes(NOW).ended, [(session.id, at)], "the first end counts");
}

/// A session that has expired by one clock may live by another: told to end, it ends for all of them.
// MUST session-end-expired
pub fn end_ends_expired_sessions_too(tested: &TestedStore) {
    let user = tested.user("Alice");
    let [alone, one, other] = [(); 3].map(|()| tested.session(user.id).id);
    let late = NOW + IDLE;
    assert!(tested.end(alone, late));
    let event = tested.event(EventKind::LoggedOut(LogoutScope::All), late).of_user(user.id);
    let ended = tested.store.end_sessions(user.id, None, &event).unwrap();
    assert_eq!(sorted(ended), sorted([one, other]));
    let tested = &tested.reopened();
    for session in [alone, one, other] {
        assert!(!tested.is_live(session, NOW), "the session is over");
        assert_eq!(tested.present(session, 0, NOW), RotateOutcome::Gone);
    }
}

/// To others than its owner a session is as unknown as one that never was; with its owner, or without regard to
/// owners, it ends once, and that it is over is known as long as it is remembered.
// MUST session-end-owner
pub fn end_is_only_for_the_owner(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let session = tested.session(alice.id);
    let never_was = SessionId::new(NOW, &*tested.random);
    let before = tested.recorded();
    for owner in [None, Some(alice.id), Some(bob.id)] {
        assert_eq!(tested.end_of(owner, never_was, NOW), EndOutcome::Unknown);
    }
    let nobody = UserId::new(NOW, &*tested.random);
    for foreigner in [bob.id, nobody] {
        assert_eq!(tested.end_of(Some(foreigner), session.id, NOW), EndOutcome::Unknown);
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert!(tested.is_live(session.id, NOW), "the session is live");

    assert_eq!(tested.end_of(Some(alice.id), session.id, NOW), EndOutcome::Ended);
    assert_eq!(tested.recorded().len(), before.len() + 1);
    for owner in [None, Some(alice.id)] {
        assert_eq!(tested.end_of(owner, session.id, NOW), EndOutcome::AlreadyEnded);
    }
    assert_eq!(tested.end_of(Some(bob.id), session.id, NOW), EndOutcome::Unknown, "nor that it was");
    assert_eq!(tested.recorded().len(), before.len() + 1);
}

/// The live sessions of one user end and are told; the event is recorded once, also where there was nothing to end.
// MUST session-end-all-of-one-user session-end-all-event
pub fn end_all_ends_the_live_sessions_of_one_user(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let at = NOW + SECOND;
    let sessions = sorted([0, 1].map(|_| tested.session(alice.id).id));
    let (over, bobs) = (tested.session(alice.id), tested.session(bob.id));
    tested.end(over.id, NOW);
    let event = tested.event(EventKind::UserSessionsEnded, at).of_user(alice.id);

    assert_eq!(sorted(tested.store.end_sessions(alice.id, None, &event).unwrap()), sessions);
    let tested = &tested.reopened();
    assert_eq!(tested.list(alice.id, at), [], "the live sessions of the user");
    assert!(tested.is_live(bobs.id, at), "the session is live");
    assert_eq!(
        tested.changes(at).ended,
        sessions.into_iter().map(|id| (id, at)).collect::<Vec<_>>(),
        "the reported ends, with their times"
    );
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&event)), "the event recorded last");

    let again = tested.event(EventKind::UserSessionsEnded, at + SECOND).of_user(alice.id);
    assert_eq!(tested.store.end_sessions(alice.id, None, &again).unwrap(), []);
    assert_eq!(tested.recorded().last(), Some(&RecordedEvent::from(&again)), "the event recorded last");
    assert_eq!(tested.changes(at + SECOND).ended, [], "the first end counts");
}

/// One session may be spared; to spare somebody else's spares nothing.
// MUST session-end-all-except session-end-all-of-one-user
pub fn end_all_spares_the_excepted_session(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let [here, there] = [0, 1].map(|_| tested.session(alice.id).id);
    let bobs = tested.session(bob.id);
    let end_all = |except| {
        let event = tested.event(EventKind::LoggedOut(LogoutScope::Others), NOW).of_user(alice.id);
        tested.store.end_sessions(alice.id, Some(except), &event).unwrap()
    };
    assert_eq!(end_all(here), [there], "the sessions that ended");
    assert_eq!(tested.list(alice.id, NOW), [here], "the live sessions of the user");
    assert_eq!(end_all(here), [], "the sessions that ended");
    assert_eq!(end_all(bobs.id), [here], "the sessions that ended");
    assert!(tested.is_live(bobs.id, NOW), "the session is live");
}

/// A session lives until the microsecond before its end.
// MUST session-find-live
pub fn live_ends_to_the_microsecond(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let tested = &tested.reopened();
    assert!(tested.is_live(session.id, NOW + IDLE - MICROSECOND), "the session is live");
    assert!(!tested.is_live(session.id, NOW + IDLE), "the session is over");
    assert!(!tested.is_live(SessionId::new(NOW, &*tested.random), NOW), "an unknown session is not live");
}

/// A session comes back as it was opened, and as its last rotation left it.
// MUST session-find-stored store-durable
pub fn find_returns_the_session_as_stored(tested: &TestedStore) {
    let user = tested.user("Alice");
    let v4 = ClientInfo::new("203.0.113.7".parse().ok(), None);
    let long = ClientInfo::new(None, Some(&"\u{1f980}".repeat(256)));
    for client in [ClientInfo::default(), v4, long, crate::fixtures::client()] {
        let opened = NewSession { client, ..tested.new_session(user.id, NOW) };
        tested.open(&opened);
        let expected = Session {
            id: opened.id,
            user: user.id,
            opened_at: NOW,
            newest: CurrentGeneration { generation: Generation::FIRST, at: NOW },
            expires_at: opened.expires_at,
            client: opened.client.clone(),
        };
        let tested = &tested.reopened();
        assert_eq!(tested.find(opened.id, NOW), Some(expected.clone()));

        let later = NOW + SECOND;
        tested.present(opened.id, 0, later);
        let newest = CurrentGeneration { generation: Generation::new(1), at: later };
        let rotated = Session { newest, expires_at: later + IDLE, ..expected };
        assert_eq!(tested.find(opened.id, later), Some(rotated.clone()));
        tested.present(opened.id, 0, later + SECOND);
        assert_eq!(tested.find(opened.id, later), Some(rotated), "a repetition changes nothing");
    }
}

/// What is listed is what [`find_returns_the_session_as_stored`] finds, of one user, the latest opened first.
// MUST session-list-live session-list-order
pub fn list_returns_live_sessions_latest_first(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let open = |user, opened_at| {
        let session = tested.new_session(user, opened_at);
        tested.open(&session);
        session.id
    };
    let now = NOW + IDLE;
    // Neither the order of their ids nor that of their opening in the store.
    let [second, third, _expired, first, ended] = [2, 1, 0, 3, 4].map(|n| open(alice.id, NOW + SECOND * n));
    let bobs = open(bob.id, now);
    tested.end(ended, now);
    tested.present(third, 0, now);

    let tested = &tested.reopened();
    let listed = tested.store.list_sessions(alice.id, now).unwrap();
    let found: Vec<_> = [first, second, third].iter().filter_map(|id| tested.find(*id, now)).collect();
    assert_eq!(listed, found);
    assert_eq!(listed.len(), 3, "live sessions");
    assert_eq!(tested.list(bob.id, now), [bobs], "the live sessions of the user");
    assert_eq!(tested.list(UserId::new(NOW, &*tested.random), now), [], "the live sessions of the user");
}

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

/// A login does not open a session that would be over at once.
// MUST session-open-valid
pub fn open_of_invalid_session_is_refused(tested: &TestedStore) {
    let user = tested.user("Alice");
    tested.store.invalidate_sessions(&tested.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    let before = tested.recorded();
    let dead = tested.new_session(user.id, NOW);
    match tested.try_open(&dead) {
        Err(OpenSessionError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        other => panic!("{other:?}"),
    }
    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    assert_eq!(tested.list(user.id, NOW), [], "the live sessions of the user");
    tested.open(&tested.new_session(user.id, NOW.next_second()));
}

fn refuses_to_open(tested: &TestedStore, user: UserId, version: CredentialVersion) {
    let before = tested.recorded();
    let mut session = tested.new_session(user, NOW);
    session.credential_version = version;
    let result = tested.try_open(&session);
    assert!(matches!(result, Err(OpenSessionError::UserChanged)), "{result:?}");
    assert!(!tested.is_live(session.id, NOW), "the session is over");
    assert_eq!(tested.recorded(), before, "what did not happen is not recorded");
}
