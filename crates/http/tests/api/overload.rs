//! The permits of the password pool: accounts and networks have only a few each, and a crowd takes none from callers at
//! networks that their accounts know.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::rt::spawn;
use actix_web::rt::task::{JoinHandle, yield_now};
use actix_web::rt::time::timeout;
use actix_web::test::TestRequest;
use portcullis_http::{LimitsConfig, PoolCounts, ProblemCode, Quota};
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::holdable_hasher::HoldableHasher;
use crate::test_app::{Answer, Setup, TestApp, bearer, post, with_json};

/// A service whose hashes a test can stop.
struct Held {
    app: Rc<TestApp>,
    hasher: Arc<HoldableHasher>,
}

impl Held {
    async fn new(is_limited: bool) -> Self {
        let hasher = Arc::new(HoldableHasher::default());
        let mut setup = Setup::new();
        setup.ports.hasher = Arc::clone(&hasher) as _;
        let often = NonZeroU32::new(1_000).unwrap();
        let quota = Quota { count: often, per: Duration::from_secs(1), burst: often };
        setup.config.limits = LimitsConfig {
            enabled: is_limited,
            login: quota,
            register: quota,
            password: quota,
            ..LimitsConfig::default()
        };
        Self { app: Rc::new(setup.start().await), hasher }
    }

    /// Makes `address` known to an account, and returns an access token of it.
    async fn owner(&self, name: &str, address: &str) -> String {
        self.app.register(name, PASSWORD).await;
        login(&self.app, name, address).await.unwrap().tokens().access
    }

    /// Waits until `number` more than `before` were let in, and `begun` of them got a thread.
    async fn are_let_in(&self, before: PoolCounts, number: usize, begun: u64) {
        let is_so = |counts: PoolCounts| {
            let new = counts.begun - before.begun;
            new == begun && counts.waiting + usize::try_from(new).unwrap() == number
        };
        let wait = async {
            while !is_so(self.counts()) {
                yield_now().await;
            }
        };
        let outcome = timeout(LONGEST_WAIT, wait).await;
        outcome.unwrap_or_else(|_| panic!("not {number} with {begun} begun: {:?}", self.counts()));
    }

    /// Lets logins with new names from new networks fill what anonymous callers may have.
    async fn crowd(&self) -> Vec<JoinHandle<Answer>> {
        let before = self.counts();
        let guess = |n| login(&self.app, &format!("guess{n}"), &format!("198.51.{n}.1"));
        let crowd = (0..PLACES).map(guess).collect();
        self.are_let_in(before, PLACES, ANONYMOUS_THREADS).await;
        crowd
    }

    fn counts(&self) -> PoolCounts {
        self.app.api.password_pool_counts()
    }
}

/// By default, with two hashes at a time: the jobs of one class that wait or run.
const PLACES: usize = 12;

/// How many threads the pool has by default, and how many of them anonymous callers may use.
const THREADS: u64 = 4;
const ANONYMOUS_THREADS: u64 = 2;

/// Long enough for the busiest machine.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

fn login(app: &Rc<TestApp>, name: &str, address: &str) -> JoinHandle<Answer> {
    send(app, post("/login", json!({"username": name, "password": PASSWORD})), address)
}

fn send(app: &Rc<TestApp>, request: TestRequest, address: &str) -> JoinHandle<Answer> {
    let address: std::net::IpAddr = address.parse().unwrap();
    let request = request.peer_addr((address, 1).into());
    let app = Rc::clone(app);
    spawn(async move { app.send(request).await })
}

/// Checks that a request is refused at once, and returns the answer.
async fn refused(request: JoinHandle<Answer>) -> Answer {
    let answer = timeout(LONGEST_WAIT, request).await.unwrap_or_else(|_| panic!("it was let in")).unwrap();
    answer.check_problem(ProblemCode::Overloaded);
    assert_eq!(answer.header("retry-after"), Some("1"));
    answer
}

/// Checks that each was let in and refused for its password only.
async fn all_guesses_fail(guesses: Vec<JoinHandle<Answer>>) {
    for guess in guesses {
        guess.await.unwrap().check_problem(ProblemCode::InvalidCredentials);
    }
}

