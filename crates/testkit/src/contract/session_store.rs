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
    CurrentGeneration, EndOutcome, Generation, NewSession, OpenSessionError, ReuseCheck, RotateOutcome,
    RotatedSession, Session,
};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, Stores, race, sorted};
use crate::fixtures::{ABSOLUTE, IDLE, NOW};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Opening records its event, whole.
pub fn open_records_its_event(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    let expected = stores.opening_of(&session);
    assert!((stores.recorded)().contains(&RecordedEvent::from(&expected)));
    assert!(stores.is_live(session.id, NOW));
}

/// A login in flight while its user is disabled opens nothing.
// MUST session-open-user-unchanged
pub fn open_after_disable_is_refused(stores: &Stores) {
    let user = stores.user("Alice");
    let event = stores.event(EventKind::UserDisabled, NOW).of_user(user.id);
    stores.store.disable_user(user.id, &event).unwrap();
    refuses_to_open(stores, user.id, CredentialVersion::FIRST);
}

/// A login in flight while its user gets a new password opens nothing; a later one does.
// MUST session-open-user-unchanged
pub fn open_after_a_password_change_is_refused(stores: &Stores) {
    let user = stores.user("Alice");
    let event = stores.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    stores.store.set_password(user.id, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    refuses_to_open(stores, user.id, CredentialVersion::FIRST);

    let mut session = stores.new_session(user.id, NOW);
    session.credential_version = CredentialVersion::FIRST.next();
    stores.open(&session);
}

/// Nobody has no sessions.
// MUST session-open-user-unchanged
pub fn open_for_an_unknown_user_is_refused(stores: &Stores) {
    refuses_to_open(stores, UserId::new(NOW, &*stores.random), CredentialVersion::FIRST);
}

/// Whether a login commits before a disable or after it, no session is left.
// ASVS 15.4.2
// MUST session-open-user-unchanged
pub fn open_racing_disable_leaves_no_live_session(stores: &Stores) {
    open_racing(stores, &|user| {
        let event = stores.event(EventKind::UserDisabled, NOW).of_user(user);
        stores.store.disable_user(user, &event).unwrap();
    });
}

/// Whether a login commits before a new password or after it, no session of the old one is left.
// MUST session-open-user-unchanged
pub fn open_racing_set_password_leaves_no_live_session(stores: &Stores) {
    open_racing(stores, &|user| {
        let event = stores.event(EventKind::PasswordSet, NOW).of_user(user);
        stores.store.set_password(user, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    });
}

/// Nobody who was deleted is left with a session.
// MUST session-open-user-unchanged
pub fn open_racing_delete_leaves_no_live_session(stores: &Stores) {
    open_racing(stores, &|user| {
        let event = stores.event(EventKind::UserDeleted, NOW).of_user(user);
        stores.delete_user(user, None, &event).unwrap();
    });
}

fn open_racing(stores: &Stores, change: &(dyn Fn(UserId) + Sync)) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let sessions: Vec<_> = (0..4).map(|_| stores.new_session(user.id, NOW)).collect();
        race(5, |n| match sessions.get(n) {
            Some(session) => match stores.try_open(session) {
                Ok(_) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
            None => change(user.id),
        });
        assert_eq!(stores.list(user.id, NOW), []);
        let live: Vec<_> = sessions.iter().filter(|session| stores.is_live(session.id, NOW)).collect();
        assert!(live.is_empty(), "{live:?}");
    }
}

/// The oldest sessions end to make room, as many as there are too many, and each end is recorded and told.
// MUST session-open-bound
pub fn open_ends_the_oldest_beyond_the_bound(stores: &Stores) {
    let (alice, bob) = (stores.user("Alice"), stores.user("Bob"));
    let bobs = stores.session(bob.id);
    let open = |second, bound| {
        let session = bounded(stores, alice.id, NOW + SECOND * second, bound);
        let evicted = stores.try_open(&session).expect("the user did not change");
        (session.id, sorted(evicted))
    };
    let [(first, none), (second, nor), (third, nothing)] = [0, 1, 2].map(|n| open(n, 3));
    assert_eq!([none, nor, nothing], [[], [], []]);

    let (fourth, evicted) = open(3, 3);
    assert_eq!(evicted, [first]);
    assert_eq!(stores.list(alice.id, NOW + SECOND * 3), [fourth, third, second]);

    let (fifth, evicted) = open(4, 2);
    assert_eq!(evicted, sorted([second, third]), "the bound was lowered");
    assert_eq!(stores.list(alice.id, NOW + SECOND * 4), [fifth, fourth]);
    assert!(stores.is_live(bobs.id, NOW + SECOND * 4), "of others, nothing ends");

    let ends = [(first, NOW + SECOND * 3), (second, NOW + SECOND * 4), (third, NOW + SECOND * 4)];
    assert_eq!(stores.changes(NOW).ended, sorted(ends));
    for (session, at) in ends {
        let event = stores.event(EventKind::SessionEvicted, at).of_user(alice.id).in_session(session);
        let event = RecordedEvent::from(&event);
        assert_eq!((stores.recorded)().into_iter().filter(|recorded| *recorded == event).count(), 1);
    }
    assert_eq!(stores.recorded_names().iter().filter(|name| *name == "session_evicted").count(), ends.len());
}

/// What is over takes no room.
pub fn open_counts_live_sessions_alone(stores: &Stores) {
    let user = stores.user("Alice");
    let (_expired, ended) = (stores.session(user.id), stores.new_session(user.id, NOW + SECOND));
    let late = NOW + IDLE;
    stores.open(&ended);
    stores.end(ended.id, late - SECOND);
    let live = stores.new_session(user.id, late - SECOND);
    stores.open(&live);
    let newest = bounded(stores, user.id, late, 2);
    assert_eq!(stores.try_open(&newest).unwrap(), []);
    assert_eq!(stores.list(user.id, late), [newest.id, live.id]);
}

/// Eight logins at once, of which three may stay: five end, each once, and each is recorded.
// ASVS 2.3.4
// MUST session-open-bound
pub fn open_keeps_the_bound_when_callers_race(stores: &Stores) {
    for round in 0..5 {
        let user = stores.user(&format!("Alice{round}"));
        let opened = race(8, |_| {
            let session = bounded(stores, user.id, NOW, 3);
            (session.id, stores.try_open(&session).expect("the user did not change"))
        });
        let live = stores.list(user.id, NOW);
        assert_eq!(live.len(), 3);
        let evicted = opened.iter().flat_map(|(_, evicted)| evicted.iter().copied());
        assert_eq!(sorted(evicted.chain(live)), sorted(opened.iter().map(|(id, _)| *id)));
    }
    assert_eq!(stores.recorded_names().iter().filter(|name| *name == "session_evicted").count(), 5 * 5);
}

fn bounded(stores: &Stores, user: UserId, opened_at: UnixTime, max_per_user: u32) -> NewSession {
    let max_per_user = NonZeroU32::new(max_per_user).expect("room for the new one");
    NewSession { max_per_user, ..stores.new_session(user, opened_at) }
}

/// A rotation neither revives a session that ends meanwhile nor hides it from its end.
// MUST session-rotate-gone
pub fn rotate_racing_end_leaves_nothing_live(stores: &Stores) {
    let user = stores.user("Alice");
    for _ in 0..10 {
        let session = stores.session(user.id);
        rotate_racing(stores, session.id, &|| assert!(stores.end(session.id, NOW), "it was live"));
    }
}

/// Nor does it revive one whose user is disabled meanwhile.
// MUST session-rotate-gone
pub fn rotate_racing_disable_leaves_nothing_live(stores: &Stores) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let session = stores.session(user.id);
        rotate_racing(stores, session.id, &|| {
            let event = stores.event(EventKind::UserDisabled, NOW).of_user(user.id);
            assert_eq!(stores.store.disable_user(user.id, &event).unwrap(), [session.id]);
        });
    }
}

