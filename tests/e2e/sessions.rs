//! A user's own sessions: how many there are, who sees them, and what ends them.

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{Answer, PASSWORD, Server, Tokens};

const NEW_PASSWORD: &str = "An0ther-good one";

/// The ids of a user's sessions, as listed, and which of them is the caller's.
fn listed(server: &Server, tokens: &Tokens) -> (Vec<String>, Vec<bool>) {
    let list = server.get_as("/me/sessions", &tokens.access).json();
    let sessions = list["sessions"].as_array().unwrap();
    let id = |session: &serde_json::Value| session["id"].as_str().unwrap().to_owned();
    let is_current = |session: &serde_json::Value| session["current"].as_bool().unwrap();
    (sessions.iter().map(id).collect(), sessions.iter().map(is_current).collect())
}

fn end(server: &Server, tokens: &Tokens, session: &str) -> Answer {
    let bearer = format!("Bearer {}", tokens.access);
    server.call("DELETE", &format!("/me/sessions/{session}"), &[("authorization", &bearer)], None)
}

#[track_caller]
fn is_over(server: &Server, tokens: &Tokens) {
    server.get_as("/protected", &tokens.access).is_problem(401, "invalid_token");
    server.refresh(&tokens.refresh).is_problem(401, "invalid_refresh_token");
}

#[track_caller]
fn lives(server: &Server, tokens: &Tokens) {
    assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
}

on_both_databases! {
    // ASVS 10.4.9
    fn they_are_listed_and_ended_one_by_one(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let (first, second, third) = (server.login("alice"), server.login("alice"), server.login("alice"));
        let (ids, current) = listed(&server, &second);
        assert_eq!(ids, [&third, &second, &first].map(|tokens| tokens.session.clone()));
        assert_eq!(current, [false, true, false]);

        assert_eq!(end(&server, &second, &first.session).status, 204);
        is_over(&server, &first);
        assert_eq!(end(&server, &second, &first.session).status, 204, "it is over as asked");
        assert_eq!(listed(&server, &second).0.len(), 2);
        assert_eq!(end(&server, &second, &second.session).status, 204, "the own one");
        is_over(&server, &second);
        lives(&server, &third);
    }

    // ASVS 8.2.2 10.3.2
    fn those_of_others_are_like_unknown_ones(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        server.register("mallory");
        let (alice, mallory) = (server.login("alice"), server.login("mallory"));
        let unknown = "01900000-0000-7000-8000-000000000000";
        let answers = [&alice.session, unknown].map(|session| {
            let mut answer = end(&server, &mallory, session);
            answer.is_problem(404, "not_found");
            let id = answer.header("x-request-id").unwrap().to_owned();
            let names: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
            answer.text = answer.text.replace(&id, "<id>");
            (names, answer.text)
        });
        assert_eq!(answers[0], answers[1]);
        lives(&server, &alice);
    }

    fn a_logout_ends_others_or_all_if_told(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let [first, second, third] = [(); 3].map(|()| server.login("alice"));
        let bearer = format!("Bearer {}", second.access);
        let others = server.call("POST", "/logout?scope=others", &[("authorization", &bearer)], None);
        assert_eq!(others.status, 204, "{others:?}");
        is_over(&server, &first);
        is_over(&server, &third);
        lives(&server, &second);

        let fourth = server.login("alice");
        let all = server.post("/logout?scope=all", &json!({"refresh_token": second.refresh}));
        assert_eq!(all.status, 204, "{all:?}");
        is_over(&server, &second);
        is_over(&server, &fourth);
        let again = server.post("/logout?scope=all", &json!({"refresh_token": second.refresh}));
        again.is_problem(401, "invalid_refresh_token");
    }

    // ASVS 2.3.2
    fn a_login_beyond_the_bound_ends_the_oldest(database: &Database) {
        let server = Server::start_with(database, &[("SESSIONS__MAX_PER_USER", "3")]);
        server.register("alice");
        let sessions: Vec<_> = (0..5).map(|_| server.login("alice")).collect();
        for old in &sessions[..2] {
            is_over(&server, old);
        }
        for kept in &sessions[2..] {
            lives(&server, kept);
        }
        assert_eq!(listed(&server, &sessions[4]).0.len(), 3);
        let evicted = "SELECT count(*) FROM security_events WHERE kind = 'session_evicted'";
        assert_eq!(database.number(evicted), 2);
    }

    fn a_new_password_ends_all_sessions_and_opens_one(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let (here, there) = (server.login("alice"), server.login("alice"));
        let wrong = server.change_password(&here.access, "Wr0ng-password", NEW_PASSWORD);
        wrong.is_problem(422, "invalid_request"); // ASVS 6.2.3
        assert_eq!(wrong.json()["errors"][0]["pointer"], "#/current_password", "{wrong:?}");
        assert_eq!(wrong.json()["errors"][0]["code"], "incorrect", "{wrong:?}");
        lives(&server, &here);

        let new = server.change_password(&here.access, PASSWORD, NEW_PASSWORD).tokens();
        // ASVS 7.4.3
        is_over(&server, &here);
        is_over(&server, &there);
        lives(&server, &new);
        assert_ne!(new.session, here.session); // ASVS 7.2.4
        server.try_login("alice", PASSWORD).is_problem(401, "invalid_credentials");
        assert_eq!(server.try_login("alice", NEW_PASSWORD).status, 200); // ASVS 6.2.2
        assert_eq!(server.refresh(&new.refresh).status, 200);
    }

    // ASVS 7.4.2 10.3.3
    fn a_deleted_account_is_gone_and_its_name_is_free(database: &Database) {
        let server = Server::start(database);
        let old = server.register("alice").json();
        let (here, there) = (server.login("alice"), server.login("alice"));
        let wrong = server.send_as("DELETE", "/me", &here.access, &json!({"current_password": "Wr0ng"}));
        wrong.is_problem(422, "invalid_request");
        let deleted = server.send_as("DELETE", "/me", &here.access, &json!({"current_password": PASSWORD}));
        assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
        is_over(&server, &here);
        is_over(&server, &there);
        server.try_login("alice", PASSWORD).is_problem(401, "invalid_credentials");

        let new = server.register("Alice");
        assert_eq!(new.status, 201, "{new:?}");
        assert_ne!(new.json()["id"], old["id"]);
        let tokens = server.login("alice");
        assert_eq!(listed(&server, &tokens).0, std::slice::from_ref(&tokens.session), "nothing is inherited");
    }

    fn no_token_outlives_its_session(database: &Database) {
        let settings = [("TOKENS__REFRESH_IDLE", "60s"), ("TOKENS__REFRESH_ABSOLUTE", "60s")];
        let server = Server::start_with(database, &settings);
        server.register("alice");
        let body = server.try_login("alice", PASSWORD).json();
        assert_eq!((&body["expires_in"], &body["refresh_expires_in"]), (&json!(60), &json!(60)), "{body}");
    }
}
