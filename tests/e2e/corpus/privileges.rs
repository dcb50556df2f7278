//! PV: what somebody may not have, see or ask for.

use serde_json::json;

use super::Case;
use super::attack::{Attack, CANARY, answered, refused};
use super::wire::Request;
use crate::server::PASSWORD;

pub(super) const CASES: &[Case] = &[
    ("PV-01", fields_that_nobody_may_set),
    ("PV-02", what_belongs_to_others),
    ("PV-05", forged_cursors),
    ("PV-08", pages_without_end),
];

// ASVS 8.2.3 15.3.3
fn fields_that_nobody_may_set(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let before = attack.tries(&Request::get("/me").bearer(&tokens.access), &answered(200));
    for (field, value) in [
        ("role", json!("admin")),
        ("roles", json!(["admin"])),
        ("is_admin", json!(true)),
        ("email_verified", json!(true)),
        ("id", json!("00000000-0000-7000-8000-000000000001")),
        ("banned", json!(false)),
        ("disabled_at", json!(null)),
        ("password_hash", json!(CANARY)),
        ("credential_version", json!(1)),
        ("user.role", json!("admin")),
        ("user[role]", json!("admin")),
        ("user", json!({"role": "admin"})),
        ("created_at", json!("1970-01-01T00:00:00Z")),
    ] {
        let nobody = attack.name();
        for (method, path, mut body) in [
            ("POST", "/register", json!({"username": nobody, "password": PASSWORD})),
            ("POST", "/login", json!({"username": name, "password": PASSWORD})),
            ("POST", "/refresh", json!({"refresh_token": tokens.refresh})),
            (
                "PUT",
                "/me/password",
                json!({"current_password": PASSWORD, "new_password": "An0ther-good one"}),
            ),
            ("DELETE", "/me", json!({"current_password": PASSWORD})),
        ] {
            body[field] = value.clone();
            let request = Request::json(method, path, body.to_string()).secret(&tokens.refresh);
            let request = if path.starts_with("/me") { request.bearer(&tokens.access) } else { request };
            attack.tries(&request, &refused(422, "invalid_request"));
        }
        let patch = Request::json("PATCH", "/me", json!({field: value}).to_string()).bearer(&tokens.access);
        attack.tries(&patch, &refused(405, "method_not_allowed"));
    }
    let after = attack.tries(&Request::get("/me").bearer(&tokens.access), &answered(200));
    assert_eq!(before.body, after.body);
}

// ASVS 8.2.2
fn what_belongs_to_others(attack: &mut Attack<'_>) {
    let (owner, other) = (attack.user(), attack.user());
    let (hers, his) = (attack.login(&owner), attack.login(&other));
    let user = attack.server().get_as("/me", &hers.access).json()["id"].as_str().unwrap().to_owned();
    for id in [
        hers.session.as_str(),
        &user,
        "1",
        "2",
        "-1",
        "me",
        &hers.session.to_uppercase(),
        &hers.session.replace('-', ""),
    ] {
        let end = Request::new("DELETE", &format!("/me/sessions/{id}")).bearer(&his.access);
        attack.tries(&end, &refused(404, "not_found"));
    }
    for path in [
        format!("/users/{user}"),
        format!("/me/{user}"),
        format!("/me/sessions/{}/events", hers.session),
        "/admin".into(),
        "/users".into(),
        "/audit".into(),
    ] {
        attack.tries(&Request::get(&path).bearer(&his.access), &refused(404, "not_found"));
    }
    for query in
        [format!("user_id={user}"), format!("session_id={}", hers.session), format!("username={owner}")]
    {
        let asked = Request::get(&format!("/me/activity?{query}")).bearer(&his.access);
        attack.tries(&asked, &refused(422, "invalid_request"));
    }
    attack.tries(&Request::get("/protected").bearer(&hers.access), &answered(200));
}

// ASVS 8.2.2
fn forged_cursors(attack: &mut Attack<'_>) {
    let (owner, other) = (attack.user(), attack.user());
    let (hers, his) = (attack.login(&owner), attack.login(&other));
    let page = attack.tries(&Request::get("/me/activity?limit=1").bearer(&hers.access), &answered(200));
    let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
    let with = |cursor: &str| Request::get(&format!("/me/activity?cursor={cursor}")).bearer(&his.access);
    for forged in [
        "",
        "x",
        "null",
        "AAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAA",
        "%27%20OR%201=1",
        "%00",
        "0198c8a4-0000-7000-8000-000000000000",
        "..%2f..%2f",
        "eyJpZCI6MX0",
        "%C3%A9",
        &format!("{cursor}A"),
        &cursor[1..],
    ] {
        attack.tries(&with(forged), &refused(422, "invalid_request"));
    }
    // It only says where to go on: in somebody else's list it finds nothing of its owner's.
    for cursor in [cursor.as_str(), "AAAAAAAAAAAAAAAAAAAAAA", "_____________________w"] {
        let page = attack.tries(&with(cursor), &answered(200));
        assert!(!page.body.contains(&hers.session), "{page:?}");
    }
}

// ASVS 2.3.2
fn pages_without_end(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for limit in [
        "0",
        "-1",
        "101",
        "1000000000",
        "99999999999999999999",
        "1.0",
        "1e2",
        "",
        "x",
        "%2B5",
        "%201",
        "1%00",
        "0x10",
        "NaN",
        "5&limit=5",
        "5&page_size=1000000",
    ] {
        let asked = Request::get(&format!("/me/activity?limit={limit}")).bearer(&tokens.access);
        attack.tries(&asked, &refused(422, "invalid_request"));
    }
    for path in ["/me/sessions?limit=-1", "/me?fields=password_hash", "/protected?limit=0"] {
        let asked = attack.tries(&Request::get(path).bearer(&tokens.access), &answered(200));
        assert!(!asked.body.contains("$bcrypt"), "{asked:?}");
    }
}
