//! How the end of a session reaches every instance, in time, whatever else goes on.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{PASSWORD, Server, Tokens, race, run, wait_until};

/// In which time an end that was acknowledged by one instance must be known to all.
const PROMISE: Duration = Duration::from_secs(1);

/// How many rounds, by how many pairs of threads: one refreshes, the other one ends the session.
const ROUNDS: usize = 1_000;
const PAIRS: usize = 4;

/// The ways in which a session ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    LogoutByRefreshToken,
    LogoutByAccessToken,
    PasswordChange,
    Disable,
    Expiry,
}

const ENDS: [End; 5] =
    [End::LogoutByRefreshToken, End::LogoutByAccessToken, End::PasswordChange, End::Disable, End::Expiry];

/// What is known of the tokens of a session that ended.
struct Ended {
    at: Instant,
    end: End,
    tokens: Vec<Tokens>,
}

// ASVS 7.4.1
#[test]
fn nothing_of_a_session_works_after_its_end_was_acknowledged() {
    let database = Database::postgres();
    let instances = [Server::start(&database), Server::start(&database)];
    let opened = AtomicU64::new(0);
    race(PAIRS, |pair| {
        let mut user = User::new(&instances[0], pair);
        let mut waiting: VecDeque<Ended> = VecDeque::new();
        for round in 0..ROUNDS / PAIRS {
            let end = ENDS[(round + pair) % ENDS.len()];
            waiting.push_back(user.round(&database, &instances, end, round));
            opened.fetch_add(1 + u64::from(end == End::PasswordChange), Ordering::Relaxed);
            while waiting.front().is_some_and(|ended| ended.at.elapsed() > PROMISE) {
                is_known_to_all(&instances, &waiting.pop_front().unwrap());
            }
        }
        for ended in waiting {
            // The promise is a time, so the wait is one.
            std::thread::sleep(PROMISE.saturating_sub(ended.at.elapsed()));
            is_known_to_all(&instances, &ended);
        }
    });
    let rows = database.number("SELECT count(*) FROM sessions");
    assert_eq!(
        u64::try_from(rows).unwrap(),
        opened.into_inner(),
        "one row a session, whatever happens to it"
    );
}

/// A user of one pair of threads, and the password of the moment.
struct User {
    name: String,
    password: String,
}

impl User {
    fn new(server: &Server, pair: usize) -> Self {
        let name = format!("user-{pair}");
        assert_eq!(server.register(&name).status, 201);
        Self { name, password: PASSWORD.to_owned() }
    }

    /// Logs in, refreshes as fast as it goes, and ends the session meanwhile.
    fn round(&mut self, database: &Database, instances: &[Server; 2], end: End, round: usize) -> Ended {
        let acting = &instances[round % 2];
        let first = acting.try_login(&self.name, &self.password).tokens();
        let given = Mutex::new(vec![first.clone()]);
        let is_ended = AtomicBool::new(false);
        let new_password = format!("Corr3ct-horse {round}");
        let outcomes = race(2, |n| {
            if n == 0 {
                refresh_until_refused(instances, &first, &given, &is_ended);
                return None;
            }
            // Some refreshes go before the end.
            let wanted = 1 + round % 3;
            wait_until("some refreshes", || given.lock().unwrap().len() > wanted);
            let newest = given.lock().unwrap().last().unwrap().clone();
            self.end(database, acting, end, &newest, &new_password);
            is_ended.store(true, Ordering::SeqCst);
            Some(Instant::now())
        });
        let at = outcomes.into_iter().flatten().next().unwrap();
        match end {
            End::PasswordChange => self.password = new_password,
            End::Disable => self.operate(database, "enable"),
            _ => {}
        }
        Ended { at, end, tokens: given.into_inner().unwrap() }
    }

