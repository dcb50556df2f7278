//! Promises of [`AuditLog`](portcullis_domain::audit::AuditLog).

use std::num::NonZeroU32;

use portcullis_domain::account::{
    ChangeUserError, CredentialVersion, InsertUserError, Reauthentication, UserStatus,
};
use portcullis_domain::audit::{EventKind, LoginFailure, LogoutScope, SecurityEvent, StoredEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::session::{
    Generation, NewSession, OpenSessionError, Proof, RotateOutcome, RotateRequest, SessionOpened,
};
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptEvent, KNOWN_FOR, KnownNetwork, LoginAttempt, SCHEDULE,
    SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;

use super::{RecordedEvent, TestedStore};
use crate::fixtures::{self, IDLE, NOW};

/// Every field comes back as it was recorded.
// ASVS 16.2.1
// MUST event-record-whole store-durable
pub fn record_keeps_everything(tested: &TestedStore) {
    let user = UserId::new(NOW, &*tested.random);
    let session = SessionId::new(NOW, &*tested.random);
    let kind = EventKind::LoginFailed(LoginFailure::WrongPassword);
    let event = tested.event(kind, NOW).of_user(user).in_session(session);
    tested.store.record_event(&event).unwrap();
    let tested = &tested.reopened();
    assert_eq!(tested.recorded(), [RecordedEvent::from(&event)]);
    assert_eq!(tested.recorded()[0].detail.as_deref(), Some("wrong_password"));
}

/// An event of nobody from nowhere is kept, and so is the longest agent from the longest address.
// MUST event-record-whole
pub fn record_keeps_the_longest_and_the_least(tested: &TestedStore) {
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().ok();
    let kind = EventKind::LoginFailed(LoginFailure::UnknownUser);
    for client in [ClientInfo::default(), ClientInfo::new(address, Some(&"\u{1f980}".repeat(256)))] {
        let event = SecurityEvent { client, ..tested.event(kind, NOW) };
        tested.store.record_event(&event).unwrap();
        assert!(tested.recorded().contains(&RecordedEvent::from(&event)));
    }
}

/// A user is told the own events alone, with all that they hold, the latest first; as many as asked for.
// MUST event-list-own event-list-order event-list-most event-list-before
pub fn list_events_returns_only_own_events(tested: &TestedStore) {
    let [alice, bob, nobody] = [(); 3].map(|()| UserId::new(NOW, &*tested.random));
    let session = SessionId::new(NOW, &*tested.random);
    let failed = EventKind::LoginFailed(LoginFailure::WrongPassword);
    let (mut hers, mut his) = (Vec::new(), Vec::new());
    for n in 0..4 {
        let at = NOW + std::time::Duration::from_millis(n);
        let event = tested.event(failed, at).of_user(alice).in_session(session);
        tested.store.record_event(&event).unwrap();
        hers.push(StoredEvent::from(&event));
        let event =
            SecurityEvent { client: ClientInfo::default(), ..tested.event(EventKind::HashUpgraded, at) };
        tested.store.record_event(&event.clone().of_user(bob)).unwrap();
        his.push(StoredEvent::from(&event));
        tested
            .store
            .record_event(&tested.event(EventKind::LoginFailed(LoginFailure::UnknownUser), at))
            .unwrap();
    }
    hers.reverse();
    his.reverse();
    let tested = &tested.reopened();
    let told = |user, before, most| tested.store.list_events(user, before, most).unwrap();
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
// MUST event-record-or-nothing session-open-proof-atomic user-change-password-proof-atomic
// MUST user-delete-proof-atomic
pub fn a_change_whose_event_cannot_be_stored_does_not_happen(tested: &TestedStore) {
    let (user, disabled_user) = (tested.user("Alice"), tested.user("Carol"));
    let disabling = tested.event(EventKind::UserDisabled, NOW).of_user(disabled_user.id);
    tested.store.disable_user(disabled_user.id, &disabling).unwrap();
    let (older, session) = (tested.new_session(user.id, NOW - IDLE / 2), tested.session(user.id));
    tested.open(&older);
    // Three generations on, the first one is a copy.
    for generation in 0..3 {
        tested.present(session.id, generation, NOW);
    }
    let event = tested
        .event(EventKind::LoggedOut(LogoutScope::Current), NOW + IDLE / 2)
        .of_user(user.id)
        .in_session(session.id);
    tested.store.record_event(&event).unwrap();
    // The second end by eviction cannot be recorded: the first one does not happen either.
    let evicted = tested.event(EventKind::SessionEvicted, NOW).of_user(user.id);
    tested.store.record_event(&fixtures::event_of_session(&evicted, session.id)).unwrap();
    let before = tested.recorded();

    let again = tested.store.record_event(&event);
    assert!(again.is_err(), "{again:?}");

    let bob = fixtures::new_user("Bob", &*tested.random);
    let inserted = tested.store.insert_user(&bob, &event);
    assert!(matches!(inserted, Err(InsertUserError::Store(_))), "{inserted:?}");
    let new = PasswordHash::new("plain:1:new".to_owned());
    let upgraded = tested.store.upgrade_hash(user.id, &user.password_hash, &new, &event);
    assert!(upgraded.is_err(), "{upgraded:?}");
    let changed = tested.store.set_password(user.id, &new, &event);
    assert!(matches!(changed, Err(ChangeUserError::Store(_))), "{changed:?}");
    let disabled = tested.store.disable_user(user.id, &event);
    assert!(matches!(disabled, Err(ChangeUserError::Store(_))), "{disabled:?}");
    let enabled = tested.store.enable_user(disabled_user.id, &event);
    assert!(matches!(enabled, Err(ChangeUserError::Store(_))), "{enabled:?}");
    let deleted = tested.delete_user(user.id, None, &event);
    assert!(matches!(deleted, Err(ChangeUserError::Store(_))), "{deleted:?}");

    let proven = CountedProof::new(tested);
    let by = Reauthentication {
        session: session.id,
        credential_version: CredentialVersion::FIRST,
        proof: proven.proof.clone(),
    };
    let deleted = tested.delete_user(user.id, Some(by), &event);
    assert!(matches!(deleted, Err(ChangeUserError::Store(_))), "{deleted:?}");
    proven.assert_unconsumed(tested, "a deletion");
    let second = NewSession { proof: proven.proof.clone(), ..tested.new_session(user.id, NOW) };
    let opened = tested.store.open_session(&second, &event);
    assert!(matches!(opened, Err(OpenSessionError::Store(_))), "{opened:?}");
    proven.assert_unconsumed(tested, "a login");
    let alone = NewSession { max_per_user: NonZeroU32::MIN, ..second.clone() };
    let evictions = |opened: &SessionOpened| {
        opened.ended.iter().map(|id| fixtures::event_of_session(&evicted, *id)).collect::<Vec<_>>()
    };
    let opened = tested.store.open_session(&alone, &evictions);
    assert!(matches!(opened, Err(OpenSessionError::Store(_))), "{opened:?}");
    proven.assert_unconsumed(tested, "a login that ends other sessions");
    let changed = tested.store.change_password(session.id, &new, &second, &event);
    assert!(matches!(changed, Err(OpenSessionError::Store(_))), "{changed:?}");
    proven.assert_unconsumed(tested, "a change of the password");
    let counter = AccountKey::from_bytes([7; 32]);
    let begun = AttemptEvent { ordinal: SCHEDULE.free, event: event.clone() };
    let attempt = LoginAttempt { counter, user: Some(user.id), now: NOW, event: begun };
    for _ in 1..SCHEDULE.free {
        tested.store.begin_attempt(&attempt).unwrap();
    }
    let reserved = tested.store.begin_attempt(&attempt);
    assert!(reserved.is_err(), "{reserved:?}");
    let left = tested.store.find_counter(counter).unwrap().map(|counter| counter.attempts);
    assert_eq!(left, Some(SCHEDULE.free - 1), "the attempt that begins the waiting is not counted");

    let all_ended = tested.store.end_sessions(user.id, None, &event);
    assert!(all_ended.is_err(), "{all_ended:?}");
    let ended = tested.store.end_session(session.id, None, event.at, &event);
    assert!(ended.is_err(), "{ended:?}");
    let raised = tested.store.invalidate_sessions(&event);
    assert!(raised.is_err(), "{raised:?}");
    let copy = RotateRequest {
        session: session.id,
        generation: Generation::FIRST,
        now: event.at,
        grace: std::time::Duration::ZERO,
        idle: IDLE,
    };
    let rotated = tested.store.rotate(&copy, &event);
    assert!(rotated.is_err(), "{rotated:?}");

    assert_eq!(tested.recorded(), before, "nothing more is recorded");
    let tested = &tested.reopened();
    assert!(tested.store.find_user(bob.id).unwrap().is_none(), "there is no such user");
    let found = tested.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), user.password_hash.expose(), "the stored hash");
    assert_eq!((found.credential_version, found.status), (CredentialVersion::FIRST, UserStatus::Enabled));
    let found = tested.store.find_user(disabled_user.id).unwrap().expect("stored");
    assert_eq!(found.status, UserStatus::Disabled, "the status of the user");
    assert_eq!(tested.list(user.id, NOW), [session.id, older.id], "the live sessions of the user");
    let told = tested.changes(UnixTime::EPOCH);
    assert_eq!((told.ended, told.valid_from), (vec![], UnixTime::EPOCH));
    let next = tested.present(session.id, 3, event.at);
    assert!(matches!(next, RotateOutcome::Rotated(_)), "{next:?}");
}

