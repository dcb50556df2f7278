use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_domain::account::{MockUserStore, NewUser, UserStore};
use portcullis_domain::audit::{EventKind, LoginFailure, MockAuditLog};
use portcullis_domain::password::{HashError, MockPasswordHasher, PasswordHash, Verdict};
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::{LoginError, OpenSessionError};
use portcullis_domain::{AuthConfig, Ports, Unavailable};
use portcullis_testkit::fixtures::{self, NOW, PASSWORD};
use portcullis_testkit::{FaultyStore, MemoryStore, PlainHasher};

use super::{World, broken_store, mock_sessions, random};

/// Stores a user as an import would: with any name and any hash.
pub(super) fn import(store: &MemoryStore, name: &str, hash: PasswordHash) -> NewUser {
    let user = NewUser { password_hash: hash, ..fixtures::new_user(name, &*random()) };
    let event = fixtures::event(EventKind::UserRegistered, NOW, &*random());
    store.insert_user(&user, &event).unwrap();
    user
}

fn assert_refused(world: &World, username: &str, password: &str, failure: LoginFailure) {
    let before = world.hasher.work();
    let result = world.try_login(username, password);
    assert!(matches!(result, Err(LoginError::InvalidCredentials)), "{result:?}");
    assert_eq!(world.hasher.work() - before, 1, "the work of one hash");
    assert_eq!(world.events().last(), Some(&EventKind::LoginFailed(failure)));
}

// ASVS 16.3.1
#[test]
fn the_right_password_opens_a_session() {
    let world = World::new();
    let user = world.register("Alice");
    let tokens = world.try_login("aLiCe", PASSWORD).unwrap();
    assert_eq!(tokens.access_expires_in, Duration::from_mins(15));
    assert_eq!(tokens.refresh_expires_in, Duration::from_hours(24 * 30));
    let event = world.store.events().pop().unwrap();
    assert_eq!(event.kind, EventKind::LoginSucceeded);
    assert_eq!((event.user, event.session), (Some(user.id), Some(tokens.session)));
}

// ASVS 7.2.2
#[test]
fn two_logins_are_two_sessions() {
    let world = World::new();
    world.register("alice");
    let (first, second) = (world.login("alice"), world.login("alice"));
    assert_ne!(first.session, second.session);
    assert_ne!(first.access.expose(), second.access.expose());
    assert_ne!(first.refresh.expose(), second.refresh.expose());
}

#[test]
fn a_session_never_outlives_its_absolute_end_even_when_idle_is_longer() {
    let mut rules = AuthConfig::default();
    rules.lifetimes.refresh_absolute = Duration::from_hours(1);
    let world = World::with(rules, |ports| ports);
    world.register("alice");
    assert_eq!(world.login("alice").refresh_expires_in, Duration::from_hours(1));
}

// ASVS 16.3.1
#[test]
fn login_with_an_unknown_username_costs_one_hash() {
    let world = World::new();
    assert_refused(&world, "nobody", PASSWORD, LoginFailure::UnknownUser);
    assert_eq!(world.store.events().pop().unwrap().user, None);
}

// ASVS 16.3.1
#[test]
fn login_with_a_wrong_password_costs_one_hash() {
    let world = World::new();
    let user = world.register("alice");
    assert_refused(&world, "alice", "Wr0ng-password", LoginFailure::WrongPassword);
    assert_eq!(world.store.events().pop().unwrap().user, Some(user.id));
}

#[test]
fn login_of_a_disabled_user_costs_one_hash_and_says_the_same() {
    let world = World::new();
    let user = world.register("alice");
    world.disable(&user);
    assert_refused(&world, "alice", PASSWORD, LoginFailure::UserDisabled);
    assert_refused(&world, "alice", "Wr0ng-password", LoginFailure::WrongPassword);
}

// ASVS 6.2.10
#[test]
fn a_password_does_not_grow_old() {
    let world = World::new();
    world.register("alice");
    world.wait(5 * 365 * 86_400);
    world.login("alice");
}

#[test]
fn what_cannot_exist_is_refused_after_one_hash() {
    let world = World::new();
    for name in ["", " ", "no such name!", "' OR 1=1 --", "\u{202e}evil", &"x".repeat(256)] {
        assert_refused(&world, name, "", LoginFailure::UnknownUser);
    }
}

#[test]
fn what_is_longer_than_anything_is_refused_before_any_hash() {
    let world = World::new();
    for (name, password) in
        [("x".repeat(257), String::new()), (String::new(), "x".repeat(257)), ("a\0".into(), "b\0".into())]
    {
        let result = world.try_login(&name, &password);
        assert!(matches!(result, Err(LoginError::Rejected(_))), "{result:?}");
    }
    assert_eq!(world.hasher.work(), 0);
    assert_eq!(world.events(), []);
}

#[test]
fn imported_names_and_short_passwords_log_in_and_are_upgraded() {
    let world = World::new();
    let user = import(&world.store, "bob@example.com", PlainHasher::outdated("pw"));
    world.try_login("BOB@example.com", "pw").unwrap();
    let upgraded = world.store.find_user(user.id).unwrap().unwrap().password_hash;
    assert!(upgraded.expose().starts_with("plain:"), "rehashed with the current scheme");
    assert!(world.events().contains(&EventKind::HashUpgraded));
    world.try_login("bob@example.com", "pw").unwrap();
    assert_eq!(world.events().iter().filter(|kind| **kind == EventKind::HashUpgraded).count(), 1, "once");
}

