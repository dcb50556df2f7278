//! What is logged, and what never is.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use actix_web::http::Method;
use actix_web::test::TestRequest;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use portcullis_http::{ACCESS_LOG, current_request_id};
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::test_app::{Setup, TestApp, bearer, post, with_json};

/// Keeps every line of the process, at every level.
struct Memory(Mutex<Vec<(Option<String>, String)>>);

impl Log for Memory {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = format!("{} {} {}", record.level(), record.target(), record.args());
        record.key_values().visit(&mut Pairs(&mut line)).unwrap();
        let request = current_request_id().map(|id| id.to_string());
        self.0.lock().unwrap().push((request, line));
    }

    fn flush(&self) {}
}

struct Pairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

static LOG: Memory = Memory(Mutex::new(Vec::new()));

/// Starts to keep what is logged; once is enough.
pub(crate) fn install() {
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}

/// The lines of one request.
pub(crate) fn logged(request: &str) -> Vec<String> {
    let lines = LOG.0.lock().unwrap();
    lines.iter().filter(|(id, _)| id.as_deref() == Some(request)).map(|(_, line)| line.clone()).collect()
}

/// The lines of the process that end with `text`.
pub(crate) fn logged_anywhere(text: &str) -> Vec<String> {
    let lines = LOG.0.lock().unwrap();
    lines.iter().filter(|(_, line)| line.ends_with(text)).map(|(_, line)| line.clone()).collect()
}

fn access_lines(request: &str) -> Vec<String> {
    logged(request).into_iter().filter(|line| line.contains(ACCESS_LOG)).collect()
}

#[actix_web::test]
async fn each_request_has_one_line_by_its_pattern() {
    let app = TestApp::new().await;
    let cases = [
        ("log-1", TestRequest::get().uri("/health"), "method=GET route=/health status=200"),
        (
            "log-2",
            TestRequest::get().uri("/problems/not_found?x=1"),
            "method=GET route=/problems/{code} status=200",
        ),
        ("log-3", TestRequest::get().uri("/who/is/this"), "method=GET route=- status=404"),
        ("log-4", TestRequest::delete().uri("/login"), "method=DELETE route=/login status=405"),
        (
            "log-5",
            TestRequest::default().method("EVIL".parse().unwrap()).uri("/login"),
            "method=- route=/login status=405",
        ),
        (
            "log-6",
            TestRequest::delete().uri("/me/sessions/0198c8a4-0000-7000-8000-000000000000"),
            "method=DELETE route=/me/sessions/{id} status=401",
        ),
        ("log-7", TestRequest::get().uri("http://evil/health"), "method=GET route=/health status=400"),
    ];
    for (id, request, expected) in cases {
        app.send(request.insert_header(("x-request-id", id))).await;
        let lines = access_lines(id);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let start = format!("INFO {ACCESS_LOG} request {expected} duration_ms=");
        assert!(lines[0].starts_with(&start), "{}", lines[0]);
    }
}

#[actix_web::test]
async fn the_blocking_pools_log_for_the_request() {
    let mut setup = Setup::new();
    setup.ports = FaultyStore::within(setup.ports, |store| FaultyStore {
        users: Arc::new(crate::faults::LoggingUsers(Arc::clone(&store.users))),
        ..store
    });
    let app = setup.start().await;
    let tokens = app.alice().await;
    let login = post("/login", json!({"username": "alice", "password": PASSWORD}));
    let me = TestRequest::get().uri("/me").insert_header(bearer(&tokens.access));
    for (id, request) in [("pool-password", login), ("pool-data", me)] {
        app.send(request.insert_header(("x-request-id", id))).await;
        assert!(logged(id).iter().any(|line| line.contains("looking up")), "{:?}", logged(id));
    }
}

/// AU-02.
// ASVS 16.2.5
#[actix_web::test]
async fn no_secret_is_logged_at_any_level() {
    let app = TestApp::new().await;
    let canary = "Canary-9f3a-Passw0rd";
    let id = "canary";
    let send = async |request: TestRequest| app.send(request.insert_header(("x-request-id", id))).await;
    send(post("/register", json!({"username": "carol", "password": canary}))).await;
    let tokens = send(post("/login", json!({"username": "carol", "password": canary}))).await.tokens();
    send(post("/login", json!({"username": "carol", "password": format!("{canary}x")}))).await;
    send(post("/login", json!({"username": canary, "password": canary, canary: canary}))).await;
    send(post("/login", format!("{{{canary}"))).await;
    send(TestRequest::get().uri("/protected").insert_header(bearer(&tokens.access))).await;
    send(TestRequest::get().uri(&format!("/protected?access_token={}", tokens.access))).await;
    send(TestRequest::get().uri(&format!("/{canary}")).insert_header(bearer(canary))).await;
    let next = send(post("/refresh", json!({"refresh_token": tokens.refresh}))).await.tokens();
    let other = format!("{canary}-2");
    let change = |current: &str| {
        let body = json!({"current_password": current, "new_password": other});
        with_json(Method::PUT, "/me/password", body).insert_header(bearer(&next.access))
    };
    send(change(&other)).await;
    let last = send(change(canary)).await.tokens();
    for current in [canary, &other] {
        let body = json!({"current_password": current});
        send(with_json(Method::DELETE, "/me", body).insert_header(bearer(&last.access))).await;
    }
    send(post("/logout", json!({"refresh_token": last.refresh}))).await;

    assert!(access_lines(id).len() >= 14);
    let secrets =
        [canary, &tokens.access, &tokens.refresh, &next.access, &next.refresh, &last.access, &last.refresh];
    let lines = LOG.0.lock().unwrap();
    for (_, line) in lines.iter() {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
}
