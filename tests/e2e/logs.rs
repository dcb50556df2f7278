//! No secret, password, token or hash in any log line at any level.

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, SECRET, Server};

on_both_databases! {
    fn no_line_holds_a_secret_at_any_level(database: &Database) {
        // RUST_LOG asks for what the HTTP stack would say of each request.
        let settings = [("LOG__LEVEL", "trace"), ("RUST_LOG", "trace,actix_http=trace,actix_web=trace,diesel=trace")];
        let server = Server::start_with(database, &settings);
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
        // A part of a token is enough to worry.
        for secret in secrets.map(|secret| &secret[secret.len().saturating_sub(24)..]) {
            let leak = log.iter().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{secret}");
        }
    }

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

#[test]
fn people_get_text() {
    let server = Server::start_with(&Database::sqlite(), &[("LOG__FORMAT", "human")]);
    server.call("GET", "/health", &[("x-request-id", "mine")], None);
    let (_, log) = server.terminate();
    assert!(log.iter().all(|line| !line.starts_with('{') && line.contains("Z ")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("INFO") && line.contains("request_id=mine")), "{log:#?}");
}