/// Nor one of an old password.
// MUST session-rotate-gone
pub fn rotate_racing_change_password_leaves_nothing_live(stores: &Stores) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let (session, new) = (stores.session(user.id), stores.new_session(user.id, NOW));
        rotate_racing(stores, session.id, &|| {
            let event = stores.event(EventKind::PasswordChanged, NOW).of_user(user.id).in_session(new.id);
            let hash = PasswordHash::new("plain:1:new".to_owned());
            let changed = stores.store.change_password(session.id, &hash, &new, &event).unwrap();
            assert_eq!(changed.ended, [session.id]);
        });
        assert_eq!(stores.list(user.id, NOW), [new.id]);
    }
}

/// Nor one from before the floor.
// MUST session-rotate-gone
pub fn rotate_racing_raise_floor_leaves_nothing_live(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    rotate_racing(stores, session.id, &|| {
        stores.store.invalidate_sessions(&stores.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    });
}

fn rotate_racing(stores: &Stores, session: SessionId, end: &(dyn Fn() + Sync)) {
    race(5, |n| match n {
        0 => end(),
        _ => {
            let rotation = stores.present(session, 0, NOW);
            assert!(matches!(rotation, RotateOutcome::Rotated(_) | RotateOutcome::Gone), "{rotation:?}");
        }
    });
    assert!(!stores.is_live(session, NOW));
    for generation in 0..2 {
        assert_eq!(stores.present(session, generation, NOW), RotateOutcome::Gone);
    }
}

/// Every small case is judged as [`ReuseCheck::of`] judges it, to the microsecond of the grace.
// MUST session-rotate-gone session-rotate-reuse-ends
pub fn rotate_means_what_the_domain_says(stores: &Stores) {
    let user = stores.user("Alice");
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
                let session = stores.session(user.id);
                for generation in 0..newest {
                    let at = if generation + 1 == newest { rotated_at } else { NOW + SECOND };
                    let successor = stores.present(session.id, generation, at);
                    assert!(matches!(successor, RotateOutcome::Rotated(_)), "{successor:?}");
                }
                let since = if newest == 0 { NOW } else { rotated_at };
                let rotated = CurrentGeneration { generation: Generation::new(newest), at: since };
                let judged = ReuseCheck::of(Generation::new(presented), rotated, now, grace);
                let idle_from = match judged {
                    ReuseCheck::Current => now,
                    _ => since,
                };
                let expires_at = session.absolute_expires_at.min(idle_from + IDLE);
                let (next, same) = (Generation::new(newest + 1), Generation::new(newest));
                let goes_on = |generation| {
                    RotateOutcome::Rotated(RotatedSession {
                        user: user.id,
                        generation,
                        opened_at: NOW,
                        expires_at,
                    })
                };
                let expected = match judged {
                    ReuseCheck::Current => goes_on(next),
                    ReuseCheck::Repeated => goes_on(same),
                    ReuseCheck::Reused => RotateOutcome::Reused,
                    ReuseCheck::Ahead => RotateOutcome::Ahead,
                };
                let case = format!("{presented} of {newest} at {now:?}");
                assert_eq!(stores.present(session.id, presented, now), expected, "{case}");
                assert_eq!(stores.is_live(session.id, now), judged != ReuseCheck::Reused, "{case}");
            }
        }
    }
}