    /// Ends the session, and sees that the acting instance knows at once.
    fn end(&self, database: &Database, acting: &Server, end: End, newest: &Tokens, new_password: &str) {
        match end {
            End::LogoutByRefreshToken => assert_eq!(acting.logout(&newest.refresh).status, 204),
            End::LogoutByAccessToken => {
                let bearer = format!("Bearer {}", newest.access);
                let answer = acting.call("POST", "/logout", &[("authorization", &bearer)], None);
                assert_eq!(answer.status, 204, "{answer:?}");
            }
            End::PasswordChange => {
                let answer = acting.change_password(&newest.access, &self.password, new_password);
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            End::Disable => return self.operate(database, "disable"),
            End::Expiry => {
                let session = &newest.session;
                // Long ago: whoever looked at the time before now finds it expired too.
                let now = "clock_timestamp() - interval '1 minute'";
                database.execute(&format!("UPDATE sessions SET expires_at = {now} WHERE id = '{session}'"));
                acting.refresh(&newest.refresh).is_problem(401, "invalid_refresh_token");
                return;
            }
        }
        acting.get_as("/protected", &newest.access).is_problem(401, "invalid_token");
        acting.refresh(&newest.refresh).is_problem(401, "invalid_refresh_token");
    }

    fn operate(&self, database: &Database, what: &str) {
        let url = database.url();
        let done = run(database.folder.path(), &[("DATABASE__URL", &url)], &["user", what, &self.name]);
        assert!(done.status.success(), "{done:?}");
    }
}

/// Refreshes on one instance after the other. The newest token is never refused for any reason but the end.
fn refresh_until_refused(
    instances: &[Server; 2],
    first: &Tokens,
    given: &Mutex<Vec<Tokens>>,
    is_ended: &AtomicBool,
) {
    let mut newest = first.clone();
    for instance in instances.iter().cycle() {
        let was_ended = is_ended.load(Ordering::SeqCst);
        let answer = instance.refresh(&newest.refresh);
        if answer.status != 200 {
            answer.is_problem(401, "invalid_refresh_token");
            return;
        }
        assert!(!was_ended, "a refresh after the end was acknowledged");
        newest = answer.tokens();
        given.lock().unwrap().push(newest.clone());
    }
}

/// After the promised time no instance takes any token of the session.
fn is_known_to_all(instances: &[Server; 2], ended: &Ended) {
    let newest = ended.tokens.last().unwrap();
    for instance in instances {
        for tokens in [&ended.tokens[0], newest] {
            let refused = instance.refresh(&tokens.refresh);
            assert_eq!(refused.status, 401, "{:?}: {refused:?}", ended.end);
            // The database was made to let the session expire; its tokens were not told.
            if ended.end != End::Expiry {
                let refused = instance.get_as("/protected", &tokens.access);
                assert_eq!(refused.status, 401, "{:?}: {refused:?}", ended.end);
            }
        }
    }
}

// ASVS 8.3.2
#[test]
fn an_end_reaches_the_other_instance_in_a_second_while_it_serves_without_a_query() {
    const LOGOUTS: usize = 100;
    const LOAD: usize = 4;
    let database = Database::postgres();
    let (here, there) = (Server::start(&database), Server::start(&database));
    here.register("alice");
    here.register("bob");
    let kept = here.login("bob");
    let transactions = || {
        database.number(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )
    };
    let before = transactions();
    let requests = AtomicU64::new(0);
    let is_done = AtomicBool::new(false);
    let started = Instant::now();
    let mut delays: Vec<Duration> = race(LOAD + 1, |n| {
        if n < LOAD {
            while !is_done.load(Ordering::Relaxed) {
                assert_eq!(there.get_as("/protected", &kept.access).status, 200);
                requests.fetch_add(1, Ordering::Relaxed);
            }
            return Vec::new();
        }
        let delays = (0..LOGOUTS).map(|_| delay(&here, &there, &here.login("alice"))).collect();
        is_done.store(true, Ordering::Relaxed);
        delays
    })
    .concat();
    let (took, requests) = (started.elapsed(), requests.into_inner());
    let transactions = u64::try_from(transactions() - before).unwrap();
    delays.sort();
    let [median, p99] = [50, 99].map(|percent| delays[(delays.len() * percent / 100).min(delays.len() - 1)]);
    println!(
        "{LOGOUTS} ends known to the other instance after {median:?} in the median, {p99:?} at p99, while it \
         answered {requests} requests in {took:?}; the database saw {transactions} transactions"
    );
    assert!(p99 <= PROMISE, "{delays:?}");
    // Two instances that look four times a second and seal once, and a login and a logout each time.
    let looks = u64::try_from(took.as_millis()).unwrap() / 250 * 2;
    let seals = (took.as_secs() + 1) * 2;
    let expected = looks + 7 * seals + 8 * u64::try_from(LOGOUTS).unwrap();
    assert!(transactions < expected + 100, "{transactions} transactions, of which {expected} have a reason");
    assert!(requests > 2 * expected, "{requests} requests are too few to tell anything");
}

/// How long a session that ended here is taken for live there.
fn delay(here: &Server, there: &Server, tokens: &Tokens) -> Duration {
    assert_eq!(there.get_as("/protected", &tokens.access).status, 200);
    assert_eq!(here.logout(&tokens.refresh).status, 204);
    let acknowledged = Instant::now();
    while there.get_as("/protected", &tokens.access).status == 200 {
        assert!(acknowledged.elapsed() < PROMISE * 10, "it is never told");
    }
    acknowledged.elapsed()
}

on_both_databases! {
    fn a_remembered_token_is_judged_anew_each_time(database: &Database) {
        for remembered in ["16384", "0"] {
            let cache = ("TOKENS__CACHE", remembered);
            let server = Server::start_with(database, &[cache]);
            let brief = Server::start_with(database, &[cache, ("TOKENS__ACCESS_LIFETIME", "10s")]);
            server.register("alice");
            let [ended, floored] = [(); 2].map(|()| server.login("alice"));
            let expired = brief.login("alice");
            for tokens in [&expired, &ended, &floored] {
                for _ in 0..2 {
                    assert_eq!(server.get_as("/protected", &tokens.access).status, 200, "{remembered}");
                }
                let (message, signature) = tokens.access.rsplit_once('.').unwrap();
                let first = if signature.starts_with('A') { 'B' } else { 'A' };
                let changed = format!("{message}.{first}{}", &signature[1..]);
                server.get_as("/protected", &changed).is_problem(401, "invalid_token");
            }
            assert_eq!(server.logout(&ended.refresh).status, 204);
            server.get_as("/protected", &ended.access).is_problem(401, "invalid_token");
            let is_refused = |tokens: &Tokens| server.get_as("/protected", &tokens.access).status == 401;
            wait_until("the token expires", || is_refused(&expired));
            assert!(!is_refused(&floored), "{remembered}");
            let output = run(database.folder.path(), &[("DATABASE__URL", &database.url())], &ALL_END);
            assert!(output.status.success(), "{output:?}");
            wait_until("the end of all is known", || is_refused(&floored));
        }
    }
}

const ALL_END: [&str; 4] = ["sessions", "end", "--all", "--yes"];

#[test]
fn an_exhausted_pool_does_not_keep_an_end_from_being_known() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    let here = Server::start(&database);
    let there = Server::start_with(&database, &[("DATABASE__POOL_SIZE", "1")]);
    here.register("alice");
    let (kept, ending) = (here.login("alice"), here.login("alice"));
    assert_eq!(there.get_as("/protected", &ending.access).status, 200);

    // Other tests have databases on the same server.
    let locks = |which: &str| {
        database.number(&format!(
            "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND database =
             (SELECT oid FROM pg_database WHERE datname = current_database()) AND {which}"
        ))
    };
    let waiting = || locks("NOT granted");
    race(3, |n| match n {
        // Whoever wants to know of a user waits.
        0 => {
            postgres.execute(
                url,
                "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(2.5); COMMIT",
            );
        }
        // So the one connection is taken.
        1 => {
            wait_until("the table is locked", || locks("mode = 'AccessExclusiveLock' AND granted") > 0);
            let answer = there.get_as("/me", &kept.access);
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        }
        _ => {
            wait_until("the connection is taken", || waiting() > 0);
            let delay = delay(&here, &there, &ending);
            assert!(delay <= PROMISE, "{delay:?}");
            assert_eq!(waiting(), 1, "the connection was free again before the end was known");
        }
    });
}
