//! Responses to throttled requests, which take no permit from the owner of an account.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::rt::spawn;
use actix_web::rt::task::yield_now;
use actix_web::rt::time::timeout;
use actix_web::test::TestRequest;
use portcullis_domain::throttle::SCHEDULE;
use portcullis_http::{LimitsConfig, ProblemCode, Quota};
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::{Value, json};

use crate::holdable_hasher::HoldableHasher;
use crate::test_app::{Answer, Setup, TestApp, bearer, post, with_json};

const WRONG: &str = "Wr0ng-horse battery";
const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "203.0.113.66";

fn login(name: &str, password: &str, address: &str) -> TestRequest {
    let request = post("/login", json!({"username": name, "password": password}));
    request.peer_addr(format!("{address}:1").parse().unwrap())
}

/// Tries as many wrong passwords as are free.
async fn use_up(app: &TestApp, name: &str, address: &str) {
    for _ in 0..SCHEDULE.free {
        app.send(login(name, WRONG, address)).await.check_problem(ProblemCode::InvalidCredentials);
    }
}

#[track_caller]
fn is_throttled(answer: &Answer, seconds: &str) {
    answer.check_problem(ProblemCode::RateLimited);
    assert_eq!(answer.header("retry-after"), Some(seconds), "{answer:?}");
}

/// EN-05: nothing in the answers tells whether there is an account, nor whether the password is the right one.
#[actix_web::test]
async fn known_and_unknown_names_are_throttled_alike() {
    let app = TestApp::new().await;
    app.register("Alice", PASSWORD).await;
    let mut answers = Vec::new();
    for (name, password) in
        [("alice", WRONG), ("ALICE", PASSWORD), ("nobody", WRONG), ("bob@example.com", WRONG)]
    {
        use_up(&app, name, ELSEWHERE).await;
        let work = app.hasher.work();
        let answer = app.send(login(name, password, "203.0.113.67")).await;
        is_throttled(&answer, "1");
        assert_eq!(app.hasher.work(), work);
        answers.push(format!("{:?} {}", answer.header_fields(), answer.body));
        app.wait(3_600 * 48);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[actix_web::test]
async fn the_wait_is_told_in_whole_seconds_rounded_up() {
    let app = TestApp::new().await;
    use_up(&app, "alice", ELSEWHERE).await;
    for told in ["1", "2", "4", "8"] {
        is_throttled(&app.send(login("alice", WRONG, ELSEWHERE)).await, told);
        let wait: u64 = told.parse().unwrap();
        app.clock.advance(Duration::from_millis(wait * 1_000 - 1));
        is_throttled(&app.send(login("alice", WRONG, ELSEWHERE)).await, "1");
        app.clock.advance(Duration::from_millis(1));
        app.send(login("alice", WRONG, ELSEWHERE)).await.check_problem(ProblemCode::InvalidCredentials);
    }
}

#[actix_web::test]
async fn whoever_asks_for_the_current_password_is_throttled_with_the_logins() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let work = app.hasher.work();
    for _ in 0..SCHEDULE.free {
        app.delete_account(&tokens.access, WRONG)
            .await
            .check_violations(&[("#/current_password", "incorrect")]);
    }
    for answer in [
        app.change_password(&tokens.access, PASSWORD, "An0ther-horse battery").await,
        app.delete_account(&tokens.access, PASSWORD).await,
        app.send(
            with_json(Method::POST, "/me/delete", json!({"current_password": PASSWORD}))
                .insert_header(bearer(&tokens.access)),
        )
        .await,
        app.login("alice", PASSWORD).await,
    ] {
        is_throttled(&answer, "1");
    }
    assert_eq!(app.hasher.work() - work, SCHEDULE.free as usize);
    app.wait(1);
    app.login("alice", PASSWORD).await.tokens();
    app.login("alice", PASSWORD).await.tokens();
}

/// ASVS 6.3.4: every route that gives out tokens, as the description lists them, throttles passwords, or
/// is listed here because its credential cannot be guessed.
#[actix_web::test]
async fn no_route_that_gives_out_tokens_goes_round_the_throttle() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    use_up(&app, "alice", ELSEWHERE).await;
    let document = serde_json::to_value(portcullis_http::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["responses"].to_string().contains("#/components/schemas/TokenSet") {
                routes.push((method.clone(), path.clone()));
            }
        }
    }
    assert!(routes.len() >= 3, "{routes:?}");
    for (method, path) in routes {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let body = match path.as_str() {
            "/login" => json!({"username": "alice", "password": PASSWORD}),
            "/me/password" => json!({"current_password": PASSWORD, "new_password": "An0ther-horse battery"}),
            // A refresh token is no guess: it has a MAC.
            "/refresh" => continue,
            other => panic!("is {other} throttled?"),
        };
        let request = with_json(method, &path, body).insert_header(bearer(&tokens.access));
        let request = request.peer_addr(format!("{ELSEWHERE}:1").parse().unwrap());
        is_throttled(&app.send(request).await, "1");
    }
}

/// BF-05: while no hash ends and the account has three permits, a flood of throttled logins from many addresses is answered
/// at once and takes none of the permits: the owner's login from a known address keeps its own.
#[actix_web::test]
async fn throttled_flood_takes_no_permit_from_the_owner() {
    let hasher = Arc::new(HoldableHasher::default());
    let mut setup = Setup::new();
    setup.ports.hasher = Arc::clone(&hasher) as _;
    let often = std::num::NonZeroU32::new(1_000).unwrap();
    let quota = Quota { count: often, per: Duration::from_secs(1), burst: often };
    setup.config.limits =
        LimitsConfig { enabled: true, login: quota, register: quota, ..LimitsConfig::default() };
    let app = Rc::new(setup.start().await);
    app.register("Alice", PASSWORD).await;
    app.send(login("alice", PASSWORD, HOME)).await.tokens();
    use_up(&app, "alice", ELSEWHERE).await;

    let hold = hasher.hold();
    let before = app.api.password_pool_counts();
    let owner = spawn({
        let app = Rc::clone(&app);
        async move { app.send(login("alice", PASSWORD, HOME)).await }
    });
    let flood = async {
        while app.api.password_pool_counts().begun == before.begun {
            yield_now().await;
        }
        for n in 0..100 {
            let answer = app.send(login("alice", PASSWORD, &format!("203.0.113.{n}"))).await;
            is_throttled(&answer, "1");
        }
    };
    timeout(Duration::from_mins(1), flood).await.expect("nobody waits for a hash");
    let counts = app.api.password_pool_counts();
    assert_eq!((counts.begun, counts.waiting, counts.shed), (before.begun + 1, 0, before.shed));
    drop(hold);
    owner.await.unwrap().tokens();
}

#[actix_web::test]
async fn the_description_tells_of_the_throttle() {
    let document = serde_json::to_value(portcullis_http::openapi()).unwrap();
    for (path, method) in [("/login", "post"), ("/me/password", "put"), ("/me", "delete")] {
        let response: &Value = &document["paths"][path][method]["responses"]["429"];
        assert!(response["headers"]["Retry-After"].is_object(), "{path}");
    }
}