#[test]
fn a_wrong_password_upgrades_nothing() {
    let world = World::new();
    let user = import(&world.store, "bob", PlainHasher::outdated("pw"));
    assert_refused(&world, "bob", "other", LoginFailure::WrongPassword);
    assert!(world.store.find_user(user.id).unwrap().unwrap().password_hash.expose().starts_with("old:"));
}

#[test]
fn a_failing_upgrade_does_not_fail_the_login() {
    let store = Arc::new(MemoryStore::new());
    let user = import(&store, "bob", PlainHasher::outdated("pw"));
    let found = store.find_user(user.id).unwrap();
    let mut users = MockUserStore::new();
    users.expect_find_user_by_name().returning(move |_| Ok(found.clone()));
    users.expect_upgrade_hash().once().returning(|_, _, _, _| Err(broken_store()));
    let ports = portcullis_testkit::ports_over(&store);
    let ports = FaultyStore::within(ports, |store| FaultyStore { users: Arc::new(users), ..store });
    let world = World::with(AuthConfig::default(), |_| ports);
    assert!(world.try_login("bob", "pw").is_ok());
}

#[test]
fn an_unusable_hash_is_its_users_trouble_alone() {
    let world = World::new();
    import(&world.store, "bob", PasswordHash::new("$2b$31$damaged".to_owned()));
    assert_refused(&world, "bob", "pw", LoginFailure::UnusableHash);
}

#[test]
fn unusable_hash_is_reported_with_its_user() {
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("x".to_owned())));
    hasher.expect_verify().returning(|_, _| -> Result<Verdict, _> { Err(HashError::Unusable("damaged")) });
    let reported = Arc::new(Mutex::new(Vec::new()));
    let reports = Arc::clone(&reported);
    hasher
        .expect_report_unusable()
        .returning(move |user, reason| reports.lock().unwrap().push((user, reason)));
    let world = World::with(AuthConfig::default(), |ports| Ports { hasher: Arc::new(hasher), ..ports });
    let alice = world.register("alice");
    let result = world.try_login("alice", PASSWORD);
    assert!(matches!(result, Err(LoginError::InvalidCredentials)), "{result:?}");
    assert_eq!(*reported.lock().unwrap(), [(alice.id, "damaged")]);
}

#[test]
fn a_corrupt_row_answers_like_an_unknown_name() {
    let mut users = MockUserStore::new();
    users
        .expect_find_user_by_name()
        .returning(|_| Err(StoreError::new(StoreErrorKind::Corrupt, "users.username")));
    let world = World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { users: Arc::new(users), ..store })
    });
    assert_refused(&world, "bob", "pw", LoginFailure::UnknownUser);
}

#[test]
fn a_user_who_changes_during_the_login_gets_no_session() {
    let mut sessions = mock_sessions();
    sessions.expect_open_session().once().returning(|_, _| Err(OpenSessionError::UserChanged));
    let world = World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { sessions: Arc::new(sessions), ..store })
    });
    world.register("alice");
    assert_refused(&world, "alice", PASSWORD, LoginFailure::UserChanged);
}

#[test]
fn a_login_beyond_the_bound_ends_the_oldest_session_at_once() {
    let rules =
        AuthConfig { max_sessions_per_user: NonZeroU32::MIN.saturating_add(1), ..AuthConfig::default() };
    let world = World::with(rules, |ports| ports);
    let user = world.register("alice");
    let [oldest, old, new] = [(); 3].map(|()| {
        world.wait(1);
        world.login("alice")
    });
    super::assert_refused(&world.service, &oldest);
    world.assert_over(&oldest);
    for tokens in [&old, &new] {
        world.live(tokens);
    }
    let mut evicted = world.store.events();
    evicted.retain(|event| event.kind == EventKind::SessionEvicted);
    let [event] = &evicted[..] else { panic!("one: {evicted:?}") };
    assert_eq!((event.user, event.session, event.at), (Some(user.id), Some(oldest.session), world.now()));
}

// ASVS 16.5.3
#[test]
fn a_failed_login_that_cannot_be_recorded_is_not_answered() {
    let mut events = MockAuditLog::new();
    events.expect_record_event().once().returning(|_| Err(broken_store()));
    let world = World::with(AuthConfig::default(), |ports| {
        FaultyStore::within(ports, |store| FaultyStore { audit_log: Arc::new(events), ..store })
    });
    let result = world.try_login("nobody", PASSWORD);
    assert!(matches!(result, Err(LoginError::Unavailable(Unavailable::Store(_)))), "{result:?}");
}

// ASVS 11.2.5 16.5.3
#[test]
fn a_hasher_that_fails_lets_nobody_in() {
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("x".to_owned())));
    hasher
        .expect_verify()
        .returning(|_, _| -> Result<Verdict, _> { Err(HashError::Failed("no memory".into())) });
    let world = World::with(AuthConfig::default(), |ports| Ports { hasher: Arc::new(hasher), ..ports });
    world.register("alice");
    let result = world.try_login("alice", PASSWORD);
    assert!(
        matches!(result, Err(LoginError::Unavailable(Unavailable::Hash(HashError::Failed(_))))),
        "{result:?}"
    );
}