/// 24 callers with one token get one successor, and the generation moved by one.
// ASVS 2.3.4 15.4.2
// MUST session-rotate-once
pub fn rotate_gives_many_callers_one_successor(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    for generation in 0..3 {
        let now = NOW + SECOND * (generation + 1);
        // The callers' clocks differ by as much as is tolerated.
        let skew = |n: usize| Duration::from_micros(u64::try_from(n).unwrap() * 200_000);
        let results = race(24, |n| stores.present(session.id, generation, now + skew(n)));
        let next = Generation::new(generation + 1);
        let same = results
            .iter()
            .all(|r| matches!(r, RotateOutcome::Rotated(session) if session.generation == next));
        assert!(same, "{results:?}");
    }
    let ahead = stores.present(session.id, 4, NOW + SECOND * 4);
    assert_eq!(ahead, RotateOutcome::Ahead, "three rounds, three generations");
}

/// A copy of an old token ends the session; the event is recorded with the session's user.
// MUST session-rotate-reuse-ends
pub fn rotate_ends_the_session_on_a_reused_token(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    stores.present(session.id, 0, NOW + SECOND);
    stores.present(session.id, 1, NOW + SECOND * 2);
    let theft = NOW + SECOND * 3;

    assert_eq!(stores.present(session.id, 0, theft), RotateOutcome::Reused);
    assert!(!stores.is_live(session.id, theft));
    assert_eq!(stores.present(session.id, 2, theft), RotateOutcome::Gone, "the newest token is dead too");
    assert_eq!(stores.changes(theft).ended, [(session.id, theft)]);
    let expected = stores.event(EventKind::RefreshTokenReused, theft).in_session(session.id).of_user(user.id);
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&expected)));
}

