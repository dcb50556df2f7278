//! Guessing does not scale, and nobody is locked out by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::account::DeleteAccountError;
use portcullis_domain::audit::{EventKind, LoginFailure};
use portcullis_domain::client::{ClientInfo, NetworkStatus};
use portcullis_domain::password::{
    ChangePasswordError, HashError, MockPasswordHasher, PasswordChange, PasswordHash, Verdict,
};
use portcullis_domain::session::LoginError;
use portcullis_domain::throttle::{FORGOTTEN_AFTER, KNOWN_FOR, SCHEDULE};
use portcullis_domain::token::TokenSet;
use portcullis_domain::{AuthConfig, Ports, Throttled, Unavailable};
use portcullis_testkit::PlainHasher;
use portcullis_testkit::fixtures::{self, PASSWORD};

use super::{Services, World, client, password, tokens_of};

const WRONG: &str = "Wr0ng-password";
const NEW: &str = "An0ther-horse battery";
const ELSEWHERE: &str = "203.0.113.66";

fn from(address: &str) -> ClientInfo {
    ClientInfo::new(address.parse().ok(), None)
}

fn log_in(service: &Services, address: &str, username: &str, password: &str) -> Result<TokenSet, LoginError> {
    let (credentials, client) = (fixtures::credentials(username, password), from(address));
    let may = service.auth.may_log_in(&credentials, &client);
    let result = service.auth.login(&credentials, &client).map(tokens_of);
    // Whoever asks first learns what the login would say.
    match (&may, &result) {
        (Err(LoginError::Throttled(told)), Err(LoginError::Throttled(refused))) => assert_eq!(told, refused),
        (Ok(_network), result) => assert!(!matches!(result, Err(LoginError::Throttled(_))), "{result:?}"),
        other => panic!("{other:?}"),
    }
    result
}

/// The wait that an attempt was told of; `None` where the password was looked at.
fn wait_of<T: std::fmt::Debug>(result: &Result<T, LoginError>) -> Option<Duration> {
    match result {
        Err(LoginError::Throttled(Throttled { retry_after })) => Some(*retry_after),
        Err(LoginError::InvalidCredentials) => None,
        other => panic!("{other:?}"),
    }
}

/// Uses up what is free from an address.
fn use_up(world: &World, address: &str, username: &str) {
    for _ in 0..SCHEDULE.free {
        let result = log_in(&world.service, address, username, WRONG);
        assert_eq!(wait_of(&result), None);
    }
}

#[test]
fn a_thousand_guesses_in_a_day_are_at_most_a_hundred_hashes_however_the_name_is_typed() {
    let world = World::new();
    super::login::import(&world.store, "\u{c9}va.Ortiz", PlainHasher::outdated(PASSWORD));
    let spellings = ["\u{c9}va.Ortiz", "\u{e9}VA.ORTIZ", "e\u{301}va.ortiz", "E\u{301}VA.oRTIZ"];
    let before = world.hasher.work();
    for n in 0..1_000 {
        // Each from another address, at one of several instances, of which one has just started.
        let service = match n % 3 {
            0 => world.service.clone(),
            _ => {
                let other = world.other_instance_with(Arc::clone(&world.hasher) as _);
                other.maintenance.sync().unwrap();
                other
            }
        };
        let address = format!("198.51.{}.{}", n / 250, n % 250);
        let result = log_in(&service, &address, spellings[n % spellings.len()], WRONG);
        assert!(result.is_err());
        world.wait(86);
    }
    let hashes = world.hasher.work() - before;
    assert!((90..=100).contains(&hashes), "{hashes}");
    let failures = world.count(EventKind::LoginFailed(LoginFailure::WrongPassword));
    assert_eq!(failures, hashes, "who has to wait leaves no event");
    assert_eq!(world.count(EventKind::ThrottlingBegun), 1);
}

#[test]
fn a_name_that_nobody_has_waits_like_any_other() {
    let world = World::new();
    world.register("alice");
    let mut told = ["alice", "nobody"].map(|name| {
        let mut told = Vec::new();
        for _ in 0..40 {
            told.push(wait_of(&log_in(&world.service, ELSEWHERE, name, WRONG)));
            world.wait(7);
        }
        told
    });
    assert!(told[0].iter().any(Option::is_some) && told[0].iter().filter(|wait| wait.is_none()).count() > 5);
    let [alice, nobody] = &mut told;
    assert_eq!(alice, nobody);
    let events = world.store.events();
    let begun: Vec<_> = events.iter().filter(|event| event.kind == EventKind::ThrottlingBegun).collect();
    assert_eq!(begun.len(), 2);
    assert!(begun[0].user.is_some() && begun[1].user.is_none());
}

