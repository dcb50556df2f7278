//! The server over a store that is no database: the HTTP API on a listening socket, and the background tasks.

mod site;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use portcullis_domain::AuthService;
use portcullis_domain::admin::{Admin, Authority};
use portcullis_domain::maintenance::{Maintenance, SESSIONS_AFTER_THEIR_END, WRITES_SETTLE_WITHIN};
use portcullis_testkit::fixtures;
use serde_json::{Value, json};

use self::site::{PATIENCE, Site, wait_until};

#[test]
fn http_api_works_over_a_foreign_store() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    assert_eq!(server.get("/health", None).status, 200);

    let alice = json!({"username": "alice", "password": fixtures::PASSWORD});
    assert_eq!(server.post("/register", None, &alice).status, 201);
    assert_eq!(server.post("/register", None, &alice).status, 409);
    let wrong = json!({"username": "alice", "password": "Wr0ng-password"});
    assert_eq!(server.post("/login", None, &wrong).status, 401);
    let first = server.login("alice", fixtures::PASSWORD);
    assert_eq!(server.get("/protected", Some(&first.access)).status, 200);
    assert_eq!(server.get("/me", Some(&first.access)).body["username"], "alice");

    let refreshed = server.post("/refresh", None, &json!({"refresh_token": first.refresh}));
    assert_eq!(refreshed.status, 200);
    let second = server.login("alice", fixtures::PASSWORD);
    let sessions = server.get("/me/sessions", Some(&second.access));
    assert_eq!(sessions.body["sessions"].as_array().map(Vec::len), Some(2), "{sessions:?}");
    let logout = json!({"refresh_token": second.refresh});
    assert_eq!(server.post("/logout", None, &logout).status, 204);
    assert_eq!(server.get("/protected", Some(&second.access)).status, 401, "at once on this instance");
    assert_eq!(server.get("/protected", Some(&first.access)).status, 200);

    let change = json!({"current_password": fixtures::PASSWORD, "new_password": "An0ther-horse battery"});
    let changed = server.call("PUT", "/me/password", Some(&first.access), &change);
    assert_eq!(changed.status, 200);
    assert_eq!(server.get("/protected", Some(&first.access)).status, 401);
    assert_eq!(server.post("/login", None, &alice).status, 401);
    let third = server.login("alice", "An0ther-horse battery");
    let delete = json!({"current_password": "An0ther-horse battery"});
    assert_eq!(server.post("/me/delete", Some(&third.access), &delete).status, 204);
    assert_eq!(server.get("/me", Some(&third.access)).status, 401);
    server.stop().unwrap();
}

#[test]
fn every_route_works_over_a_foreign_store() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    for (n, route) in portcullis_http::routes().iter().enumerate() {
        let name = format!("user-{n}");
        let user = json!({"username": name, "password": fixtures::PASSWORD});
        assert_eq!(server.post("/register", None, &user).status, 201);
        let tokens = server.login(&name, fixtures::PASSWORD);
        let current = json!({"current_password": fixtures::PASSWORD});
        let refresh = json!({"refresh_token": tokens.refresh});
        let line = format!("{} {}", route.method(), route.path());
        let (body, status) = match line.as_str() {
            "POST /register" => (json!({"username": "another", "password": fixtures::PASSWORD}), 201),
            "POST /login" => (user, 200),
            "POST /refresh" => (refresh, 200),
            "POST /logout" => (refresh, 204),
            "PUT /me/password" => {
                let new = "An0ther-horse battery";
                (json!({"current_password": fixtures::PASSWORD, "new_password": new}), 200)
            }
            "DELETE /me" | "POST /me/delete" => (current, 204),
            "DELETE /me/sessions/{id}" => (Value::Null, 204),
            "GET /me"
            | "GET /me/activity"
            | "GET /me/sessions"
            | "GET /protected"
            | "GET /password-policy"
            | "GET /.well-known/jwks.json"
            | "GET /.well-known/oauth-authorization-server"
            | "GET /.well-known/openid-configuration"
            | "GET /problems"
            | "GET /problems/{code}"
            | "GET /health"
            | "GET /ready"
            | "GET /openapi.json"
            | "GET /docs"
            | "GET /docs/{file}" => (Value::Null, 200),
            _ => panic!("list {line} here with its status"),
        };
        let path = route.path().replace("{id}", &tokens.session).replace("{code}", "not_found");
        let path = path.replace("{file}", "index.css");
        let answer = server.call(route.method().as_str(), &path, Some(&tokens.access), &body);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        if line == "DELETE /me/sessions/{id}" {
            assert_eq!(server.get("/me", Some(&tokens.access)).status, 401, "the session has ended");
        }
        if line == "GET /me/activity" {
            let events = answer.body["events"].as_array().unwrap();
            let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["login_succeeded", "user_registered"]);
        }
    }
    server.stop().unwrap();
}

