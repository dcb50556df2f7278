//! Promises of [`AuditLog`](portcullis_domain::audit::AuditLog).

use std::num::NonZeroU32;

use portcullis_domain::account::{ChangeUserError, CredentialVersion, InsertUserError, UserStatus};
use portcullis_domain::audit::{EventKind, LoginFailure, LogoutScope, SecurityEvent, StoredEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::session::{
    Generation, NewSession, OpenSessionError, RotateOutcome, RotateRequest, SessionOpened,
};
use portcullis_domain::throttle::{AccountKey, AttemptEvent, LoginAttempt, SCHEDULE};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, Stores};
use crate::fixtures::{self, IDLE, NOW};

/// Every field comes back as it was recorded.
// ASVS 16.2.1
pub fn record_keeps_everything(stores: &Stores) {
    let user = UserId::new(NOW, &*stores.random);
    let session = SessionId::new(NOW, &*stores.random);
    let kind = EventKind::LoginFailed(LoginFailure::WrongPassword);
    let event = stores.event(kind, NOW).of_user(user).in_session(session);
    stores.store.record_event(&event).unwrap();
    assert_eq!((stores.recorded)(), [RecordedEvent::from(&event)]);
    assert_eq!((stores.recorded)()[0].detail.as_deref(), Some("wrong_password"));
}

/// An event of nobody from nowhere is kept, and so is the longest agent from the longest address.
pub fn record_keeps_the_longest_and_the_least(stores: &Stores) {
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().ok();
    let kind = EventKind::LoginFailed(LoginFailure::UnknownUser);
    for client in [ClientInfo::default(), ClientInfo::new(address, Some(&"\u{1f980}".repeat(256)))] {
        let event = SecurityEvent { client, ..stores.event(kind, NOW) };
        stores.store.record_event(&event).unwrap();
        assert!((stores.recorded)().contains(&RecordedEvent::from(&event)));
    }
}

/// A user is told the own events alone, with all that they hold, the latest first; as many as asked for.
// MUST event-list-own
pub fn of_user_tells_no_event_of_others(stores: &Stores) {
    let [alice, bob, nobody] = [(); 3].map(|()| UserId::new(NOW, &*stores.random));
    let session = SessionId::new(NOW, &*stores.random);
    let failed = EventKind::LoginFailed(LoginFailure::WrongPassword);
    let (mut hers, mut his) = (Vec::new(), Vec::new());
    for n in 0..4 {
        let at = NOW + std::time::Duration::from_millis(n);
        let event = stores.event(failed, at).of_user(alice).in_session(session);
        stores.store.record_event(&event).unwrap();
        hers.push(StoredEvent::from(&event));
        let event =
            SecurityEvent { client: ClientInfo::default(), ..stores.event(EventKind::HashUpgraded, at) };
        stores.store.record_event(&event.clone().of_user(bob)).unwrap();
        his.push(StoredEvent::from(&event));
        stores
            .store
            .record_event(&stores.event(EventKind::LoginFailed(LoginFailure::UnknownUser), at))
            .unwrap();
    }
    hers.reverse();
    his.reverse();
    let told = |user, before, most| stores.store.list_events(user, before, most).unwrap();
    assert_eq!(told(alice, None, u32::MAX), hers);
    assert_eq!(told(bob, None, 10), his);
    assert_eq!(told(nobody, None, 10), []);
    assert_eq!(told(alice, None, 3), hers[..3]);
    assert_eq!(told(alice, None, 0), []);
    assert_eq!(told(alice, Some(hers[0].id), 10), hers[1..], "before that one, which is not told again");
    assert_eq!(told(alice, Some(hers[1].id), 1), hers[2..3]);
    assert_eq!(told(alice, Some(hers[3].id), 10), []);
    for event in &his {
        let earlier: Vec<_> = hers.iter().filter(|own| own.id < event.id).cloned().collect();
        assert_eq!(told(alice, Some(event.id), 10), earlier, "another user's event is only a place");
    }
}