#[test]
fn who_has_to_wait_is_told_how_long_and_nothing_is_hashed() {
    let world = World::new();
    world.register("alice");
    use_up(&world, ELSEWHERE, "alice");
    let (work, events) = (world.hasher.work(), world.events());
    for password in [WRONG, PASSWORD] {
        let result = log_in(&world.service, ELSEWHERE, "alice", password);
        assert!(
            matches!(result, Err(LoginError::Throttled(Throttled { retry_after: wait })) if wait == SCHEDULE.first_wait),
            "{result:?}"
        );
    }
    assert_eq!((world.hasher.work(), world.events()), (work, events));
    world.wait(1);
    assert!(log_in(&world.service, ELSEWHERE, "alice", PASSWORD).is_ok());
}

#[test]
fn the_right_password_begins_anew_and_ends_the_waiting() {
    let world = World::new();
    let user = world.register("alice");
    use_up(&world, ELSEWHERE, "alice");
    world.wait(1);
    log_in(&world.service, ELSEWHERE, "alice", PASSWORD).unwrap();
    let ended =
        world.store.events().into_iter().rev().take(2).find(|event| event.kind.name() == "throttling_ended");
    let ended = ended.expect("with the login");
    assert_eq!(
        (ended.kind, ended.user),
        (EventKind::ThrottlingEnded { attempts: SCHEDULE.free }, Some(user.id))
    );
    use_up(&world, ELSEWHERE, "alice");
    use_up(&world, "203.0.113.67", "alice");
}

/// BF-05.
// ASVS 8.2.4
#[test]
fn an_owner_at_a_known_address_logs_in_while_others_guess() {
    let world = World::new();
    world.register("alice");
    let home = "2001:db8:1:2::7";
    log_in(&world.service, home, "alice", PASSWORD).unwrap();
    for n in 0..500 {
        // From the neighbour's network too.
        let address = ["203.0.113.66", "2001:db8:1:3::7"][n % 2];
        let _guessed = log_in(&world.service, address, "alice", WRONG);
        world.wait(600);
        // From anywhere in the own one.
        let here = format!("2001:db8:1:2:{n}::8");
        assert!(log_in(&world.service, &here, "alice", PASSWORD).is_ok(), "{n}");
        if n % 50 == 7 {
            let result = log_in(&world.service, &here, "alice", WRONG);
            assert_eq!(wait_of(&result), None, "a slip of the owner's is free");
        }
    }
    let result = log_in(&world.service, ELSEWHERE, "alice", WRONG);
    assert!(wait_of(&result) > Some(Duration::from_hours(1)), "no login at home ends that: {result:?}");
}

#[test]
fn guesses_from_a_known_address_go_by_the_same_schedule_and_count_there_alone() {
    let world = World::new();
    world.register("alice");
    log_in(&world.service, "192.0.2.1", "alice", PASSWORD).unwrap();
    log_in(&world.service, "192.0.2.2", "alice", PASSWORD).unwrap();
    use_up(&world, "192.0.2.1", "alice");
    let result = log_in(&world.service, "192.0.2.1", "alice", PASSWORD);
    assert_eq!(wait_of(&result), Some(SCHEDULE.first_wait));
    use_up(&world, "192.0.2.2", "alice");
    use_up(&world, ELSEWHERE, "alice");
    let result = log_in(&world.service, "192.0.2.3", "alice", PASSWORD);
    assert_eq!(wait_of(&result), Some(SCHEDULE.first_wait), "everywhere else is one");
}

#[test]
fn an_address_is_known_for_a_month_after_the_last_login_and_to_one_account() {
    let world = World::new();
    world.register("alice");
    world.register("bob");
    log_in(&world.service, "192.0.2.1", "alice", PASSWORD).unwrap();
    world.clock.advance(KNOWN_FOR / 2);
    log_in(&world.service, "192.0.2.1", "alice", PASSWORD).unwrap();
    world.clock.advance(KNOWN_FOR - Duration::from_secs(1));
    for name in ["alice", "bob"] {
        use_up(&world, ELSEWHERE, name);
    }
    let result = log_in(&world.service, "192.0.2.1", "bob", PASSWORD);
    assert!(wait_of(&result).is_some(), "it is Alice's");
    let result = log_in(&world.service, "192.0.2.1", "alice", WRONG);
    assert_eq!(wait_of(&result), None, "it is known for a second more");
    world.wait(1);
    let result = log_in(&world.service, ELSEWHERE, "alice", WRONG);
    assert_eq!(wait_of(&result), None, "the first wait is over");
    let result = log_in(&world.service, "192.0.2.1", "alice", PASSWORD);
    assert_eq!(wait_of(&result), Some(SCHEDULE.first_wait * 2), "it counts where all others do");
}