#[test]
fn sync_learns_of_sessions_that_others_ended() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    let alice = json!({"username": "alice", "password": fixtures::PASSWORD});
    assert_eq!(server.post("/register", None, &alice).status, 201);
    let tokens = server.login("alice", fixtures::PASSWORD);
    assert_eq!(server.get("/protected", Some(&tokens.access)).status, 200);

    let other = site.other_instance();
    assert_eq!(Admin::new(&other).end_sessions_of(&Authority::operator(), "alice").unwrap(), 1);
    wait_until("the token is refused", || server.get("/protected", Some(&tokens.access)).status == 401);
    server.stop().unwrap();
}

#[test]
fn purge_deletes_sessions_that_ended_long_ago() {
    let site = Site::new();
    let other = site.other_instance();
    Maintenance::new(&other).sync().unwrap();
    Admin::new(&other).add_user(&Authority::operator(), &fixtures::alice()).unwrap();
    let credentials = fixtures::credentials("alice", fixtures::PASSWORD);
    AuthService::new(&other).login(&credentials, &fixtures::client()).unwrap();
    site.clock.advance(other.config().lifetimes.refresh_idle + SESSIONS_AFTER_THEIR_END);
    assert_eq!(site.store.session_rows(), 1);

    let server = site.start();
    wait_until("the session is deleted", || site.store.session_rows() == 0);
    server.stop().unwrap();
}

#[test]
fn failing_writes_make_the_server_unready() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    site.state.refuses_writes.store(true, Ordering::SeqCst);
    wait_until("the server is unready", || server.get("/ready", None).status == 503);
    assert_eq!(server.get("/health", None).status, 200);
    site.state.refuses_writes.store(false, Ordering::SeqCst);
    site.clock.advance(WRITES_SETTLE_WITHIN);
    server.wait_until_ready();
    server.stop().unwrap();
}

#[test]
fn server_waits_for_a_store_that_comes_later() {
    let site = Site::new();
    site.state.is_absent.store(true, Ordering::SeqCst);
    let server = site.start();
    assert_eq!(server.get("/health", None).status, 200);
    assert_eq!(server.get("/ready", None).status, 503);
    site.state.is_absent.store(false, Ordering::SeqCst);
    server.wait_until_ready();
    server.stop().unwrap();
}

#[test]
fn failed_backend_check_stops_the_server() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    site.state.is_replaced.store(true, Ordering::SeqCst);
    let error = server.thread.join().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the store was replaced");
}

#[test]
fn sealer_steps_and_closes_at_the_stop() {
    let site = Site::new();
    let server = site.start();
    wait_until("the sealer makes a step", || site.state.seals.load(Ordering::SeqCst) > 0);
    assert!(!site.state.is_closed.load(Ordering::SeqCst));
    server.stop().unwrap();
    assert!(site.state.is_closed.load(Ordering::SeqCst));
}

#[test]
fn graceful_stop_answers_requests_under_way() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    let alice = json!({"username": "alice", "password": fixtures::PASSWORD});
    assert_eq!(server.post("/register", None, &alice).status, 201);
    let tokens = server.login("alice", fixtures::PASSWORD);
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // The request is under way until its body is complete.
    let body = json!({"refresh_token": tokens.refresh}).to_string();
    let (begin, end) = body.split_at(10);
    let fields = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    write!(connection, "POST /refresh HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n{fields}\r\n\r\n")
        .unwrap();
    let mut interim = [0; 25];
    connection.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(begin.as_bytes()).unwrap();
    server.stop.notify_one();
    wait_until("no connection is accepted", || TcpStream::connect(server.address).is_err());
    connection.write_all(end.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.thread.join().unwrap().unwrap();
}
