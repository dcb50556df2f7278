//! RF and SE: refresh tokens, and what of a session works after its end.

use serde_json::json;

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, refused};
use super::wire::Request;
use crate::server::{PASSWORD, Tokens};

pub(super) const CASES: &[Case] = &[
    ("RF-01", one_token_many_times),
    ("RF-02", tokens_of_two_generations_ago),
    ("RF-07", refreshing_for_who_is_gone),
    ("RF-11", refreshing_without_pause),
    ("SE-01", after_a_new_password),
    ("SE-02", after_a_ban),
    ("SE-04", after_a_logout),
    ("SE-05", after_the_account_was_deleted),
];

const NEW_PASSWORD: &str = "An0ther-Canary one";

fn refresh(token: &str) -> Request {
    let body = json!({"refresh_token": token}).to_string();
    Request::post("/refresh", body).field("x-secret", CANARY).secret(token)
}

fn logout(token: &str) -> Request {
    let body = json!({"refresh_token": token}).to_string();
    Request::post("/logout", body).field("x-secret", CANARY).secret(token)
}

/// The tokens of a session that is over are good for nothing.
fn is_over(attack: &mut Attack<'_>, tokens: &Tokens) {
    for path in ["/protected", "/me", "/me/sessions", "/me/activity"] {
        attack.tries(&Request::get(path).bearer(&tokens.access), &refused(401, "invalid_token"));
    }
    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD}).to_string();
    let change = Request::json("PUT", "/me/password", body).bearer(&tokens.access);
    attack.tries(&change, &refused(401, "invalid_token"));
    let body = json!({"current_password": PASSWORD}).to_string();
    attack
        .tries(&Request::json("DELETE", "/me", body).bearer(&tokens.access), &refused(401, "invalid_token"));
    attack.tries(&refresh(&tokens.refresh), &refused(401, "invalid_refresh_token"));
    for scope in ["others", "all"] {
        let body = json!({"refresh_token": tokens.refresh}).to_string();
        let all = Request::post(&format!("/logout?scope={scope}"), body).secret(&tokens.refresh);
        attack.tries(&all, &refused(401, "invalid_refresh_token"));
    }
}

fn one_token_many_times(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let first = attack.tries(&refresh(&tokens.refresh), &answered(200).changing(&["sessions"]));
    let successor = |reply: &super::wire::Reply| reply.json()["refresh_token"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        let again = attack.tries(&refresh(&tokens.refresh), &answered(200));
        assert_eq!(successor(&again), successor(&first), "one successor");
    }
}

// ASVS 10.4.5
fn tokens_of_two_generations_ago(attack: &mut Attack<'_>) {
    let name = attack.user();
    let first = attack.login(&name);
    let second = attack.refresh(&first);
    let third = attack.refresh(&second);
    let reused =
        refused(401, "refresh_token_reused").changing(&["sessions"]).recording(&["refresh_token_reused"]);
    attack.tries(&refresh(&first.refresh), &reused);
    attack.tries(&refresh(&first.refresh), &refused(401, "invalid_refresh_token"));
    attack.tries(&refresh(&second.refresh), &refused(401, "invalid_refresh_token"));
    is_over(attack, &third);
}

fn refreshing_for_who_is_gone(attack: &mut Attack<'_>) {
    for what in [&["disable"][..], &["delete", "--yes"], &["sessions", "--end"]] {
        let name = attack.user();
        let tokens = attack.login(&name);
        let (verb, flags) = what.split_first().unwrap();
        attack.operate(&[&["user", verb, &name], flags].concat());
        attack.tries(&refresh(&tokens.refresh), &refused(401, "invalid_refresh_token"));
        attack.until_refused(&tokens.access);
        is_over(attack, &tokens);
    }
}