#[test]
fn network_is_known_only_to_accounts_logged_in_there() {
    let world = World::new();
    world.register("alice");
    world.register("bob");
    let status = |name: &str, address: &str| {
        let credentials = fixtures::credentials(name, WRONG);
        world.service.auth.may_log_in(&credentials, &from(address)).unwrap()
    };
    assert_eq!(status("alice", "192.0.2.1"), NetworkStatus::Unknown, "before the first login");
    log_in(&world.service, "192.0.2.1", "alice", WRONG).unwrap_err();
    assert_eq!(status("alice", "192.0.2.1"), NetworkStatus::Unknown, "after a wrong password");
    log_in(&world.service, "192.0.2.1", "alice", PASSWORD).unwrap();
    assert_eq!(status("ALICE", "192.0.2.1"), NetworkStatus::Known);
    for (name, address) in
        [("alice", "192.0.2.2"), ("alice", "no address"), ("bob", "192.0.2.1"), ("nobody", "192.0.2.1")]
    {
        assert_eq!(status(name, address), NetworkStatus::Unknown, "{name} at {address}");
    }
    world.clock.advance(KNOWN_FOR);
    assert_eq!(status("alice", "192.0.2.1"), NetworkStatus::Unknown, "after a month without a login");
}

#[test]
fn who_has_no_address_counts_with_everybody() {
    let world = World::new();
    world.register("alice");
    use_up(&world, "no address", "alice");
    assert!(wait_of(&log_in(&world.service, ELSEWHERE, "alice", WRONG)).is_some());
    world.wait(1);
    log_in(&world.service, "no address", "alice", PASSWORD).unwrap();
}

/// BF-04: whatever asks for a password counts into one counter, and waits with it.
#[test]
fn every_way_to_try_a_password_is_one_way() {
    let world = World::new();
    world.register("alice");
    let tokens = log_in(&world.service, "192.0.2.1", "alice", PASSWORD).unwrap();
    let bearer = world.live(&tokens);
    let change = |current| {
        let form = PasswordChange { current: password(current), new: password(NEW) };
        world.service.account.change_password(&bearer, &form, &from(ELSEWHERE))
    };
    let delete = |current| world.service.account.delete(&bearer, &password(current), &from(ELSEWHERE));
    for _ in 0..2 {
        assert!(matches!(change(WRONG), Err(ChangePasswordError::Incorrect)));
        assert!(matches!(delete(WRONG), Err(DeleteAccountError::Incorrect)));
    }
    assert_eq!(wait_of(&log_in(&world.service, ELSEWHERE, "alice", WRONG)), None, "the fifth");
    let work = world.hasher.work();
    let first = SCHEDULE.first_wait;
    assert_eq!(wait_of(&log_in(&world.service, ELSEWHERE, "alice", PASSWORD)), Some(first));
    let changed = change(PASSWORD);
    assert!(
        matches!(changed, Err(ChangePasswordError::Throttled(Throttled { retry_after: wait })) if wait == first),
        "{changed:?}"
    );
    let deleted = delete(PASSWORD);
    assert!(
        matches!(deleted, Err(DeleteAccountError::Throttled(Throttled { retry_after: wait })) if wait == first),
        "{deleted:?}"
    );
    assert_eq!(world.hasher.work(), work);
    // A session is no guess.
    assert!(world.service.auth.refresh(&tokens.refresh, &client()).is_ok());

    world.wait(1);
    let tokens = change(PASSWORD).unwrap();
    assert_eq!(world.count(EventKind::ThrottlingEnded { attempts: SCHEDULE.free }), 1);
    use_up(&world, ELSEWHERE, "alice");
    let bearer = world.live(&tokens);
    world.wait(1);
    world.service.account.delete(&bearer, &password(NEW), &from(ELSEWHERE)).unwrap();
    assert_eq!(world.count(EventKind::ThrottlingEnded { attempts: SCHEDULE.free }), 2);
    use_up(&world, ELSEWHERE, "alice");
}

#[test]
fn what_no_password_can_be_is_no_attempt() {
    let world = World::new();
    world.register("alice");
    let bearer = world.live(&world.login("alice"));
    let rows = world.store.counter_rows();
    for _ in 0..10 {
        let result = world.service.account.delete(&bearer, &password("a\0b"), &from(ELSEWHERE));
        assert!(matches!(result, Err(DeleteAccountError::Incorrect)), "{result:?}");
        assert!(world.try_login("alice", &"x".repeat(300)).is_err());
    }
    assert_eq!(world.store.counter_rows(), rows);
    use_up(&world, ELSEWHERE, "alice");
}

