//! EN and BF: what answers tell about accounts, and how far guessing gets.

use serde_json::json;

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, login_failed, refused};
use super::passwords::{logged_in, login};
use super::wire::Request;
use crate::server::{PASSWORD, Tokens};

pub(super) const CASES: &[Case] = &[
    ("EN-01", one_answer_for_every_failure),
    ("EN-05", one_answer_for_everybody_who_waits),
    ("EN-07", one_answer_for_what_belongs_to_others),
    ("BF-01", the_right_password_after_wrong_ones),
    ("BF-04", other_ways_to_the_password),
    ("BF-05", the_owner_while_others_guess),
];

const BEHIND_A_PROXY: (&str, &str) = ("SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

/// How many guesses in a row do not have to wait.
const FREE: usize = 5;

fn one_answer_for_every_failure(attack: &mut Attack<'_>) {
    let known = attack.user();
    let unknown = attack.name();
    let disabled = attack.user();
    attack.operate(&["user", "disable", &disabled]);
    let damaged = attack.name();
    attack.meddle(|database| database.import_user(50, &damaged, "x"));
    let answers = [
        attack.tries(&login(&known, CANARY), &login_failed()),
        attack.tries(&login(&unknown, PASSWORD), &login_failed()),
        attack.tries(&login(&disabled, PASSWORD), &login_failed()),
        attack.tries(&login(&disabled, CANARY), &login_failed()),
        attack.tries(&login(&damaged, CANARY), &login_failed()),
    ];
    for answer in &answers {
        assert_eq!(answer.likeness(), answers[0].likeness());
    }
}

fn one_answer_for_everybody_who_waits(attack: &mut Attack<'_>) {
    let known = attack.user();
    let unknown = attack.name();
    let answers = [known, unknown].map(|name| {
        guess(attack, &name, None);
        let waiting = attack.tries(&login(&name, CANARY), &refused(429, "rate_limited"));
        (waiting.likeness(), waiting.field("retry-after").unwrap().to_owned())
    });
    assert_eq!(answers[0], answers[1]);
}

/// Guesses as often as it costs no waiting.
fn guess(attack: &mut Attack<'_>, name: &str, address: Option<&str>) {
    for n in 1..=FREE {
        let mut request = login(name, CANARY);
        if let Some(address) = address {
            request = request.field("x-forwarded-for", address);
        }
        let expected = if n < FREE {
            login_failed()
        } else {
            login_failed().recording(&["login_failed", "throttling_begun"])
        };
        attack.tries(&request, &expected);
    }
}

fn one_answer_for_what_belongs_to_others(attack: &mut Attack<'_>) {
    let (owner, other) = (attack.user(), attack.user());
    let (hers, his) = (attack.login(&owner), attack.login(&other));
    let end = |id: &str| Request::new("DELETE", &format!("/me/sessions/{id}")).bearer(&his.access);
    let answers = [
        &hers.session,
        "01900000-0000-7000-8000-000000000000",
        "00000000-0000-0000-0000-000000000000",
        "1",
        CANARY,
    ]
    .map(|id| attack.tries(&end(id), &refused(404, "not_found")));
    for answer in &answers {
        assert_eq!(answer.likeness(), answers[0].likeness());
    }
    for path in ["/me/sessions", "/me/activity", "/me"] {
        let reply = attack.tries(&Request::get(path).bearer(&his.access), &answered(200));
        let fields: Vec<_> = reply.json().as_object().unwrap().keys().cloned().collect();
        assert!(!fields.iter().any(|name| name.contains("total") || name.contains("count")), "{fields:?}");
        assert!(!reply.body.contains(&hers.session) && !reply.body.contains(&owner), "{reply:?}");
    }
    attack.tries(&Request::get("/protected").bearer(&hers.access), &answered(200));
}

fn the_right_password_after_wrong_ones(attack: &mut Attack<'_>) {
    let name = attack.user();
    guess(attack, &name, None);
    for _ in 0..10 {
        attack.tries(&login(&name, PASSWORD), &refused(429, "rate_limited"));
        attack.tries(&login(&name, CANARY), &refused(429, "rate_limited"));
    }
}

fn change_password(tokens: &Tokens, current: &str) -> Request {
    let body = json!({"current_password": current, "new_password": format!("Aa1-{CANARY}")}).to_string();
    Request::json("PUT", "/me/password", body).bearer(&tokens.access).secret(current)
}

fn delete_account(tokens: &Tokens, current: &str) -> Request {
    let body = json!({"current_password": current}).to_string();
    Request::json("DELETE", "/me", body).bearer(&tokens.access).secret(current)
}

fn delete_account_by_post(tokens: &Tokens, current: &str) -> Request {
    let body = json!({"current_password": current}).to_string();
    Request::post("/me/delete", body).bearer(&tokens.access).secret(current)
}

fn other_ways_to_the_password(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let not_confirmed = refused(422, "invalid_request")
        .changing(&["attempt_counters"])
        .recording(&["password_not_confirmed"]);
    attack.tries(&login(&name, CANARY), &login_failed());
    attack.tries(&change_password(&tokens, CANARY), &not_confirmed);
    attack.tries(&delete_account(&tokens, CANARY), &not_confirmed);
    attack.tries(&delete_account_by_post(&tokens, CANARY), &not_confirmed);
    let begun = not_confirmed.recording(&["password_not_confirmed", "throttling_begun"]);
    attack.tries(&change_password(&tokens, CANARY), &begun);
    for password in [PASSWORD, CANARY] {
        attack.tries(&login(&name, password), &refused(429, "rate_limited"));
        attack.tries(&change_password(&tokens, password), &refused(429, "rate_limited"));
        attack.tries(&delete_account(&tokens, password), &refused(429, "rate_limited"));
        attack.tries(&delete_account_by_post(&tokens, password), &refused(429, "rate_limited"));
    }
    // Nobody is signed out by somebody's guesses.
    attack.tries(&Request::get("/protected").bearer(&tokens.access), &answered(200));
    attack.refresh(&tokens);
}

fn the_owner_while_others_guess(attack: &mut Attack<'_>) {
    let name = attack.user();
    attack.against(&[BEHIND_A_PROXY], |attack| {
        let from = |address: &str, password: &str| login(&name, password).field("x-forwarded-for", address);
        attack.tries(&from("192.0.2.1", PASSWORD), &logged_in());
        guess(attack, &name, Some("203.0.113.5"));
        attack.tries(&from("203.0.113.6", PASSWORD), &refused(429, "rate_limited"));
        let home = Expected::one_of(&[(200, "")])
            .changing(&["attempt_counters", "sessions"])
            .recording(&["login_succeeded"]);
        attack.tries(&from("192.0.2.1", PASSWORD), &home);
        attack.tries(&from("203.0.113.6", PASSWORD), &refused(429, "rate_limited"));
    });
}
