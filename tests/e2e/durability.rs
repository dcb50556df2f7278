//! Everything acknowledged survives `kill -9` and a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::database::Database;
use crate::history::{Action, History, Observed, Outcome, check};
use crate::on_both_databases;
use crate::proxy::Proxy;
use crate::server::{PASSWORD, Server, Tokens, race, wait_until};

/// What rotates a session goes through, and its answer does not come back.
fn withholding_the_answer() -> (impl FnMut(&[u8]) -> bool, impl FnMut(&[u8]) -> bool) {
    let is_withheld = Arc::new(AtomicBool::new(false));
    let withhold = Arc::clone(&is_withheld);
    let mut is_prepared = false;
    let there = move |bytes: &[u8]| {
        // The statement is prepared first, which is answered, and then executed.
        withhold.fetch_or(is_prepared, Ordering::SeqCst);
        is_prepared |= bytes.windows(17).any(|part| part == br#"UPDATE "sessions""#);
        true
    };
    (there, move |_: &[u8]| !is_withheld.load(Ordering::SeqCst))
}

#[test]
fn a_rotation_that_was_committed_but_never_answered_is_answered_alike() {
    let database = &Database::postgres();
    let server = Server::start(database);
    server.register("alice");
    let tokens = server.login("alice");
    server.kill();
    let generation = format!("SELECT generation FROM sessions WHERE id = {}", database.id(&tokens.session));

    let proxy = Proxy::before(database, withholding_the_answer);
    let server = Server::start_with(database, &[("DATABASE__URL", &proxy.url)]);
    let answers = race(2, |n| {
        if n == 0 {
            return server.raw(refreshing(&tokens).as_bytes());
        }
        wait_until("it is committed", || database.number(&generation) == 1);
        server.signal("KILL");
        String::new()
    });
    assert_eq!(answers[0], "", "no answer left");
    drop(server);

    let server = Server::start(database);
    let successor = server.refresh(&tokens.refresh).tokens();
    assert_eq!(database.number(&generation), 1, "moved once");
    assert_eq!(server.refresh(&tokens.refresh).tokens().refresh, successor.refresh);
    assert_eq!(server.get_as("/protected", &successor.access).status, 200);
    assert_eq!(server.refresh(&successor.refresh).status, 200);
}

fn refreshing(tokens: &Tokens) -> String {
    let body = format!(r#"{{"refresh_token":"{}"}}"#, tokens.refresh);
    format!(
        "POST /refresh HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

on_both_databases! {
    fn users_rotations_and_ends_survive(database: &Database) {
        let server = Server::start(database);
        assert_eq!(server.register("alice").status, 201);
        let (kept, ended) = (server.login("alice"), server.login("alice"));
        let rotated = server.refresh(&kept.refresh).tokens();
        assert_eq!(server.logout(&ended.refresh).status, 204);
        server.kill();

        let server = Server::start(database);
        server.register("ALICE").is_problem(409, "username_taken");
        assert_eq!(server.get_as("/me", &rotated.access).json()["username"], "alice", "tokens outlive a restart");
        server.refresh(&ended.refresh).is_problem(401, "invalid_refresh_token");
        server.get_as("/protected", &ended.access).is_problem(401, "invalid_token");
        // The reply of the rotation could have been lost with the server: the retry gets the same successor.
        assert_eq!(server.refresh(&kept.refresh).tokens().refresh, rotated.refresh);
        assert_eq!(server.refresh(&rotated.refresh).status, 200);
    }

    fn a_rotation_whose_answer_died_with_the_server_is_answered_alike(database: &Database) {
        // From before the request is read to after it is answered, and wherever the database may have committed.
        for round in 0..20_u64 {
            let server = Server::start(database);
            if round == 0 {
                server.register("alice");
            }
            let tokens = server.login("alice");
            let generation = format!("SELECT generation FROM sessions WHERE id = {}", database.id(&tokens.session));
            let answers = race(2, |n| {
                if n == 0 {
                    return server.raw(refreshing(&tokens).as_bytes());
                }
                match round % 2 {
                    // As soon as the commit can be seen.
                    0 => wait_until("it is committed", || database.number(&generation) == 1),
                    _ => std::thread::sleep(Duration::from_micros(round * 250)),
                }
                server.signal("KILL");
                String::new()
            });
            drop(server);

            let server = Server::start(database);
            let successor = server.refresh(&tokens.refresh).tokens();
            assert_eq!(database.number(&generation), 1, "moved once, by the first call or by the second");
            if answers[0].starts_with("HTTP/1.1 200") {
                assert!(answers[0].contains(&successor.refresh), "the same successor");
            }
            assert_eq!(server.get_as("/protected", &successor.access).status, 200);
        }
    }

    fn what_was_acknowledged_under_load_is_there_after_the_kill(database: &Database) {
        let server = Server::start(database);
        let history = History::new();
        race(9, |n| {
            if n == 8 {
                // Once some are through, the server dies in the middle of the others.
                wait_until("some users are there", || {
                    database.number("SELECT count(*) FROM users") >= 20
                });
                server.signal("KILL");
                return;
            }
            for m in 0.. {
                let name = format!("user-{n}-{m}");
                let body = json!({"username": name, "password": PASSWORD});
                let register = || server.try_send("POST", "/register", None, &body).ok();
                let (outcome, _) = history.record(&name, Action::Register, register);
                if outcome != Outcome::Ok {
                    return;
                }
            }
        });
        drop(server);

        let server = Server::start(database);
        let operations = history.operations();
        let chain = Observed::verify_chain(database);
        let observed = Observed::read(database, "user-", &BTreeMap::new(), &operations, chain);
        assert_eq!(check(&operations, &observed), [""; 0]);
        let count = |outcome| operations.iter().filter(|operation| operation.outcome == outcome).count();
        assert!(count(Outcome::Ok) >= 10 && count(Outcome::Unknown) == 8, "the server died while every client waited");
        assert_eq!(server.get("/ready").status, 200);
    }
}