#[test]
fn an_attempt_that_came_to_nothing_stays_counted() {
    let mut hasher = MockPasswordHasher::new();
    hasher.expect_hash().returning(|_| Ok(PasswordHash::new("x".to_owned())));
    hasher.expect_verify().times(5).returning(|_, _| -> Result<Verdict, _> { Err(HashError::Overloaded) });
    let world = World::with(AuthConfig::default(), |ports| Ports { hasher: Arc::new(hasher), ..ports });
    world.register("alice");
    for _ in 0..SCHEDULE.free {
        let result = log_in(&world.service, ELSEWHERE, "alice", PASSWORD);
        assert!(
            matches!(result, Err(LoginError::Unavailable(Unavailable::Hash(HashError::Overloaded)))),
            "{result:?}"
        );
    }
    assert!(wait_of(&log_in(&world.service, ELSEWHERE, "alice", PASSWORD)).is_some());
}

#[test]
fn the_right_password_of_a_disabled_user_forgives_nothing() {
    let world = World::new();
    let user = world.register("alice");
    world.disable(&user);
    for _ in 0..SCHEDULE.free {
        assert_eq!(wait_of(&log_in(&world.service, ELSEWHERE, "alice", PASSWORD)), None);
    }
    assert!(wait_of(&log_in(&world.service, ELSEWHERE, "alice", PASSWORD)).is_some());
}

#[test]
fn what_is_over_is_swept_out_with_an_event_of_what_ended() {
    let world = World::new();
    let user = world.register("alice");
    log_in(&world.service, "192.0.2.1", "alice", PASSWORD).unwrap();
    use_up(&world, ELSEWHERE, "alice");
    log_in(&world.service, ELSEWHERE, "nobody", WRONG).unwrap_err();
    assert_eq!(world.store.counter_rows(), 3);
    let mut purger = world.service.maintenance.purger();
    world.clock.advance(FORGOTTEN_AFTER);
    purger.step().unwrap();
    assert_eq!(world.store.counter_rows(), 2, "Alice's has to wait a second longer");
    world.wait(1);
    purger.step().unwrap();
    assert_eq!(world.store.counter_rows(), 1, "the known network");
    let event = world.store.events().pop().unwrap();
    assert_eq!((event.kind, event.user), (EventKind::ThrottlingEnded { attempts: 5 }, Some(user.id)));
    assert_eq!(event.client, ClientInfo::default());

    world.clock.advance(KNOWN_FOR);
    purger.step().unwrap();
    assert_eq!(world.store.counter_rows(), 0);
    assert_eq!(world.count(EventKind::ThrottlingEnded { attempts: 5 }), 1);
}

#[test]
fn many_counters_are_swept_out_in_steps() {
    let world = World::new();
    let batch = portcullis_domain::maintenance::Purger::BATCH;
    for n in 0..batch + 3 {
        log_in(&world.service, ELSEWHERE, &format!("nobody-{n}"), WRONG).unwrap_err();
    }
    world.clock.advance(FORGOTTEN_AFTER);
    let mut purger = world.service.maintenance.purger();
    assert_eq!(purger.step().unwrap(), portcullis_domain::maintenance::Purger::STEP);
    assert_eq!(world.store.counter_rows(), 3);
    assert_eq!(purger.step().unwrap(), portcullis_domain::maintenance::Purger::PAUSE);
    assert_eq!(world.store.counter_rows(), 0);
}

/// ASVS 6.3.4: there is no path past the gate. Whatever verifies a password or gives out tokens is listed here, and a new
/// one is an argument. (That each of those goes through the gate, the compiler sees to: it asks for the proof.)
// ASVS 7.6.2
#[test]
fn every_path_to_a_password_or_a_token_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = sources(&root);
    let callers_of = |call: &str| -> Vec<_> {
        let calls = |path: &&PathBuf| fs::read_to_string(path).unwrap().contains(call);
        let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        sources.iter().filter(calls).map(name).collect()
    };
    assert_eq!(callers_of("hasher.verify("), ["throttle/begin.rs"]);
    assert_eq!(callers_of("Admitted {"), ["throttle/begin.rs"]);
    assert_eq!(callers_of("access_tokens.sign("), ["token/issue.rs"]);
    assert_eq!(callers_of("refresh_tokens.issue("), ["token/issue.rs"]);
    // A session's first tokens require that the store consumed a proof, and a successful attempt is made of `Admitted`.
    // The next ones require the last refresh token, which an attacker cannot guess.
    assert_eq!(callers_of("SuccessfulAttempt {"), ["throttle/attempt.rs", "throttle/begin.rs"]);
    assert_eq!(
        callers_of(".issue("),
        ["password/change.rs", "session/login.rs", "session/refresh.rs", "token/issue.rs"]
    );
    assert_eq!(callers_of(".verify(&admitted"), ["password/reauthenticate.rs", "session/login.rs"]);
}

/// Returns the Rust files under a folder, sorted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources.extend(self::sources(&path)),
            false => sources.push(path),
        }
    }
    sources.sort();
    sources
}