/// Eight copies at once are one theft: one call ends the session and records it, the others find it gone.
// MUST session-rotate-reuse-ends
pub fn rotate_reports_one_theft_once(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    stores.present(session.id, 0, NOW + SECOND);
    stores.present(session.id, 1, NOW + SECOND * 2);
    let results = race(8, |_| stores.present(session.id, 0, NOW + SECOND * 3));
    assert_eq!(results.iter().filter(|result| **result == RotateOutcome::Reused).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|result| **result == RotateOutcome::Gone).count(), 7, "{results:?}");
    let reports = stores.recorded_names().iter().filter(|name| *name == "refresh_token_reused").count();
    assert_eq!(reports, 1);
}

/// Unknown, ended and expired sessions are gone, whatever generation is presented, and stay as they are.
// MUST session-rotate-gone
pub fn rotate_changes_nothing_where_no_session_lives(stores: &Stores) {
    let user = stores.user("Alice");
    let (ended, expired) = (stores.session(user.id), stores.session(user.id));
    stores.end(ended.id, NOW);
    let before = (stores.recorded)();
    let late = NOW + IDLE;
    for generation in 0..3 {
        assert_eq!(
            stores.present(SessionId::new(NOW, &*stores.random), generation, NOW),
            RotateOutcome::Gone
        );
        assert_eq!(stores.present(ended.id, generation, NOW), RotateOutcome::Gone);
        assert_eq!(stores.present(expired.id, generation, late), RotateOutcome::Gone);
    }
    assert_eq!((stores.recorded)(), before);
    assert_eq!(stores.changes(NOW).ended, [(ended.id, NOW)], "an expired session does not end as well");
}

/// Each rotation moves the end to an hour later, but not beyond the absolute one.
pub fn rotate_extends_the_session_up_to_its_absolute_end(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    let last = ABSOLUTE - SECOND;
    let mut generation = 0;
    let mut elapsed = Duration::ZERO;
    while elapsed < last {
        elapsed = last.min(elapsed + IDLE - SECOND);
        let now = NOW + elapsed;
        let expected = session.absolute_expires_at.min(now + IDLE);
        match stores.present(session.id, generation, now) {
            RotateOutcome::Rotated(session) => assert_eq!(session.expires_at, expected),
            other => panic!("{other:?} after {elapsed:?}"),
        }
        generation += 1;
    }
    assert_eq!(stores.present(session.id, generation, NOW + ABSOLUTE), RotateOutcome::Gone);
}

/// The first end is acknowledged and recorded with the user; the next finds nothing to do.
// MUST session-end-once
pub fn end_is_acknowledged_once(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    let at = NOW + SECOND;
    assert!(stores.end(session.id, at));
    assert!(!stores.is_live(session.id, at));
    let expected =
        stores.event(EventKind::LoggedOut(LogoutScope::Current), at).in_session(session.id).of_user(user.id);
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&expected)));

    let before = (stores.recorded)();
    assert!(!stores.end(session.id, at + SECOND));
    assert!(!stores.end(SessionId::new(NOW, &*stores.random), at));
    assert_eq!((stores.recorded)(), before);
    assert_eq!(stores.changes(NOW).ended, [(session.id, at)], "the first end counts");
}

/// A session that has expired by one clock may live by another: told to end, it ends for all of them.
pub fn end_ends_expired_sessions_too(stores: &Stores) {
    let user = stores.user("Alice");
    let [alone, one, other] = [(); 3].map(|()| stores.session(user.id).id);
    let late = NOW + IDLE;
    assert!(stores.end(alone, late));
    let event = stores.event(EventKind::LoggedOut(LogoutScope::All), late).of_user(user.id);
    let ended = stores.store.end_sessions(user.id, None, &event).unwrap();
    assert_eq!(sorted(ended), sorted([one, other]));
    for session in [alone, one, other] {
        assert!(!stores.is_live(session, NOW));
        assert_eq!(stores.present(session, 0, NOW), RotateOutcome::Gone);
    }
}

