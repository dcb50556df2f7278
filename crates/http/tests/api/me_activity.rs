use actix_web::test::TestRequest;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::{Value, json};

use crate::test_app::{Setup, TestApp, bearer, named, post};

/// The kinds of the events of a page, and its cursor.
async fn page(app: &TestApp, token: &str, query: &str) -> (Vec<String>, Option<String>) {
    let answer = app.get_as(&format!("/me/activity{query}"), token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let kinds =
        body["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned());
    (kinds.collect(), body["next_cursor"].as_str().map(str::to_owned))
}

// ASVS 14.3.2 16.2.1
#[actix_web::test]
async fn a_user_sees_what_happened_to_the_account_the_latest_first() {
    let app = TestApp::new().await;
    assert_eq!(app.register("Alice", PASSWORD).await.status, 201);
    app.wait(1);
    app.login("alice", PASSWORD).await.tokens();
    assert_eq!(app.register("Bob", PASSWORD).await.status, 201);
    app.login("bob", PASSWORD).await.tokens();
    app.wait(59);
    let failed = post("/login", json!({"username": "alice", "password": "Wr0ng-password"}))
        .peer_addr("[2001:db8:1:2:3:4:5:6]:1".parse().unwrap())
        .insert_header(("user-agent", "curl/8.5"));
    assert_eq!(app.send(failed).await.status, 401);
    app.wait(60);
    let tokens = app.login("alice", PASSWORD).await.tokens();
    let ids: Vec<_> = app.store.events().iter().map(|event| event.id.to_string()).collect();
    let first_session = app.store.events()[1].session.unwrap().to_string();

    let answer = app.get_as("/me/activity", &tokens.access).await;
    answer.check(
        200,
        &json!({
            "events": [
                {
                    "id": ids[5],
                    "kind": "login_succeeded",
                    "detail": null,
                    "at": "2027-01-15T08:02:00Z",
                    "session_id": tokens.session,
                    "ip": null,
                    "user_agent": null,
                },
                {
                    "id": ids[4],
                    "kind": "login_failed",
                    "detail": "wrong_password",
                    "at": "2027-01-15T08:01:00Z",
                    "session_id": null,
                    "ip": "2001:db8:1:2::",
                    "user_agent": "curl/8.5",
                },
                {
                    "id": ids[1],
                    "kind": "login_succeeded",
                    "detail": null,
                    "at": "2027-01-15T08:00:01Z",
                    "session_id": first_session,
                    "ip": null,
                    "user_agent": null,
                },
                {
                    "id": ids[0],
                    "kind": "user_registered",
                    "detail": null,
                    "at": "2027-01-15T08:00:00Z",
                    "session_id": null,
                    "ip": null,
                    "user_agent": null,
                },
            ],
            "next_cursor": Value::Null,
        }),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn a_long_list_comes_page_by_page() {
    let app = TestApp::new().await;
    let mut tokens = app.alice().await;
    for _ in 0..59 {
        app.wait(1);
        tokens = app.login("alice", PASSWORD).await.tokens();
    }
    // 60 logins of which 10 ended an older session, and the registration.
    let (all, end) = page(&app, &tokens.access, "?limit=100").await;
    assert_eq!((all.len(), end), (71, None));
    let (usual, _) = page(&app, &tokens.access, "").await;
    assert_eq!(usual, all[..50]);

    for limit in [7, 30, 70, 71] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (kinds, next) = page(&app, &tokens.access, &format!("?limit={limit}{cursor}")).await;
            assert!(kinds.len() == limit || next.is_none());
            seen.extend(kinds);
            assert!(seen.len() < 200, "it has an end");
            let Some(next) = next else { break };
            // What happens meanwhile is no part of it, only of the next list. (Four are not too many yet.)
            if cursor.is_empty() {
                app.login("alice", "Wr0ng-password").await.check_problem(ProblemCode::InvalidCredentials);
            }
            cursor = format!("&cursor={next}");
        }
        seen.retain(|kind| kind != "login_failed");
        assert_eq!(seen, all, "{limit}");
    }
}

// ASVS 8.2.2
#[actix_web::test]
async fn a_cursor_of_another_user_shows_nothing_of_that_user() {
    let app = TestApp::new().await;
    // Events of one moment have no order.
    assert_eq!(app.register("Alice", PASSWORD).await.status, 201);
    app.wait(1);
    let alice = app.login("alice", PASSWORD).await.tokens();
    app.wait(1);
    assert_eq!(app.register("Bob", PASSWORD).await.status, 201);
    app.wait(1);
    let bob = app.login("bob", PASSWORD).await.tokens();
    let (_, cursor) = page(&app, &bob.access, "?limit=1").await;
    // Bob's registration comes next in Bob's list.
    let asked = app.get_as(&format!("/me/activity?cursor={}", cursor.unwrap()), &alice.access).await.json();
    let ids: Vec<_> = app.store.events().iter().map(|event| event.id.to_string()).collect();
    let shown: Vec<_> = asked["events"].as_array().unwrap().iter().map(|event| &event["id"]).collect();
    assert_eq!(shown, [&ids[1], &ids[0]], "the events of Alice");
    assert_eq!(asked["next_cursor"], Value::Null);
}

// ASVS 2.2.1 15.3.7
#[actix_web::test]
async fn what_asks_for_no_page_is_refused() {
    let app = TestApp::new().await;
    let token = app.alice().await.access;
    let (limit, cursor) = (("#/limit", "wrong_type"), ("#/cursor", "wrong_type"));
    let good = "AAAAAAAAAAAAAAAAAAAAAA";
    app.get_as(&format!("/me/activity?cursor={good}"), &token)
        .await
        .check(200, &json!({"events": [], "next_cursor": null}));
    for value in
        ["0", "101", "-1", "%2B5", "1.0", "", "x", "4294967296", "99999999999999999999", "1%00", "%201"]
    {
        app.get_as(&format!("/me/activity?limit={value}"), &token).await.check_violations(&[limit]);
    }
    for value in [
        "",
        "x",
        "AAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAA%2BA",
        "0198c8a4-0000-7000-8000-000000000000",
        "%C3%A9",
        "null",
    ] {
        app.get_as(&format!("/me/activity?cursor={value}"), &token).await.check_violations(&[cursor]);
    }
    app.get_as("/me/activity?limit=0&cursor=x", &token).await.check_violations(&[limit, cursor]);
    app.get_as("/me/activity?limit=5&limit=5", &token).await.check_violations(&[limit]);
    assert_eq!(app.get_as("/me/activity?_=1764100000000&limit=5&utm_source=x", &token).await.status, 200);
    app.get_as("/me/activity?Limit=5", &token).await.check_violations(&[("#/Limit", "unknown_field")]);
    let long = format!("/me/activity?{}=1", "x".repeat(65));
    app.get_as(&long, &token).await.check_violations(&[("#", "unknown_field")]);
}

#[actix_web::test]
async fn who_cannot_be_told_from_nobody_sees_nothing() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.get("/me/activity").await.check_problem(ProblemCode::MissingToken);
    app.get_as("/me/activity?limit=0", "x").await.check_problem(ProblemCode::InvalidToken);
    app.send(named(TestRequest::post()).uri("/logout").insert_header(bearer(&tokens.access)))
        .await
        .check_done();
    app.get_as("/me/activity", &tokens.access).await.check_problem(ProblemCode::InvalidToken);
    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    app.get_as("/me/activity", &tokens.access).await.check_problem(ProblemCode::NotReady);
}