/// A change and its event are one: where the event cannot be stored, here because its id is taken, every change fails
/// and leaves all as it was.
// ASVS 2.3.3
// MUST event-record-or-nothing
pub fn a_change_whose_event_cannot_be_stored_does_not_happen(stores: &Stores) {
    let (user, disabled_user) = (stores.user("Alice"), stores.user("Carol"));
    let disabling = stores.event(EventKind::UserDisabled, NOW).of_user(disabled_user.id);
    stores.store.disable_user(disabled_user.id, &disabling).unwrap();
    let (older, session) = (stores.new_session(user.id, NOW - IDLE / 2), stores.session(user.id));
    stores.open(&older);
    // Three generations on, the first one is a copy.
    for generation in 0..3 {
        stores.present(session.id, generation, NOW);
    }
    let event = stores
        .event(EventKind::LoggedOut(LogoutScope::Current), NOW + IDLE / 2)
        .of_user(user.id)
        .in_session(session.id);
    stores.store.record_event(&event).unwrap();
    // The second end by eviction cannot be recorded: the first one does not happen either.
    let evicted = stores.event(EventKind::SessionEvicted, NOW).of_user(user.id);
    stores.store.record_event(&fixtures::event_of_session(&evicted, session.id)).unwrap();
    let before = (stores.recorded)();

    let again = stores.store.record_event(&event);
    assert!(again.is_err(), "{again:?}");

    let bob = fixtures::new_user("Bob", &*stores.random);
    let inserted = stores.store.insert_user(&bob, &event);
    assert!(matches!(inserted, Err(InsertUserError::Store(_))), "{inserted:?}");
    let new = PasswordHash::new("plain:1:new".to_owned());
    let upgraded = stores.store.upgrade_hash(user.id, &user.password_hash, &new, &event);
    assert!(upgraded.is_err(), "{upgraded:?}");
    let changed = stores.store.set_password(user.id, &new, &event);
    assert!(matches!(changed, Err(ChangeUserError::Store(_))), "{changed:?}");
    let disabled = stores.store.disable_user(user.id, &event);
    assert!(matches!(disabled, Err(ChangeUserError::Store(_))), "{disabled:?}");
    let enabled = stores.store.enable_user(disabled_user.id, &event);
    assert!(matches!(enabled, Err(ChangeUserError::Store(_))), "{enabled:?}");
    let deleted = stores.delete_user(user.id, None, &event);
    assert!(matches!(deleted, Err(ChangeUserError::Store(_))), "{deleted:?}");

    let second = stores.new_session(user.id, NOW);
    let opened = stores.store.open_session(&second, &event);
    assert!(matches!(opened, Err(OpenSessionError::Store(_))), "{opened:?}");
    let alone = NewSession { max_per_user: NonZeroU32::MIN, ..second.clone() };
    let evictions = |opened: &SessionOpened| {
        opened.ended.iter().map(|id| fixtures::event_of_session(&evicted, *id)).collect::<Vec<_>>()
    };
    let opened = stores.store.open_session(&alone, &evictions);
    assert!(matches!(opened, Err(OpenSessionError::Store(_))), "{opened:?}");
    let changed = stores.store.change_password(session.id, &new, &second, &event);
    assert!(matches!(changed, Err(OpenSessionError::Store(_))), "{changed:?}");
    let counter = AccountKey::from_bytes([7; 32]);
    let begun = AttemptEvent { ordinal: SCHEDULE.free, event: event.clone() };
    let attempt = LoginAttempt { counter, user: Some(user.id), now: NOW, event: begun };
    for _ in 1..SCHEDULE.free {
        stores.store.begin_attempt(&attempt).unwrap();
    }
    let reserved = stores.store.begin_attempt(&attempt);
    assert!(reserved.is_err(), "{reserved:?}");
    let left = stores.store.find_counter(counter).unwrap().map(|counter| counter.attempts);
    assert_eq!(left, Some(SCHEDULE.free - 1), "the attempt that begins the waiting is not counted");

    let all_ended = stores.store.end_sessions(user.id, None, &event);
    assert!(all_ended.is_err(), "{all_ended:?}");
    let ended = stores.store.end_session(session.id, None, event.at, &event);
    assert!(ended.is_err(), "{ended:?}");
    let raised = stores.store.invalidate_sessions(&event);
    assert!(raised.is_err(), "{raised:?}");
    let copy = RotateRequest {
        session: session.id,
        generation: Generation::FIRST,
        now: event.at,
        grace: std::time::Duration::ZERO,
        idle: IDLE,
    };
    let rotated = stores.store.rotate(&copy, &event);
    assert!(rotated.is_err(), "{rotated:?}");

    assert_eq!((stores.recorded)(), before);
    assert!(stores.store.find_user(bob.id).unwrap().is_none());
    let found = stores.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), user.password_hash.expose());
    assert_eq!((found.credential_version, found.status), (CredentialVersion::FIRST, UserStatus::Enabled));
    let found = stores.store.find_user(disabled_user.id).unwrap().expect("stored");
    assert_eq!(found.status, UserStatus::Disabled);
    assert_eq!(stores.list(user.id, NOW), [session.id, older.id]);
    let told = stores.changes(UnixTime::EPOCH);
    assert_eq!((told.ended, told.valid_from), (vec![], UnixTime::EPOCH));
    let next = stores.present(session.id, 3, event.at);
    assert!(matches!(next, RotateOutcome::Rotated(_)), "{next:?}");
}