// ASVS 15.2.2
#[actix_web::test]
async fn account_has_few_permits_whether_it_exists_or_not() {
    let held = Held::new(true).await;
    let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
    let mut guesses: Vec<_> = (1..=3).map(|n| login(app, "alice", &format!("192.0.{n}.1"))).collect();
    held.are_let_in(before, 3, 2).await;
    refused(login(app, "alice", "192.0.4.1")).await;
    refused(login(app, "ALICE", "192.0.4.1")).await;
    guesses.push(login(app, "bob", "192.0.4.1"));
    held.are_let_in(before, 4, 2).await;

    drop(hold);
    all_guesses_fail(guesses).await;
    all_guesses_fail(vec![login(app, "alice", "192.0.4.1")]).await;
}

// ASVS 15.2.2
#[actix_web::test]
async fn address_has_few_permits() {
    let held = Held::new(true).await;
    let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
    let mut guesses: Vec<_> = (0..6).map(|n| login(app, &format!("user{n}"), "192.0.2.1")).collect();
    held.are_let_in(before, 6, 2).await;
    refused(login(app, "another", "192.0.2.1")).await;
    guesses.push(login(app, "another", "198.51.100.1"));
    held.are_let_in(before, 7, 2).await;
    drop(hold);
    all_guesses_fail(guesses).await;
}

#[actix_web::test]
async fn networks_of_one_block_share_half_of_the_permits() {
    for block in [|n: usize| format!("2001:db8:7:{n:x}::1"), |n: usize| format!("192.0.2.{n}")] {
        let held = Held::new(true).await;
        let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
        let mut guesses: Vec<_> =
            (0..PLACES / 2).map(|n| login(app, &format!("user{n}"), &block(n))).collect();
        held.are_let_in(before, PLACES / 2, ANONYMOUS_THREADS).await;
        refused(login(app, "another", &block(77))).await;
        let registration = post("/register", json!({"username": "another", "password": PASSWORD}));
        refused(send(app, registration, &block(78))).await;
        guesses.push(login(app, "another", "2001:db8:8::1"));
        guesses.push(login(app, "yet-another", "198.51.100.1"));
        held.are_let_in(before, PLACES / 2 + 2, ANONYMOUS_THREADS).await;
        drop(hold);
        all_guesses_fail(guesses).await;
    }
}

#[actix_web::test]
async fn crowd_takes_no_permit_from_known_networks() {
    for is_limited in [true, false] {
        let held = Held::new(is_limited).await;
        held.owner("alice", "192.0.2.1").await;
        let (app, hold) = (&held.app, held.hasher.hold());
        let crowd = held.crowd().await;
        refused(login(app, "nobody", "203.0.113.1")).await;
        refused(login(app, "alice", "203.0.113.1")).await;

        let before = held.counts();
        let owner = login(app, "alice", "192.0.2.1");
        held.are_let_in(before, PLACES - 2 + 1, 1).await;
        drop(hold);
        owner.await.unwrap().tokens();
        all_guesses_fail(crowd).await;
        login(app, "alice", "203.0.113.1").await.unwrap().tokens();
    }
}

#[actix_web::test]
async fn crowd_takes_no_permit_from_logged_in_users() {
    let held = Held::new(true).await;
    let alice = held.owner("alice", "192.0.2.1").await;
    let bob = held.owner("bob", "192.0.3.1").await;
    let (app, hold) = (&held.app, held.hasher.hold());
    let crowd = held.crowd().await;

    let before = held.counts();
    let body = json!({"current_password": PASSWORD, "new_password": "An0ther-horse battery"});
    let change = with_json(Method::PUT, "/me/password", body).insert_header(bearer(&alice));
    let change = send(app, change, "203.0.113.1");
    held.are_let_in(before, PLACES - 2 + 1, 1).await;
    let delete = with_json(Method::DELETE, "/me", json!({"current_password": PASSWORD}));
    let delete = send(app, delete.insert_header(bearer(&bob)), "203.0.113.2");
    held.are_let_in(before, PLACES - 2 + 2, 2).await;
    drop(hold);
    change.await.unwrap().tokens();
    delete.await.unwrap().check_done();
    all_guesses_fail(crowd).await;
}

#[actix_web::test]
async fn registration_shares_the_permits_of_the_crowd() {
    let held = Held::new(true).await;
    let (app, hold) = (&held.app, held.hasher.hold());
    let crowd = held.crowd().await;
    let register = |name: &str| {
        let body = json!({"username": name, "password": PASSWORD});
        send(app, post("/register", body), "203.0.113.1")
    };
    refused(register("bob")).await;
    drop(hold);
    all_guesses_fail(crowd).await;
    assert_eq!(register("bob").await.unwrap().status, 201);
}