/// To others than its owner a session is as unknown as one that never was; with its owner, or without regard to
/// owners, it ends once, and that it is over is known as long as it is remembered.
// MUST session-end-owner
pub fn end_is_for_the_owner_alone(stores: &Stores) {
    let (alice, bob) = (stores.user("Alice"), stores.user("Bob"));
    let session = stores.session(alice.id);
    let never_was = SessionId::new(NOW, &*stores.random);
    let before = (stores.recorded)();
    for owner in [None, Some(alice.id), Some(bob.id)] {
        assert_eq!(stores.end_of(owner, never_was, NOW), EndOutcome::Unknown);
    }
    let nobody = UserId::new(NOW, &*stores.random);
    for foreigner in [bob.id, nobody] {
        assert_eq!(stores.end_of(Some(foreigner), session.id, NOW), EndOutcome::Unknown);
    }
    assert_eq!((stores.recorded)(), before);
    assert!(stores.is_live(session.id, NOW));

    assert_eq!(stores.end_of(Some(alice.id), session.id, NOW), EndOutcome::Ended);
    assert_eq!((stores.recorded)().len(), before.len() + 1);
    for owner in [None, Some(alice.id)] {
        assert_eq!(stores.end_of(owner, session.id, NOW), EndOutcome::AlreadyEnded);
    }
    assert_eq!(stores.end_of(Some(bob.id), session.id, NOW), EndOutcome::Unknown, "nor that it was");
    assert_eq!((stores.recorded)().len(), before.len() + 1);
}

/// The live sessions of one user end and are told; the event is recorded once, also where there was nothing to end.
// MUST session-end-all-of-one-user
pub fn end_all_ends_the_live_sessions_of_one_user(stores: &Stores) {
    let (alice, bob) = (stores.user("Alice"), stores.user("Bob"));
    let at = NOW + SECOND;
    let sessions = sorted([0, 1].map(|_| stores.session(alice.id).id));
    let (over, bobs) = (stores.session(alice.id), stores.session(bob.id));
    stores.end(over.id, NOW);
    let event = stores.event(EventKind::UserSessionsEnded, at).of_user(alice.id);

    assert_eq!(sorted(stores.store.end_sessions(alice.id, None, &event).unwrap()), sessions);
    assert_eq!(stores.list(alice.id, at), []);
    assert!(stores.is_live(bobs.id, at));
    assert_eq!(stores.changes(at).ended, sessions.into_iter().map(|id| (id, at)).collect::<Vec<_>>());
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&event)));

    let again = stores.event(EventKind::UserSessionsEnded, at + SECOND).of_user(alice.id);
    assert_eq!(stores.store.end_sessions(alice.id, None, &again).unwrap(), []);
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&again)));
    assert_eq!(stores.changes(at + SECOND).ended, [], "the first end counts");
}

/// One session may be spared; to spare somebody else's spares nothing.
// MUST session-end-all-of-one-user
pub fn end_all_spares_the_excepted_session(stores: &Stores) {
    let (alice, bob) = (stores.user("Alice"), stores.user("Bob"));
    let [here, there] = [0, 1].map(|_| stores.session(alice.id).id);
    let bobs = stores.session(bob.id);
    let end_all = |except| {
        let event = stores.event(EventKind::LoggedOut(LogoutScope::Others), NOW).of_user(alice.id);
        stores.store.end_sessions(alice.id, Some(except), &event).unwrap()
    };
    assert_eq!(end_all(here), [there]);
    assert_eq!(stores.list(alice.id, NOW), [here]);
    assert_eq!(end_all(here), []);
    assert_eq!(end_all(bobs.id), [here]);
    assert!(stores.is_live(bobs.id, NOW));
}

/// A session lives until the microsecond before its end.
pub fn live_ends_to_the_microsecond(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    assert!(stores.is_live(session.id, NOW + IDLE - MICROSECOND));
    assert!(!stores.is_live(session.id, NOW + IDLE));
    assert!(!stores.is_live(SessionId::new(NOW, &*stores.random), NOW), "an unknown session is not live");
}

