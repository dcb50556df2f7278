//! Promises of [`SessionStore`](portcullis_domain::ports::SessionStore).

use std::time::Duration;

use portcullis_domain::event::EventKind;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::OpenSessionError;
use portcullis_domain::session::{Generation, Presented, Rotated, Rotation};
use portcullis_domain::time::UnixTime;
use portcullis_domain::user::CredentialVersion;

use super::{RecordedEvent, Stores, race};
use crate::fixtures::{ABSOLUTE, IDLE, NOW};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Opening records its event, whole.
pub fn open_records_its_event(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    let expected = stores.opening_of(&session);
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&expected)));
    assert!(stores.is_live(session.id, NOW));
}

/// A login in flight while its user is disabled opens nothing.
pub fn open_after_disable_is_refused(stores: &Stores) {
    let user = stores.user("Alice");
    let event = stores.event(EventKind::UserDisabled, NOW).of_user(user.id);
    stores.users.disable(user.id, &event).unwrap();
    refuses_to_open(stores, user.id, CredentialVersion::FIRST);
}

/// A login in flight while its user gets a new password opens nothing; a later one does.
pub fn open_after_a_password_change_is_refused(stores: &Stores) {
    let user = stores.user("Alice");
    let event = stores.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    stores.users.set_password(user.id, &PasswordHash::new("plain:1:new".to_owned()), &event).unwrap();
    refuses_to_open(stores, user.id, CredentialVersion::FIRST);

    let mut session = stores.new_session(user.id, NOW);
    session.credential_version = CredentialVersion::FIRST.next();
    stores.open(&session);
}

/// Nobody has no sessions.
pub fn open_for_an_unknown_user_is_refused(stores: &Stores) {
    refuses_to_open(stores, UserId::new(NOW, &*stores.entropy), CredentialVersion::FIRST);
}

/// Whether a login commits before a disable or after it, no session is left.
pub fn open_racing_disable_leaves_no_live_session(stores: &Stores) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let sessions: Vec<_> = (0..4).map(|_| stores.new_session(user.id, NOW)).collect();
        race(5, |n| match sessions.get(n) {
            Some(session) => match stores.sessions.open(session, &stores.opening_of(session)) {
                Ok(()) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
            None => {
                let event = stores.event(EventKind::UserDisabled, NOW).of_user(user.id);
                stores.users.disable(user.id, &event).unwrap();
            }
        });
        let live: Vec<_> = sessions.iter().filter(|session| stores.is_live(session.id, NOW)).collect();
        assert!(live.is_empty(), "{live:?}");
    }
}

/// Whether a login commits before a new password or after it, no session of the old one is left.
pub fn open_racing_set_password_leaves_no_live_session(stores: &Stores) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let sessions: Vec<_> = (0..4).map(|_| stores.new_session(user.id, NOW)).collect();
        race(5, |n| match sessions.get(n) {
            Some(session) => match stores.sessions.open(session, &stores.opening_of(session)) {
                Ok(()) | Err(OpenSessionError::UserChanged) => {}
                Err(error) => panic!("{error:?}"),
            },
            None => {
                let event = stores.event(EventKind::PasswordChanged, NOW).of_user(user.id);
                let new = PasswordHash::new("plain:1:new".to_owned());
                stores.users.set_password(user.id, &new, &event).unwrap();
            }
        });
        let live: Vec<_> = sessions.iter().filter(|session| stores.is_live(session.id, NOW)).collect();
        assert!(live.is_empty(), "{live:?}");
    }
}

/// A rotation neither revives a session that ends meanwhile nor hides it from its end.
pub fn rotate_racing_end_leaves_nothing_live(stores: &Stores) {
    let user = stores.user("Alice");
    for _ in 0..10 {
        let session = stores.session(user.id);
        rotate_racing(stores, session.id, &|| assert!(stores.end(session.id, NOW), "it was live"));
    }
}

/// Nor does it revive one whose user is disabled meanwhile.
pub fn rotate_racing_disable_leaves_nothing_live(stores: &Stores) {
    for round in 0..10 {
        let user = stores.user(&format!("Alice{round}"));
        let session = stores.session(user.id);
        rotate_racing(stores, session.id, &|| {
            let event = stores.event(EventKind::UserDisabled, NOW).of_user(user.id);
            assert_eq!(stores.users.disable(user.id, &event).unwrap(), [session.id]);
        });
    }
}

