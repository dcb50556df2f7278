//! Nobody takes more than a few places in the password lane.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use actix_web::rt::spawn;
use actix_web::rt::task::{JoinHandle, yield_now};
use actix_web::rt::time::timeout;
use portcullis_domain::password::{AcceptedPassword, PasswordAttempt, PasswordHash};
use portcullis_domain::ports::{HashError, PasswordHasher, Verdict};
use portcullis_http::{LaneCounts, LimitsConfig, ProblemCode, Quota};
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::rig::{Answer, Rig, Setup, post};

/// Holds everybody up until its [`Hold`] is dropped.
#[derive(Debug, Default)]
struct HeldHasher {
    lets_go: Mutex<bool>,
    changed: Condvar,
}

impl HeldHasher {
    fn hold(&self) {
        drop(self.changed.wait_while(self.lets_go.lock().unwrap(), |lets_go| !*lets_go).unwrap());
    }
}

/// Lets everybody go when it is dropped, so that a test that fails ends.
struct Hold(Arc<HeldHasher>);

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.lets_go.lock().unwrap() = true;
        self.0.changed.notify_all();
    }
}

impl PasswordHasher for HeldHasher {
    fn hash(&self, _: &AcceptedPassword) -> Result<PasswordHash, HashError> {
        self.hold();
        Ok(PasswordHash::new("any".to_owned()))
    }

    fn verify(&self, _: &PasswordAttempt, _: &PasswordHash) -> Result<Verdict, HashError> {
        self.hold();
        Ok(Verdict::Mismatch)
    }
}

async fn held(is_limited: bool) -> (Rc<Rig>, Hold) {
    let hasher = Arc::new(HeldHasher::default());
    let mut setup = Setup::new();
    setup.ports.hasher = Arc::clone(&hasher) as _;
    let often = NonZeroU32::new(1_000).unwrap();
    let quota = Quota { count: often, per: Duration::from_secs(1), burst: often };
    setup.config.limits =
        LimitsConfig { enabled: is_limited, login: quota, register: quota, ..LimitsConfig::default() };
    (Rc::new(setup.start().await), Hold(hasher))
}

/// Waits until so many were let in and so many of them got a thread.
async fn are_let_in(rig: &Rig, number: usize, begun: u64) {
    let is_so = |counts: LaneCounts| {
        counts.begun == begun && counts.waiting + usize::try_from(counts.begun).unwrap() == number
    };
    let wait = async {
        while !is_so(rig.api.password_lane_counts()) {
            yield_now().await;
        }
    };
    let outcome = timeout(LONGEST_WAIT, wait).await;
    outcome
        .unwrap_or_else(|_| panic!("not {number} with {begun} begun: {:?}", rig.api.password_lane_counts()));
}

/// Long enough for the busiest machine.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

fn login(rig: &Rc<Rig>, name: &str, address: &str) -> JoinHandle<Answer> {
    let request = post("/login", json!({"username": name, "password": PASSWORD}));
    let request = request.peer_addr(format!("{address}:1").parse().unwrap());
    let rig = Rc::clone(rig);
    spawn(async move { rig.send(request).await })
}

/// What becomes of a login that is not let in, without waiting for those that are.
async fn refused(rig: &Rc<Rig>, name: &str, address: &str) {
    let answer = timeout(LONGEST_WAIT, login(rig, name, address)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{name} was let in")).unwrap();
    answer.check_problem(ProblemCode::Overloaded);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

// ASVS 15.2.2
#[actix_web::test]
async fn an_account_has_a_few_places_in_the_lane_whether_it_exists_or_not() {
    let (rig, hold) = held(true).await;
    let first: Vec<_> = (1..=3).map(|n| login(&rig, "alice", &format!("192.0.2.{n}"))).collect();
    are_let_in(&rig, 3, 3).await;
    refused(&rig, "alice", "192.0.2.4").await;
    refused(&rig, "ALICE", "192.0.2.4").await;
    let bob = login(&rig, "bob", "192.0.2.4");
    are_let_in(&rig, 4, 4).await;

    drop(hold);
    for answer in first.into_iter().chain([bob]) {
        answer.await.unwrap().check_problem(ProblemCode::InvalidCredentials);
    }
    let again = login(&rig, "alice", "192.0.2.4").await.unwrap();
    again.check_problem(ProblemCode::InvalidCredentials);
}

// ASVS 15.2.2
#[actix_web::test]
async fn an_address_has_a_few_places_in_the_lane() {
    let (rig, hold) = held(true).await;
    let first: Vec<_> = (0..6).map(|n| login(&rig, &format!("user{n}"), "192.0.2.1")).collect();
    are_let_in(&rig, 6, 4).await;
    refused(&rig, "another", "192.0.2.1").await;
    let elsewhere = login(&rig, "another", "192.0.2.2");
    drop(hold);
    for answer in first.into_iter().chain([elsewhere]) {
        answer.await.unwrap().check_problem(ProblemCode::InvalidCredentials);
    }
}

#[actix_web::test]
async fn who_left_has_no_place_any_more() {
    let (rig, hold) = held(true).await;
    let running: Vec<_> = (0..4).map(|n| login(&rig, &format!("user{n}"), "192.0.2.1")).collect();
    are_let_in(&rig, 4, 4).await;
    let leaving: Vec<_> = (2..=4).map(|n| login(&rig, "alice", &format!("192.0.2.{n}"))).collect();
    are_let_in(&rig, 7, 4).await;
    refused(&rig, "alice", "192.0.2.8").await;
    for leaving in leaving {
        leaving.abort();
        assert!(leaving.await.unwrap_err().is_cancelled());
    }
    let alice = login(&rig, "alice", "192.0.2.9");
    are_let_in(&rig, 5, 4).await;
    drop(hold);
    for answer in running.into_iter().chain([alice]) {
        answer.await.unwrap().check_problem(ProblemCode::InvalidCredentials);
    }
}

#[actix_web::test]
async fn without_limits_only_the_line_has_an_end() {
    let (rig, hold) = held(false).await;
    // Four run and eight wait. The line is as long as that, so the four have to leave it first.
    // An account has more places than with limits, and so has the address.
    let name = |n: usize| ["alice", "bob", "carol"][n % 3];
    let running: Vec<_> = (0..4).map(|n| login(&rig, name(n), "192.0.2.1")).collect();
    are_let_in(&rig, 4, 4).await;
    let waiting: Vec<_> = (4..12).map(|n| login(&rig, name(n), "192.0.2.1")).collect();
    are_let_in(&rig, 12, 4).await;
    refused(&rig, "dave", "192.0.2.2").await;
    let counts = LaneCounts { waiting: 8, shed: 1, begun: 4, waited: Duration::ZERO };
    assert_eq!(rig.api.password_lane_counts(), counts);
    rig.wait(2);
    drop(hold);
    for answer in running.into_iter().chain(waiting) {
        answer.await.unwrap().check_problem(ProblemCode::InvalidCredentials);
    }
    let counts = LaneCounts { waiting: 0, shed: 1, begun: 12, waited: Duration::from_secs(8 * 2) };
    assert_eq!(rig.api.password_lane_counts(), counts);
}