#[actix_web::test]
async fn guesses_elsewhere_take_no_permit_from_the_account_owner() {
    let held = Held::new(true).await;
    held.owner("alice", "192.0.2.1").await;
    let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
    let elsewhere: Vec<_> = (1..=3).map(|n| login(app, "alice", &format!("198.51.{n}.1"))).collect();
    held.are_let_in(before, 3, 2).await;
    refused(login(app, "alice", "203.0.113.1")).await;

    let at_home: Vec<_> = (0..3).map(|_| login(app, "alice", "192.0.2.1")).collect();
    held.are_let_in(before, 6, 4).await;
    refused(login(app, "alice", "192.0.2.1")).await;
    drop(hold);
    for login in elsewhere.into_iter().chain(at_home) {
        login.await.unwrap().tokens();
    }
}

#[actix_web::test]
async fn busy_known_networks_leave_permits_to_others() {
    let held = Held::new(true).await;
    let home = |n: usize| format!("192.0.{n}.1");
    for n in 0..=PLACES {
        held.owner(&format!("user{n}"), &home(n)).await;
    }
    let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
    let busy: Vec<_> = (0..PLACES).map(|n| login(app, &format!("user{n}"), &home(n))).collect();
    held.are_let_in(before, PLACES, THREADS).await;
    refused(login(app, &format!("user{PLACES}"), &home(PLACES))).await;
    let guesses = vec![login(app, "nobody", "198.51.100.1")];
    held.are_let_in(before, PLACES + 1, THREADS).await;
    drop(hold);
    all_guesses_fail(guesses).await;
    for login in busy {
        login.await.unwrap().tokens();
    }
}

/// EN-05: a client learns nothing about accounts from a network where no login to them succeeded.
#[actix_web::test]
async fn full_pool_answers_all_unknown_networks_alike() {
    let held = Held::new(true).await;
    held.owner("alice", "192.0.2.1").await;
    held.owner("bob", "203.0.113.1").await;
    let (app, hold) = (&held.app, held.hasher.hold());
    let crowd = held.crowd().await;
    let mut answers = Vec::new();
    // The second address is known to another account.
    for address in ["203.0.113.77", "203.0.113.1"] {
        for name in ["alice", "ALICE", "nobody"] {
            let answer = refused(login(app, name, address)).await;
            let fields = answer.header_fields().into_iter().filter(|(name, _)| !name.contains("ratelimit"));
            answers.push(format!("{:?} {}", fields.collect::<Vec<_>>(), answer.body));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    drop(hold);
    all_guesses_fail(crowd).await;
}

#[actix_web::test]
async fn client_that_left_returns_its_permit() {
    let held = Held::new(true).await;
    let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
    let mut guesses: Vec<_> = (0..4).map(|n| login(app, &format!("user{n}"), "192.0.2.1")).collect();
    held.are_let_in(before, 4, 2).await;
    let leaving: Vec<_> = (2..=4).map(|n| login(app, "alice", &format!("198.51.{n}.1"))).collect();
    held.are_let_in(before, 7, 2).await;
    refused(login(app, "alice", "198.51.8.1")).await;
    for leaving in leaving {
        leaving.abort();
        assert!(leaving.await.unwrap_err().is_cancelled());
    }
    guesses.push(login(app, "alice", "198.51.9.1"));
    held.are_let_in(before, 5, 2).await;
    drop(hold);
    all_guesses_fail(guesses).await;
}

#[actix_web::test]
async fn pool_without_limits_bounds_only_its_lines() {
    let held = Held::new(false).await;
    let (app, before, hold) = (&held.app, held.counts(), held.hasher.hold());
    // An account has more permits than with limits, and so has the address.
    let name = |n: usize| ["alice", "bob", "carol"][n % 3];
    let mut guesses: Vec<_> = (0..3).map(|n| login(app, name(n), "192.0.2.1")).collect();
    held.are_let_in(before, 3, 2).await;
    guesses.extend((3..12).map(|n| login(app, name(n), "192.0.2.1")));
    held.are_let_in(before, 12, 2).await;
    refused(login(app, "dave", "198.51.100.1")).await;
    let counts = PoolCounts { waiting: 10, shed: 1, begun: 2, waited: Duration::ZERO };
    assert_eq!(held.counts(), counts);
    app.wait(2);
    drop(hold);
    all_guesses_fail(guesses).await;
    let counts = PoolCounts { waiting: 0, shed: 1, begun: 12, waited: Duration::from_secs(10 * 2) };
    assert_eq!(held.counts(), counts);
}