fn rotate_racing(stores: &Stores, session: SessionId, end: &(dyn Fn() + Sync)) {
    race(5, |n| match n {
        0 => end(),
        _ => {
            let rotation = stores.present(session, 0, NOW);
            assert!(matches!(rotation, Rotation::Successor { .. } | Rotation::Gone), "{rotation:?}");
        }
    });
    assert!(!stores.is_live(session, NOW));
    for generation in 0..2 {
        assert_eq!(stores.present(session, generation, NOW), Rotation::Gone);
    }
}

/// Every small case is judged as [`Presented::judge`] judges it, to the microsecond of the grace.
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
                    assert!(matches!(successor, Rotation::Successor { .. }), "{successor:?}");
                }
                let since = if newest == 0 { NOW } else { rotated_at };
                let rotated = Rotated { generation: Generation::new(newest), at: since };
                let judged = Presented::judge(Generation::new(presented), rotated, now, grace);
                let idle_from = match judged {
                    Presented::Current => now,
                    _ => since,
                };
                let expires_at = session.absolute_expires_at.min(idle_from + IDLE);
                let (next, same) = (Generation::new(newest + 1), Generation::new(newest));
                let expected = match judged {
                    Presented::Current => Rotation::Successor { user: user.id, generation: next, expires_at },
                    Presented::Repeated => {
                        Rotation::Successor { user: user.id, generation: same, expires_at }
                    }
                    Presented::Reused => Rotation::Reused,
                    Presented::Ahead => Rotation::Ahead,
                };
                let case = format!("{presented} of {newest} at {now:?}");
                assert_eq!(stores.present(session.id, presented, now), expected, "{case}");
                assert_eq!(stores.is_live(session.id, now), judged != Presented::Reused, "{case}");
            }
        }
    }
}

/// 24 callers with one token get one successor, and the generation moved by one.
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
            .all(|r| matches!(r, Rotation::Successor { generation, .. } if *generation == next));
        assert!(same, "{results:?}");
    }
    let ahead = stores.present(session.id, 4, NOW + SECOND * 4);
    assert_eq!(ahead, Rotation::Ahead, "three rounds, three generations");
}

/// A copy of an old token ends the session; the event is recorded with the session's user.
pub fn rotate_ends_the_session_on_a_reused_token(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    stores.present(session.id, 0, NOW + SECOND);
    stores.present(session.id, 1, NOW + SECOND * 2);
    let theft = NOW + SECOND * 3;

    assert_eq!(stores.present(session.id, 0, theft), Rotation::Reused);
    assert!(!stores.is_live(session.id, theft));
    assert_eq!(stores.present(session.id, 2, theft), Rotation::Gone, "the newest token is dead too");
    assert_eq!(stores.ended_since(theft).ended, [(session.id, theft)]);
    let expected = stores.event(EventKind::RefreshTokenReused, theft).in_session(session.id).of_user(user.id);
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&expected)));
}

/// Eight copies at once are one theft: one call ends the session and records it, the others find it gone.
pub fn rotate_reports_one_theft_once(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    stores.present(session.id, 0, NOW + SECOND);
    stores.present(session.id, 1, NOW + SECOND * 2);
    let results = race(8, |_| stores.present(session.id, 0, NOW + SECOND * 3));
    assert_eq!(results.iter().filter(|result| **result == Rotation::Reused).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|result| **result == Rotation::Gone).count(), 7, "{results:?}");
    let reports = stores.recorded_names().iter().filter(|name| *name == "refresh_token_reused").count();
    assert_eq!(reports, 1);
}

/// Unknown, ended and expired sessions are gone, whatever generation is presented, and stay as they are.
pub fn rotate_changes_nothing_where_no_session_lives(stores: &Stores) {
    let user = stores.user("Alice");
    let (ended, expired) = (stores.session(user.id), stores.session(user.id));
    stores.end(ended.id, NOW);
    let before = (stores.recorded)();
    let late = NOW + IDLE;
    for generation in 0..3 {
        assert_eq!(stores.present(SessionId::new(NOW, &*stores.entropy), generation, NOW), Rotation::Gone);
        assert_eq!(stores.present(ended.id, generation, NOW), Rotation::Gone);
        assert_eq!(stores.present(expired.id, generation, late), Rotation::Gone);
    }
    assert_eq!((stores.recorded)(), before);
    assert_eq!(stores.ended_since(NOW).ended, [(ended.id, NOW)], "an expired session does not end as well");
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
            Rotation::Successor { expires_at, .. } => assert_eq!(expires_at, expected),
            other => panic!("{other:?} after {elapsed:?}"),
        }
        generation += 1;
    }
    assert_eq!(stores.present(session.id, generation, NOW + ABSOLUTE), Rotation::Gone);
}

