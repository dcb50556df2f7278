//! The flows of the specification: register, log in, refresh, protected access, and what refuses them.

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, Server, wait_until};

on_both_databases! {
    fn from_registration_to_logout(database: &Database) {
        let server = Server::start(database);
        let registered = server.register("Alice");
        assert_eq!(registered.status, 201, "{registered:?}");
        let user = registered.json();
        assert_eq!(user["username"], "Alice");
        // ASVS 14.2.6 15.3.1
        assert!(user.get("password_hash").is_none() && user.as_object().unwrap().len() == 3, "{user}");

        let login = server.try_login("aLICE", PASSWORD);
        assert_eq!(login.header("cache-control"), Some("no-store")); // ASVS 14.2.2
        let body = login.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)), "{body}");
        assert_eq!(body["refresh_expires_in"], json!(30 * 86_400));
        let tokens = login.tokens();

        let protected = server.get_as("/protected", &tokens.access);
        assert_eq!(protected.status, 200, "{protected:?}");
        assert_eq!((&protected.json()["user_id"], &protected.json()["session_id"]), (&user["id"], &json!(tokens.session)));
        assert_eq!(server.get_as("/me", &tokens.access).json(), user);

        let next = server.refresh(&tokens.refresh).tokens();
        assert_eq!(next.session, tokens.session);
        assert_ne!(next.refresh, tokens.refresh);
        assert_eq!(server.get_as("/protected", &next.access).status, 200);

        let logout = server.logout(&next.refresh);
        assert_eq!((logout.status, logout.text.as_str()), (204, ""));
        // ASVS 7.4.1
        server.get_as("/protected", &next.access).is_problem(401, "invalid_token");
        server.get_as("/protected", &tokens.access).is_problem(401, "invalid_token");
        server.refresh(&next.refresh).is_problem(401, "invalid_refresh_token");
        assert_eq!(server.logout(&next.refresh).status, 204, "once more");
    }

    fn what_is_wrong_is_told_at_once(database: &Database) {
        let server = Server::start(database);
        let answer = server.post("/register", &json!({"username": "-é", "password": "short"}));
        answer.is_problem(422, "invalid_request");
        let errors: Vec<_> = answer.json()["errors"].as_array().unwrap().iter()
            .map(|error| format!("{} {}", error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap()))
            .collect();
        assert_eq!(errors, [
            "#/username too_short", "#/username invalid_character", "#/username invalid_start",
            "#/password too_short", "#/password missing_upper", "#/password missing_digit", "#/password missing_special",
        ]);

        assert_eq!(server.register("Alice").status, 201);
        for name in ["Alice", "alice", "ALICE"] {
            server.register(name).is_problem(409, "username_taken");
        }
        assert_eq!(database.number("SELECT count(*) FROM users"), 1);
    }

    // ASVS 1.2.4
    fn nobody_gets_in_without_the_password(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let wrong = server.try_login("alice", "Wr0ng-password");
        let unknown = server.try_login("bob", PASSWORD);
        wrong.is_problem(401, "invalid_credentials");
        unknown.is_problem(401, "invalid_credentials");
        let without_id = |answer: &crate::server::Answer| {
            let mut body = answer.json();
            body.as_object_mut().unwrap().remove("request_id");
            body
        };
        assert_eq!(without_id(&wrong), without_id(&unknown), "one body for both");
        assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
        for strange in ["", " ", "' OR 1=1 --", "\u{202e}ecila", &"x".repeat(256)] {
            server.try_login(strange, "x").is_problem(401, "invalid_credentials");
        }
        assert_eq!(database.number("SELECT count(*) FROM sessions"), 0);
    }

    // ASVS 9.1.1
    fn a_flipped_character_makes_a_token_worthless_and_hurts_nobody(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        let flipped = |token: &str, at: usize| {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        };
        for at in 0..tokens.refresh.len() {
            server.refresh(&flipped(&tokens.refresh, at)).is_problem(401, "invalid_refresh_token");
        }
        for at in (0..tokens.access.len()).step_by(7) {
            server.get_as("/protected", &flipped(&tokens.access, at)).is_problem(401, "invalid_token");
        }
        for cut in [1, 2, 30] {
            let shorter = &tokens.refresh[..tokens.refresh.len() - cut];
            server.refresh(shorter).is_problem(401, "invalid_refresh_token");
            server.refresh(&format!("{}{}", tokens.refresh, "A".repeat(cut))).is_problem(401, "invalid_refresh_token");
        }
        assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
        assert_eq!(server.refresh(&tokens.refresh).status, 200, "the session lives on");
    }

    // ASVS 9.2.2
    fn tokens_are_for_one_purpose(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        server.get_as("/protected", &tokens.refresh).is_problem(401, "invalid_token");
        server.refresh(&tokens.access).is_problem(401, "invalid_refresh_token");
        server.get("/protected").is_problem(401, "missing_token");
    }

    fn access_tokens_expire(database: &Database) {
        let server = Server::start_with(database, &[("TOKENS__ACCESS_LIFETIME", "2s")]);
        server.register("alice");
        let login = server.try_login("alice", PASSWORD);
        assert_eq!(login.json()["expires_in"], 2);
        let tokens = login.tokens();
        assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
        wait_until("the token expires", || server.get_as("/protected", &tokens.access).status == 401);
        server.get_as("/me", &tokens.access).is_problem(401, "invalid_token");
        let next = server.refresh(&tokens.refresh).tokens();
        assert_eq!(server.get_as("/protected", &next.access).status, 200, "the session goes on");
        wait_until("and the next", || server.get_as("/protected", &next.access).status == 401);
        let bearer = format!("Bearer {}", next.access);
        let logout = server.call("POST", "/logout", &[("authorization", bearer.as_str())], None);
        assert_eq!(logout.status, 204, "an expired token still logs out: {logout:?}");
        server.refresh(&next.refresh).is_problem(401, "invalid_refresh_token");
    }

    fn closed_registration_is_closed(database: &Database) {
        let server = Server::start_with(database, &[("REGISTRATION__ENABLED", "false")]);
        server.register("alice").is_problem(403, "registration_closed");
        server.wait_for_line(r#""msg":"ready""#);
        assert_eq!(server.lines_with("try: curl"), 0, "a call that would be refused is not suggested");
    }
}