/// A proof with a counter of attempts, which makes a network known.
struct CountedProof {
    proof: Proof,
    counter: AccountKey,
    network: AccountKey,
    before: AttemptCounter,
}

impl CountedProof {
    fn new(tested: &TestedStore) -> Self {
        let [counter, network] = [(); 2].map(|()| fixtures::successful_attempt(&*tested.random).counter);
        for _ in 0..3 {
            let event = tested.event(EventKind::ThrottlingBegun, NOW);
            let event = AttemptEvent { ordinal: SCHEDULE.free, event };
            tested.store.begin_attempt(&LoginAttempt { counter, user: None, now: NOW, event }).unwrap();
        }
        let before = tested.store.find_counter(counter).unwrap().expect("the attempts are counted");
        let known = Some(KnownNetwork { counter: network, until: NOW + KNOWN_FOR });
        let proof = Proof::Password(SuccessfulAttempt { counter, known });
        Self { proof, counter, network, before }
    }

    /// Checks that a change which failed consumed nothing, in the store as another instance finds it.
    fn assert_unconsumed(&self, tested: &TestedStore, change: &str) {
        let tested = &tested.reopened();
        let find = |counter| tested.store.find_counter(counter).unwrap();
        assert_eq!(find(self.counter), Some(self.before), "the counter of the proof, after {change}");
        assert_eq!(find(self.network), None, "the network of the proof, after {change}");
    }
}