// ASVS 2.4.1
fn refreshing_without_pause(attack: &mut Attack<'_>) {
    let name = attack.user();
    let settings = [
        ("LIMITS__ENABLED", "true"),
        ("LIMITS__SESSION_REFRESH__BURST", "5"),
        ("LIMITS__SESSION_REFRESH__REQUESTS", "1"),
        ("LIMITS__SESSION_REFRESH__PER", "24h"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    attack.against(&settings, |attack| {
        let mut tokens = attack.login(&name);
        let session = tokens.session.clone();
        for n in 0..10 {
            // From wherever it comes.
            let request = refresh(&tokens.refresh).field("x-forwarded-for", format!("2001:db8:{n:x}::1"));
            if n < 5 {
                let reply = attack.tries(&request, &answered(200).changing(&["sessions"]));
                let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
                tokens = Tokens {
                    access: text("access_token"),
                    refresh: text("refresh_token"),
                    session: text("session_id"),
                };
            } else {
                attack.tries(&request, &refused(429, "rate_limited"));
            }
        }
        let rows = format!("SELECT count(*) FROM sessions WHERE id = {}", attack.database.id(&session));
        assert_eq!(attack.database.number(&rows), 1, "one row, however often it is refreshed");
    });
}

fn after_a_new_password(attack: &mut Attack<'_>) {
    let name = attack.user();
    let (here, there) = (attack.login(&name), attack.login(&name));
    let changed = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD}).to_string();
    let change = Request::json("PUT", "/me/password", changed).bearer(&here.access).secret(NEW_PASSWORD);
    let done =
        answered(200).changing(&["attempt_counters", "sessions", "users"]).recording(&["password_changed"]);
    attack.tries(&change, &done);
    is_over(attack, &here);
    is_over(attack, &there);

    // And by the operator, behind the back of the instance.
    let name = attack.user();
    let tokens = attack.login(&name);
    attack.operate(&["user", "sessions", &name, "--end"]);
    attack.until_refused(&tokens.access);
    is_over(attack, &tokens);
}

fn after_a_ban(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    attack.operate(&["user", "disable", &name]);
    attack.until_refused(&tokens.access);
    is_over(attack, &tokens);
    attack.tries(&super::passwords::login(&name, PASSWORD), &super::attack::login_failed());
    attack.operate(&["user", "enable", &name]);
    is_over(attack, &tokens);
}

fn after_a_logout(attack: &mut Attack<'_>) {
    let (name, other) = (attack.user(), attack.user());
    let (first, second, others) = (attack.login(&name), attack.login(&name), attack.login(&other));
    let done = answered(204).changing(&["sessions"]).recording(&["logged_out"]);
    attack.tries(&logout(&first.refresh), &done);
    is_over(attack, &first);
    attack.tries(&logout(&first.refresh), &answered(204));
    let bearer = Request::new("POST", "/logout").bearer(&first.access);
    attack.tries(&bearer, &answered(204));
    attack.tries(&Request::get("/protected").bearer(&second.access), &answered(200));

    let foreign = Request::new("DELETE", &format!("/me/sessions/{}", second.session)).bearer(&others.access);
    attack.tries(&foreign, &refused(404, "not_found"));
    let wrong = Expected::one_of(&[
        (401, "invalid_refresh_token"),
        (401, "invalid_token"),
        (422, "invalid_request"),
        (400, "malformed_json"),
    ]);
    for token in ["x", &format!("{}x", second.refresh), &second.access, CANARY] {
        attack.tries(&logout(token), &wrong);
    }
    attack.tries(
        &Request::new("POST", "/logout"),
        &Expected::one_of(&[(401, "missing_token"), (422, "invalid_request"), (400, "malformed_json")]),
    );
    attack.tries(&Request::get("/protected").bearer(&second.access), &answered(200));
}

fn after_the_account_was_deleted(attack: &mut Attack<'_>) {
    let name = attack.user();
    let (here, there) = (attack.login(&name), attack.login(&name));
    let body = json!({"current_password": PASSWORD}).to_string();
    let delete = Request::json("DELETE", "/me", body).bearer(&here.access);
    let done =
        answered(204).changing(&["attempt_counters", "sessions", "users"]).recording(&["account_deleted"]);
    attack.tries(&delete, &done);
    is_over(attack, &here);
    assert_eq!(attack.server().register(&name).status, 201);
    is_over(attack, &here);
    is_over(attack, &there);
    let new = attack.login(&name);
    let list = attack.tries(&Request::get("/me/sessions").bearer(&new.access), &answered(200));
    assert_eq!(list.json()["sessions"].as_array().unwrap().len(), 1, "nothing is inherited: {list:?}");
}
