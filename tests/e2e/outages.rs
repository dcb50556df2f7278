//! A database that is gone, or says nothing, while requests come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::history::{Action, History, Observed, check};
use crate::proxy::Proxy;
use crate::server::{Server, race, wait_until};

///
#[test]
fn a_database_that_crashes_under_load_loses_nothing_acknowledged_and_keeps_nobody_waiting() {
    let postgres = Database::server_of_its_own();
    let database = Database::of(postgres, &postgres.create_database());
    let server = Server::start(&database);
    server.wait_until_ready();

    let history = History::new();
    let (done, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let more = |counter: &AtomicUsize, than: usize| {
        let before = counter.load(Ordering::SeqCst);
        wait_until("requests come in", || counter.load(Ordering::SeqCst) > before + than);
    };
    race(CLIENTS + 1, |n| {
        if n == CLIENTS {
            for _ in 0..2 {
                more(&done, 40);
                postgres.crash();
                more(&turned_away, 20);
                postgres.restart();
            }
            // It heals by itself.
            more(&done, 40);
            is_over.store(true, Ordering::SeqCst);
            return;
        }
        let ask = |call: &dyn Fn() -> crate::server::Answer, fine: u16| {
            let asked = Instant::now();
            let answer = call();
            assert!(asked.elapsed() < LONGEST, "{:?}: {answer:?}", asked.elapsed());
            if answer.status == fine {
                done.fetch_add(1, Ordering::SeqCst);
                return Some(answer);
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("retry-after").is_some() && !answer.text.contains("SQL"), "{answer:?}");
            turned_away.fetch_add(1, Ordering::SeqCst);
            None
        };
        let mut newest = None;
        let mut tokens = None;
        for m in 0.. {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            let name = format!("user-{n}-{m}");
            let register = || Some(server.register(&name));
            let recorded = || history.record(&name, Action::Register, register).1.unwrap();
            newest = ask(&recorded, 201).map(|_| name.clone()).or(newest);
            // Whatever became of a refresh that was turned away, it can be repeated.
            tokens = match (&tokens, &newest) {
                (None, Some(name)) => {
                    let login = ask(&|| server.try_login(name, crate::server::PASSWORD), 200);
                    login.map(|answer| answer.tokens())
                }
                (Some(known), _) => {
                    let known: &crate::server::Tokens = known;
                    let next = ask(&|| server.refresh(&known.refresh), 200);
                    Some(next.map_or_else(|| known.clone(), |answer| answer.tokens()))
                }
                (None, None) => None,
            };
        }
    });
    let operations = history.operations();
    let chain = Observed::verify_chain(&database);
    let observed = Observed::read(&database, "user-", &BTreeMap::new(), &operations, chain);
    assert_eq!(
        check(&operations, &observed),
        [""; 0],
        "nothing acknowledged is lost, and nothing is half applied"
    );
    assert!(observed.users.len() > 20, "{}", observed.users.len());
    let (status, log) = server.terminate();
    assert!(status.success() && !log.iter().any(|line| line.contains("panicked")), "{log:#?}");
}

/// A call that has reached the database waits for it (`crates/adapters/src/db.rs` says why); nothing else does.
#[test]
fn a_database_that_says_nothing_is_noticed_and_then_forgotten() {
    let database = Database::postgres();
    let is_silent = Arc::new(AtomicBool::new(false));
    let rule = Arc::clone(&is_silent);
    let proxy = Proxy::before(&database, move || {
        let held = |rule: &Arc<AtomicBool>| {
            let rule = Arc::clone(rule);
            move |_: &[u8]| {
                while rule.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                true
            }
        };
        (held(&rule), held(&rule))
    });
    let server =
        Server::start_with(&database, &[("DATABASE__URL", &proxy.url), ("DATABASE__POOL_SIZE", "2")]);
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
    let tokens = server.login("alice");

    is_silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let answers = race(CLIENTS + 1, |n| {
        if n < CLIENTS {
            return server.get_as("/me", &tokens.access).status;
        }
        assert_eq!(server.get_as("/protected", &tokens.access).status, 200, "which asks nobody");
        wait_until("it is not ready", || server.get("/ready").status == 503);
        assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
        assert_eq!(server.get("/health").status, 200);
        // What it knows of ends is old by and by, and then no token is taken on trust.
        wait_until("no token is taken", || {
            let asked = Instant::now();
            let status = server.get_as("/protected", &tokens.access).status;
            assert!(asked.elapsed() < LONGEST && [200, 503].contains(&status), "{status}");
            status == 503
        });
        is_silent.store(false, Ordering::SeqCst);
        0
    });
    assert!(answers[..CLIENTS].iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.contains(&503), "more came than there are connections: {answers:?}");
    let spoken = Instant::now();
    server.wait_until_ready();
    wait_until("tokens are taken", || server.get_as("/me", &tokens.access).status == 200);
    assert!(spoken.elapsed() < LONGEST, "{:?}", spoken.elapsed());
    assert_eq!(server.refresh(&tokens.refresh).status, 200);
}

/// Clients that ask one thing after the other.
const CLIENTS: usize = 6;

/// How long anything may take: a place in the line, a connection, and a little.
const LONGEST: Duration = Duration::from_secs(10);
