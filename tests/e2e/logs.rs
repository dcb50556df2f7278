//! No secret, password, token or hash in any log line at any level.

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, SECRET, Server, TRACE, tail};

on_both_databases! {
    // ASVS 14.2.4 16.2.5
    fn no_line_holds_a_secret_at_any_level(database: &Database) {
        // RUST_LOG asks for what the HTTP stack would say of each request.
        let server = Server::start_with(database, TRACE);
        server.register("alice");
        let tokens = server.login("alice");
        let next = server.refresh(&tokens.refresh).tokens();
        server.get_as("/protected", &next.access);
        server.get_as("/me", &next.access);
        // Mistakes are logged too, and hold what was meant for another field.
        server.try_login(PASSWORD, PASSWORD);
        server.try_login("alice", "hunter2-Wrong!");
        server.post("/register", &json!({"username": "bob", "password": "hunter2-Wrong!", "hunter2-Wrong!": 1}));
        server.call("POST", "/login", &[("content-type", "application/json")], Some(r#"{"password":"hunter2-Wrong!"#));
        server.get(&format!("/protected/{}", next.access));
        server.get_as("/me", &format!("{}x", next.access));
        server.refresh(&tokens.refresh);
        server.refresh(&format!("{}x", next.refresh));
        database.import_user(1, "mallory", "hunter2-hash");
        server.try_login("mallory", "hunter2-Wrong!");
        server.logout(&next.refresh);
        let hash = database.text("SELECT password_hash FROM users WHERE canonical_name = 'alice'");

        let (_, log) = server.terminate();
        assert!(log.len() > 10, "{log:#?}");
        let secrets = [PASSWORD, SECRET, "hunter2", &tokens.access, &tokens.refresh, &next.access, &next.refresh, &hash];
        for secret in secrets.map(tail) {
            let leak = log.iter().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{secret}");
        }
    }

    fn no_route_tells_what_it_was_told(database: &Database) {
        let server = Server::start_with(database, TRACE);
        let described = server.get("/openapi.json").json();
        let operations: Vec<_> = described["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (path, method.to_uppercase())))
            .collect();
        assert!(operations.len() >= 19, "{operations:?}");
        let mut told = vec![SECRET.to_owned(), CANARY.to_owned(), NEW_CANARY.to_owned()];
        for (number, (path, method)) in operations.iter().enumerate() {
            let mut statuses = Vec::new();
            for attempt in 0..BODIES {
                let name = format!("user-{number}-{attempt}");
                assert_eq!(server.post("/register", &json!({"username": name, "password": CANARY})).status, 201);
                let first = server.try_login(&name, CANARY).tokens();
                let tokens = server.refresh(&first.refresh).tokens();
                let stored = format!("SELECT password_hash FROM users WHERE canonical_name = '{name}'");
                let own = [first.access, first.refresh, tokens.access.clone(), tokens.refresh.clone(), database.text(&stored)];
                told.extend(own.clone());

                let path = path.replace("{id}", &tokens.session).replace("{code}", "not_found").replace("{file}", "index.css");
                // The last ones go wrong: in the path, in the query, and in what is no JSON.
                let (path, body) = match attempt {
                    0 => (path, json!({"username": name, "password": CANARY}).to_string()),
                    1 => (path, json!({"username": format!("{name}-new"), "password": CANARY}).to_string()),
                    2 => (path, json!({"refresh_token": tokens.refresh}).to_string()),
                    3 => (path, json!({"current_password": CANARY, "new_password": NEW_CANARY}).to_string()),
                    4 => (path, json!({"current_password": CANARY}).to_string()),
                    5 => (path, json!({"username": CANARY, "password": name, "refresh_token": tokens.access, "surprise": CANARY}).to_string()),
                    6 => (format!("{path}/{}", tokens.refresh), format!(r#"{{"password":"{CANARY}","refresh_token":"{}"#, tokens.refresh)),
                    _ => (format!("{path}?scope={0}&limit={CANARY}&cursor={0}&{0}=1", tokens.refresh), String::new()),
                };
                let bearer = format!("Bearer {}", tokens.access);
                let cookie = format!("session={}", tokens.access);
                let mut headers = vec![("content-type", "application/json"), ("cookie", cookie.as_str())];
                // One token of each kind is one too many for a logout.
                if attempt != 2 {
                    headers.push(("authorization", bearer.as_str()));
                }
                let answer = server.call(method, &path, &headers, (method != "GET").then_some(body.as_str()));
                for secret in told[..3].iter().chain(&own).map(|secret| tail(secret)) {
                    let values = answer.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()));
                    let leaks = values.chain([answer.text.as_str().into()]).any(|text| text.contains(secret));
                    assert!(!leaks, "{method} {path} tells {secret}: {answer:?}");
                }
                statuses.push(answer.status);
                let given = serde_json::from_str::<serde_json::Value>(&answer.text);
                if given.is_ok_and(|given| given["access_token"].is_string()) {
                    let given = answer.tokens();
                    told.extend([given.access, given.refresh]);
                }
            }
            assert!(statuses.iter().any(|status| *status < 300), "{method} {path}: {statuses:?}");
            assert!(statuses.iter().all(|status| *status < 500), "{method} {path}: {statuses:?}");
        }
        let (_, log) = server.terminate();
        assert!(log.len() > operations.len() * BODIES, "{} lines", log.len());
        for secret in told.iter().map(|secret| tail(secret)) {
            let leak = log.iter().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{secret}");
        }
    }

    // ASVS 16.2.4 16.4.1
    fn every_line_is_one_json_object_with_the_requests_id(database: &Database) {
        let server = Server::start(database);
        let id = "my-request.1_A";
        let answer = server.call(
            "POST",
            "/login",
            &[("x-request-id", id), ("content-type", "application/json"), ("user-agent", "evil\"agent\\")],
            Some(r#"{"username":"a","password":"b"}"#),
        );
        assert_eq!(answer.header("x-request-id"), Some(id));
        let (_, log) = server.terminate();
        let lines: Vec<serde_json::Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let access = lines.iter().find(|line| line["target"] == "portcullis::access").unwrap();
        assert_eq!((&access["request_id"], &access["status"]), (&json!(id), &json!(401)), "{access}");
        assert!(lines.iter().all(|line| line["ts"].is_string() && line["level"].is_string() && line["msg"].is_string()));
    }
}

/// Passwords that the policy accepts.
const CANARY: &str = "Canary-7f3a-Old.1";
const NEW_CANARY: &str = "Canary-7f3a-New.2";

/// How many bodies each route gets, the right one among them.
const BODIES: usize = 8;

#[test]
fn people_get_text() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("LOG__FORMAT", "human")]);
    server.call("GET", "/health", &[("x-request-id", "mine")], None);
    let (_, log) = server.terminate();
    assert!(log.iter().all(|line| !line.starts_with('{') && line.contains("Z ")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("INFO") && line.contains("request_id=mine")), "{log:#?}");
}

#[test]
fn what_clients_get_wrong_is_no_error_of_the_service() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    for rubbish in [
        "GET / HTTP/1.1\r\nx: \0\r\n\r\n",
        "\r\n\0\r\n\r\n",
        "POST /login HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    ] {
        let answer = server.raw(rubbish.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{rubbish:?}: {answer:?}");
    }
    let (_, log) = server.terminate();
    assert!(!log.iter().any(|line| line.contains("\"level\":\"error\"")), "{log:#?}");
}
