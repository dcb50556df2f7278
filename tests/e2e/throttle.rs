//! Guessing over two instances that run, and an owner who goes in and out meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{Answer, PASSWORD, PATIENCE, Server, race};

const GUESS: &str = "Wr0ng-password";

/// The owner's, from where the first login comes.
const HOME: &str = "192.0.2.1";

/// Addresses are what the tests say they are, and the line is long enough for everybody.
const SETTINGS: &[(&str, &str)] = &[("SERVER__TRUSTED_PROXIES", "127.0.0.0/8"), ("HASHING__QUEUE", "256")];

on_both_databases! {
    /// BF-02, BF-05.
    // ASVS 6.3.1
    fn parallel_guesses_are_as_many_hashes_as_the_schedule_allows(database: &Database) {
        let instances = [(); 2].map(|()| Server::start_with(database, SETTINGS));
        assert_eq!(instances[0].register("alice").status, 201);
        log_in(&instances[0], HOME, "alice", PASSWORD).tokens();
        let (done, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let begun = Instant::now();
        let answers = race(GUESSES + 1, |n| {
            if n < GUESSES {
                let answer = log_in(&instances[n % 2], &elsewhere(n), ["alice", "ALICE"][n % 2], GUESS);
                is_over.fetch_or(done.fetch_add(1, Ordering::SeqCst) + 1 == GUESSES, Ordering::SeqCst);
                return vec![answer];
            }
            let mut logins = Vec::new();
            while !is_over.load(Ordering::SeqCst) && begun.elapsed() < PATIENCE {
                logins.push(log_in(&instances[logins.len() % 2], HOME, "Alice", PASSWORD));
            }
            logins
        });
        let most = most_in(begun.elapsed());
        let (owner, guesses) = answers.split_last().unwrap();
        assert!(!owner.is_empty() && owner.iter().all(|login| login.status == 200), "{owner:?}");
        let guesses: Vec<_> = guesses.iter().flatten().collect();
        let evaluated = guesses.iter().filter(|answer| answer.status == 401).count();
        assert!((FREE..=most).contains(&evaluated), "{evaluated} of {most}");
        for answer in guesses.iter().filter(|answer| answer.status != 401) {
            is_throttled(answer);
        }
        assert_eq!(failures(database), evaluated, "as many were looked at as were answered so");
        assert_eq!(events(database, "throttling_begun"), 1);
    }

    // ASVS 6.3.1
    fn serial_guesses_gain_nothing_by_a_restart_nor_by_another_spelling(database: &Database) {
        let mut instances = [(); 2].map(|()| Server::start_with(database, SETTINGS));
        database.import_user(1, "\u{e9}va", HASH);
        log_in(&instances[0], HOME, "\u{e9}va", PASSWORD).tokens();
        let spellings = ["\u{e9}va", "\u{c9}VA", "e\u{301}va", "E\u{301}Va"];
        let begun = Instant::now();
        for n in 0..1_000 {
            if n == 333 {
                let [first, second] = instances;
                first.kill();
                drop(second.terminate());
                instances = [(); 2].map(|()| Server::start_with(database, SETTINGS));
            }
            let answer = log_in(&instances[n % 2], &elsewhere(n), spellings[n % 4], GUESS);
            if answer.status != 401 {
                is_throttled(&answer);
            }
            if n % 100 == 99 {
                log_in(&instances[n % 2], HOME, spellings[n / 100 % 4], PASSWORD).tokens();
            }
        }
        let (evaluated, most) = (failures(database), most_in(begun.elapsed()));
        assert!((FREE..=most).contains(&evaluated), "{evaluated} of {most}");
        assert_eq!(database.number("SELECT count(*) FROM attempt_counters"), 2, "the account's and the owner's at home");
        assert_eq!(events(database, "throttling_begun"), 1);
    }

    /// EN-05.
    fn names_that_nobody_has_are_throttled_alike(database: &Database) {
        let server = Server::start_with(database, SETTINGS);
        assert_eq!(server.register("alice").status, 201);
        let throttled = ["alice", "nobody"].map(|name| {
            for n in 0..FREE {
                log_in(&server, &elsewhere(n), name, GUESS).is_problem(401, "invalid_credentials");
            }
            let answer = log_in(&server, &elsewhere(9), name, GUESS);
            is_throttled(&answer);
            let mut body = answer.json();
            body["request_id"] = json!(null);
            let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            (answer.header("retry-after").unwrap().to_owned(), answer.header("content-length").unwrap().to_owned(), names, body)
        });
        let [known, unknown] = throttled;
        assert_eq!(known, unknown);
    }

    // ASVS 15.2.2
    fn owner_at_known_network_logs_in_during_a_crowd(database: &Database) {
        // At most one hash at a time and four callers of each class.
        let small = [("HASHING__THREADS", "1"), ("HASHING__QUEUE", "1"), ("HASHING__BCRYPT_COST", "11")];
        let server = Server::start_with(database, &[&SETTINGS[..1], &small].concat());
        assert_eq!(server.register("alice").status, 201);
        log_in(&server, HOME, "alice", PASSWORD).tokens();
        let (refused, is_over, begun) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
        let is_besieged = || refused.load(Ordering::SeqCst) >= CROWD;
        let answers = race(CROWD + 1, |n| {
            if n < CROWD {
                let mut guesses = Vec::new();
                while !is_over.load(Ordering::SeqCst) && begun.elapsed() < PATIENCE {
                    let network = n * 1_000 + guesses.len();
                    // New IPv6 networks everywhere, and those of one /48.
                    let address = [format!("2001:db8:{network:x}::1"), format!("2001:db8:ffff:{network:x}::1")];
                    let guess = log_in(&server, &address[n % 2], &format!("guess-{network}"), GUESS);
                    refused.fetch_add(usize::from(guess.status == 503), Ordering::SeqCst);
                    guesses.push(guess);
                }
                return guesses;
            }
            while !is_besieged() && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            let logins = (0..5).map(|_| log_in(&server, HOME, "Alice", PASSWORD)).collect();
            is_over.store(true, Ordering::SeqCst);
            logins
        });
        assert!(is_besieged(), "the crowd filled its queue");
        let (owner, crowd) = answers.split_last().unwrap();
        assert!(owner.len() == 5 && owner.iter().all(|login| login.status == 200), "{owner:?}");
        for guess in crowd.iter().flatten() {
            match guess.status {
                401 => guess.is_problem(401, "invalid_credentials"),
                _ => guess.is_problem(503, "overloaded"),
            }
        }
    }

    // ASVS 6.3.4 8.2.4
    fn what_asks_for_the_current_password_is_throttled_with_the_logins(database: &Database) {
        let server = Server::start_with(database, SETTINGS);
        server.register("alice");
        let tokens = log_in(&server, HOME, "alice", PASSWORD).tokens();
        // Their own address is that of nobody's login.
        for _ in 0..FREE - 1 {
            server.change_password(&tokens.access, GUESS, "An0ther-horse battery").is_problem(422, "invalid_request");
        }
        let current = json!({"current_password": GUESS});
        server.send_as("DELETE", "/me", &tokens.access, &current).is_problem(422, "invalid_request");
        is_throttled(&server.change_password(&tokens.access, PASSWORD, "An0ther-horse battery"));
        is_throttled(&server.send_as("DELETE", "/me", &tokens.access, &json!({"current_password": PASSWORD})));
        is_throttled(&log_in(&server, "203.0.113.7", "alice", PASSWORD));
        log_in(&server, HOME, "alice", PASSWORD).tokens();
    }
}

/// More than any schedule lets through.
const GUESSES: usize = 200;

/// More clients than fit into the small queue.
const CROWD: usize = 12;

/// How many guesses are free.
const FREE: usize = 5;

/// [`PASSWORD`] as plain bcrypt.
const HASH: &str = "$2b$04$a6UDBISJZtluc6KgbaNLqeBPCw3YCHDON0JUZmzr4/srg/B5j.xVC";

/// How many guesses the schedule allows in a time, when they begin and end anywhere in it.
fn most_in(time: Duration) -> usize {
    let waits = (0..10).map(|doublings| Duration::from_secs(1 << doublings));
    let mut sum = Duration::ZERO;
    FREE + waits
        .take_while(|wait| {
            sum += *wait;
            sum <= time
        })
        .count()
}

fn log_in(server: &Server, address: &str, username: &str, password: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("x-forwarded-for", address)];
    let body = json!({"username": username, "password": password});
    server.call("POST", "/login", &headers, Some(&body.to_string()))
}

/// Somebody else's address, each time another one.
fn elsewhere(n: usize) -> String {
    format!("2001:db8:{n:x}::1")
}

#[track_caller]
fn is_throttled(answer: &Answer) {
    answer.is_problem(429, "rate_limited");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&seconds), "{answer:?}");
}

fn failures(database: &Database) -> usize {
    usize::try_from(events(database, "login_failed")).unwrap()
}

fn events(database: &Database, kind: &str) -> i64 {
    database.number(&format!("SELECT count(*) FROM security_events WHERE kind = '{kind}'"))
}