/// The first end is acknowledged and recorded with the user; the next finds nothing to do.
pub fn end_is_acknowledged_once(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    let at = NOW + SECOND;
    assert!(stores.end(session.id, at));
    assert!(!stores.is_live(session.id, at));
    let expected = stores.event(EventKind::LoggedOut, at).in_session(session.id).of_user(user.id);
    assert_eq!((stores.recorded)().last(), Some(&RecordedEvent::from(&expected)));

    let before = (stores.recorded)();
    assert!(!stores.end(session.id, at + SECOND));
    assert!(!stores.end(SessionId::new(NOW, &*stores.entropy), at));
    assert_eq!((stores.recorded)(), before);
    assert_eq!(stores.ended_since(NOW).ended, [(session.id, at)], "the first end counts");
}

/// A session that expired does not end once more.
pub fn end_is_not_for_expired_sessions(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    assert!(!stores.end(session.id, NOW + IDLE));
    assert!(stores.end(session.id, NOW + IDLE - MICROSECOND));
}

/// A session lives until the microsecond before its end.
pub fn live_ends_to_the_microsecond(stores: &Stores) {
    let user = stores.user("Alice");
    let session = stores.session(user.id);
    assert!(stores.is_live(session.id, NOW + IDLE - MICROSECOND));
    assert!(!stores.is_live(session.id, NOW + IDLE));
    assert!(!stores.is_live(SessionId::new(NOW, &*stores.entropy), NOW), "an unknown session is not live");
}

/// Ends from `since` on are listed, expiries are not, and there is no floor yet.
pub fn ended_since_lists_ends_and_no_expiries(stores: &Stores) {
    let user = stores.user("Alice");
    let (early, late, _live) = (stores.session(user.id), stores.session(user.id), stores.session(user.id));
    stores.end(early.id, NOW + SECOND);
    stores.end(late.id, NOW + SECOND * 2);
    let mut both = vec![(early.id, NOW + SECOND), (late.id, NOW + SECOND * 2)];
    both.sort();
    assert_eq!(stores.ended_since(NOW + SECOND).ended, both);
    assert_eq!(stores.ended_since(NOW + SECOND + MICROSECOND).ended, [(late.id, NOW + SECOND * 2)]);
    assert_eq!(stores.ended_since(NOW + SECOND * 3).ended, []);
    assert_eq!(stores.ended_since(NOW).floor, UnixTime::EPOCH);
}

/// The floor ends every session opened before it, is told to every instance, and never sinks.
pub fn raise_floor_ends_what_was_opened_before(stores: &Stores) {
    let user = stores.user("Alice");
    let old = stores.session(user.id);
    let floor = NOW + SECOND;
    let at_floor = stores.new_session(user.id, floor);
    stores.open(&at_floor);
    stores.sessions.raise_floor(&stores.event(EventKind::AllSessionsEnded, floor)).unwrap();
    stores.sessions.raise_floor(&stores.event(EventKind::AllSessionsEnded, NOW)).unwrap();

    assert_eq!(stores.ended_since(NOW).floor, floor);
    assert!(!stores.is_live(old.id, floor));
    assert_eq!(stores.present(old.id, 0, floor), Rotation::Gone);
    assert!(!stores.end(old.id, floor));
    assert!(stores.is_live(at_floor.id, floor));
    assert!(matches!(stores.present(at_floor.id, 0, floor), Rotation::Successor { .. }));
    assert_eq!(stores.recorded_names().iter().filter(|name| *name == "all_sessions_ended").count(), 2);
}

fn refuses_to_open(stores: &Stores, user: UserId, version: CredentialVersion) {
    let before = (stores.recorded)();
    let mut session = stores.new_session(user, NOW);
    session.credential_version = version;
    let result = stores.sessions.open(&session, &stores.opening_of(&session));
    assert!(matches!(result, Err(OpenSessionError::UserChanged)), "{result:?}");
    assert!(!stores.is_live(session.id, NOW));
    assert_eq!((stores.recorded)(), before, "what did not happen is not recorded");
}