/// A session comes back as it was opened, and as its last rotation left it.
pub fn find_tells_what_a_session_is(stores: &Stores) {
    let user = stores.user("Alice");
    let v4 = ClientInfo::new("203.0.113.7".parse().ok(), None);
    let long = ClientInfo::new(None, Some(&"\u{1f980}".repeat(256)));
    for client in [ClientInfo::default(), v4, long, crate::fixtures::client()] {
        let opened = NewSession { client, ..stores.new_session(user.id, NOW) };
        stores.open(&opened);
        let expected = Session {
            id: opened.id,
            user: user.id,
            opened_at: NOW,
            newest: CurrentGeneration { generation: Generation::FIRST, at: NOW },
            expires_at: opened.expires_at,
            client: opened.client.clone(),
        };
        assert_eq!(stores.find(opened.id, NOW), Some(expected.clone()));

        let later = NOW + SECOND;
        stores.present(opened.id, 0, later);
        let newest = CurrentGeneration { generation: Generation::new(1), at: later };
        let rotated = Session { newest, expires_at: later + IDLE, ..expected };
        assert_eq!(stores.find(opened.id, later), Some(rotated.clone()));
        stores.present(opened.id, 0, later + SECOND);
        assert_eq!(stores.find(opened.id, later), Some(rotated), "a repetition changes nothing");
    }
}

/// What is listed is what [`find_tells_what_a_session_is`] finds, of one user, the latest opened first.
pub fn list_tells_the_live_sessions_latest_first(stores: &Stores) {
    let (alice, bob) = (stores.user("Alice"), stores.user("Bob"));
    let open = |user, opened_at| {
        let session = stores.new_session(user, opened_at);
        stores.open(&session);
        session.id
    };
    let now = NOW + IDLE;
    // Neither the order of their ids nor that of their opening in the store.
    let [second, third, _expired, first, ended] = [2, 1, 0, 3, 4].map(|n| open(alice.id, NOW + SECOND * n));
    let bobs = open(bob.id, now);
    stores.end(ended, now);
    stores.present(third, 0, now);

    let listed = stores.store.list_sessions(alice.id, now).unwrap();
    let found: Vec<_> = [first, second, third].iter().filter_map(|id| stores.find(*id, now)).collect();
    assert_eq!(listed, found);
    assert_eq!(listed.len(), 3);
    assert_eq!(stores.list(bob.id, now), [bobs]);
    assert_eq!(stores.list(UserId::new(NOW, &*stores.random), now), []);
}

/// Ends from `since` on are listed, expiries are not, and there is no floor yet.
pub fn news_lists_ends_and_no_expiries(stores: &Stores) {
    let user = stores.user("Alice");
    let (early, late, _live) = (stores.session(user.id), stores.session(user.id), stores.session(user.id));
    stores.end(early.id, NOW + SECOND);
    stores.end(late.id, NOW + SECOND * 2);
    let mut both = vec![(early.id, NOW + SECOND), (late.id, NOW + SECOND * 2)];
    both.sort();
    assert_eq!(stores.changes(NOW + SECOND).ended, both);
    assert_eq!(stores.changes(NOW + SECOND + MICROSECOND).ended, [(late.id, NOW + SECOND * 2)]);
    assert_eq!(stores.changes(NOW + SECOND * 3).ended, []);
    assert_eq!(stores.changes(NOW).valid_from, UnixTime::EPOCH);
}

/// However many ended, no more are told than were asked for: one more than that says that there are more.
pub fn news_tells_no_more_than_asked_for(stores: &Stores) {
    let user = stores.user("Alice");
    let ended = sorted([0, 1, 2].map(|_| stores.session(user.id).id));
    for session in &ended {
        stores.end(*session, NOW);
    }
    for most in 1..5 {
        let told = stores.store.session_changes(NOW, most).unwrap().ended;
        assert_eq!(told.len(), ended.len().min(most as usize));
        assert!(told.iter().all(|(session, at)| ended.contains(session) && *at == NOW), "{told:?}");
    }
}

/// While everybody is at work in the store, a look at it comes back before the memory of the last one is stale.
// MUST session-changes-no-wait
pub fn news_does_not_wait_for_the_work_of_others(stores: &Stores) {
    let user = stores.user("Alice");
    let is_over = AtomicBool::new(false);
    race(16, |n| match n {
        0 => {
            for _ in 0..20 {
                let asked = Instant::now();
                stores.store.session_changes(NOW, 100).expect("the store answers");
                assert!(asked.elapsed() < STALE_AFTER, "{:?}", asked.elapsed());
            }
            is_over.store(true, Ordering::SeqCst);
        }
        _ => {
            while !is_over.load(Ordering::SeqCst) {
                let session = stores.session(user.id);
                stores.present(session.id, 0, NOW);
                stores.end(session.id, NOW);
            }
        }
    });
}

/// The floor ends every session opened before it, is told to every instance, and never sinks.
// MUST session-invalidate-all session-invalidate-monotonic
pub fn raise_floor_ends_what_was_opened_before(stores: &Stores) {
    let user = stores.user("Alice");
    let old = stores.session(user.id);
    let valid_from = (NOW + SECOND).next_second();
    let raise =
        |at| stores.store.invalidate_sessions(&stores.event(EventKind::AllSessionsEnded, at)).unwrap();
    assert_eq!(raise(NOW + SECOND), valid_from);
    assert_eq!(raise(NOW), valid_from);
    let at_floor = stores.new_session(user.id, valid_from);
    stores.open(&at_floor);

    assert_eq!(stores.changes(NOW).valid_from, valid_from);
    assert!(!stores.is_live(old.id, valid_from));
    assert_eq!(stores.present(old.id, 0, valid_from), RotateOutcome::Gone);
    assert!(!stores.end(old.id, valid_from));
    assert_eq!(stores.list(user.id, valid_from), [at_floor.id]);
    assert!(stores.is_live(at_floor.id, valid_from));
    assert!(matches!(stores.present(at_floor.id, 0, valid_from), RotateOutcome::Rotated(_)));
    assert_eq!(stores.recorded_names().iter().filter(|name| *name == "all_sessions_ended").count(), 2);
}

/// Tokens tell in whole seconds when their session was opened, so the floor is one: the next, so that a session opened
/// at this very moment ends too. As a mark it keeps clocks from opening sessions before it.
pub fn raise_floor_leaves_the_next_whole_second(stores: &Stores) {
    let whole = NOW.next_second();
    for (at, valid_from) in [(whole - MICROSECOND, whole), (whole, whole + SECOND)] {
        stores.store.invalidate_sessions(&stores.event(EventKind::AllSessionsEnded, at)).unwrap();
        let news = stores.changes(NOW);
        assert_eq!(news.valid_from, valid_from);
        assert!(news.time.is_none_or(|time| time.high_water_mark == news.valid_from), "{news:?}");
    }
}

/// Whoever opened a session by a clock ahead of the caller's is caught too.
// MUST session-invalidate-all
pub fn raise_floor_ends_what_was_opened_by_a_clock_ahead(stores: &Stores) {
    let user = stores.user("Alice");
    let ahead = stores.new_session(user.id, NOW + SECOND * 40);
    stores.open(&ahead);
    let valid_from =
        stores.store.invalidate_sessions(&stores.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    assert_eq!(valid_from, ahead.opened_at.next_second());
    assert!(!stores.is_live(ahead.id, ahead.opened_at));
    assert_eq!(stores.present(ahead.id, 0, ahead.opened_at), RotateOutcome::Gone);
}

/// A session that would be over at once is not opened, whether by a login or by a new password.
// MUST session-open-valid
pub fn open_before_the_floor_is_refused(stores: &Stores) {
    let user = stores.user("Alice");
    stores.store.invalidate_sessions(&stores.event(EventKind::AllSessionsEnded, NOW)).unwrap();
    let before = (stores.recorded)();
    let dead = stores.new_session(user.id, NOW);
    match stores.try_open(&dead) {
        Err(OpenSessionError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        other => panic!("{other:?}"),
    }
    assert_eq!((stores.recorded)(), before);
    assert_eq!(stores.list(user.id, NOW), []);
    stores.open(&stores.new_session(user.id, NOW.next_second()));
}

fn refuses_to_open(stores: &Stores, user: UserId, version: CredentialVersion) {
    let before = (stores.recorded)();
    let mut session = stores.new_session(user, NOW);
    session.credential_version = version;
    let result = stores.try_open(&session);
    assert!(matches!(result, Err(OpenSessionError::UserChanged)), "{result:?}");
    assert!(!stores.is_live(session.id, NOW));
    assert_eq!((stores.recorded)(), before, "what did not happen is not recorded");
}
