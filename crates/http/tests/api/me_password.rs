use actix_web::http::Method;
use portcullis_domain::audit::EventKind;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::{self, NOW, PASSWORD};
use serde_json::json;

use crate::test_app::{REQUEST_ID, Setup, TestApp, bearer, with_json};

const NEW: &str = "An0ther-horse battery";

#[actix_web::test]
async fn a_new_password_opens_a_new_session_and_ends_the_old_ones() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, app.login("alice", PASSWORD).await.tokens());
    let answer = app.change_password(&tokens.access, PASSWORD, NEW).await;
    let new = answer.tokens();
    answer.check(
        200,
        &json!({
            "access_token": new.access,
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": new.refresh,
            "refresh_expires_in": 2_592_000,
            "session_id": new.session,
        }),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store")); // ASVS 14.3.2
    assert_ne!(new.session, tokens.session); // ASVS 7.2.4
    assert!(app.is_over(&tokens).await && app.is_over(&other).await); // ASVS 7.4.3
    assert!(!app.is_over(&new).await);

    app.login("alice", PASSWORD).await.check_problem(ProblemCode::InvalidCredentials);
    assert_eq!(app.login("alice", NEW).await.status, 200); // ASVS 6.2.2
    assert_eq!(app.events().iter().filter(|event| **event == "password_changed").count(), 1);
}

#[actix_web::test]
async fn the_new_session_knows_where_it_was_opened() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let body = json!({"current_password": PASSWORD, "new_password": NEW});
    let request = with_json(Method::PUT, "/me/password", body)
        .insert_header(bearer(&tokens.access))
        .peer_addr("192.0.2.7:1".parse().unwrap())
        .insert_header(("user-agent", "curl/8.5"));
    let new = app.send(request).await.tokens();
    let session = &app.get_as("/me/sessions", &new.access).await.json()["sessions"][0];
    assert_eq!((&session["ip"], &session["user_agent"]), (&json!("192.0.2.7"), &json!("curl/8.5")));
}

// ASVS 6.2.3 7.5.1
#[actix_web::test]
async fn a_wrong_current_password_changes_nothing() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let wrong = json!({
        "type": "/problems/invalid_request",
        "title": "The request breaks a rule",
        "status": 422,
        "detail": "`errors` lists everything that is wrong.",
        "code": "invalid_request",
        "request_id": REQUEST_ID,
        "errors": [
            {"pointer": "#/current_password", "code": "incorrect", "message": "is not the current password"},
        ],
    });
    for current in [NEW, "", &"x".repeat(257)] {
        app.change_password(&tokens.access, current, NEW).await.check(422, &wrong);
    }
    assert!(!app.is_over(&tokens).await);
    assert_eq!(app.login("alice", PASSWORD).await.status, 200);
    assert_eq!(app.events().iter().filter(|event| **event == "password_not_confirmed").count(), 3);
}

#[actix_web::test]
async fn an_unchanged_password_is_refused_after_verification() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let unchanged = json!({
        "type": "/problems/invalid_request",
        "title": "The request breaks a rule",
        "status": 422,
        "detail": "`errors` lists everything that is wrong.",
        "code": "invalid_request",
        "request_id": REQUEST_ID,
        "errors": [
            {"pointer": "#/new_password", "code": "unchanged", "message": "must differ from the current password"},
        ],
    });
    app.change_password(&tokens.access, PASSWORD, PASSWORD).await.check(422, &unchanged);
    let wrong = app.change_password(&tokens.access, NEW, NEW).await;
    wrong.check_violations(&[("#/current_password", "incorrect")]);
    assert!(!app.is_over(&tokens).await);
    assert_eq!(app.change_password(&tokens.access, PASSWORD, NEW).await.status, 200);
}

#[actix_web::test]
async fn the_new_password_keeps_the_rules_of_registration() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let work = app.hasher.work();
    app.change_password(&tokens.access, "wrong", "xxx").await.check_violations(&[
        ("#/new_password", "too_short"),
        ("#/new_password", "missing_upper"),
        ("#/new_password", "missing_digit"),
        ("#/new_password", "missing_special"),
    ]);
    let cases = [
        ("P@ssw0rd", "common"),
        ("x-ALICE-Y7", "contains_username"),
        (&format!("Aa1-{}", "x".repeat(253)), "too_long"),
        ("Corr3ct\0-horse", "invalid_character"),
    ];
    for (new, code) in cases {
        let answer = app.change_password(&tokens.access, PASSWORD, new).await;
        answer.check_violations(&[("#/new_password", code)]);
    }
    assert_eq!(app.hasher.work(), work, "refused unhashed");
    assert!(!app.is_over(&tokens).await);
}

// ASVS 6.2.3
#[actix_web::test]
async fn the_body_is_two_passwords_and_nothing_else() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let put = async |body: &str| {
        app.send(with_json(Method::PUT, "/me/password", body).insert_header(bearer(&tokens.access))).await
    };
    put("{}").await.check_violations(&[("#/current_password", "required"), ("#/new_password", "required")]);
    put(r#"{"current_password":7,"new_password":null,"username":"x"}"#).await.check_violations(&[
        ("#/current_password", "wrong_type"),
        ("#/new_password", "wrong_type"),
        ("#/username", "unknown_field"), // ASVS 6.4.2 8.2.3
    ]);
    put("").await.check_problem(ProblemCode::MalformedJson);
}

#[actix_web::test]
async fn the_password_alone_is_not_enough() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let body = json!({"current_password": PASSWORD, "new_password": NEW});
    let request = with_json(Method::PUT, "/me/password", &body);
    app.send(request).await.check_problem(ProblemCode::MissingToken);
    app.post("/logout", json!({"refresh_token": tokens.refresh})).await.check_done();
    let work = app.hasher.work();
    let answer = app.change_password(&tokens.access, PASSWORD, NEW).await;
    answer.check_problem(ProblemCode::InvalidToken);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    assert_eq!(app.hasher.work(), work);
    assert_eq!(app.login("alice", PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn who_was_disabled_meanwhile_gets_no_session() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let alice = app.store.events()[0].user.unwrap();
    let event = fixtures::event(EventKind::UserDisabled, NOW, app.ports.random.as_ref());
    // On another instance: this one does not know of it yet.
    app.ports.store.disable_user(alice, &event).unwrap();
    let answer = app.change_password(&tokens.access, PASSWORD, NEW).await;
    answer.check_problem(ProblemCode::InvalidToken);
    assert!(!app.events().contains(&"password_changed"));
}

#[actix_web::test]
async fn a_closed_pool_refuses_before_anything_runs() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let work = app.hasher.work();
    app.api.close_password_pool();
    app.change_password(&tokens.access, PASSWORD, NEW).await.check_problem(ProblemCode::Overloaded);
    assert_eq!(app.hasher.work(), work);
}

#[actix_web::test]
async fn an_instance_that_knows_nothing_yet_is_not_ready() {
    let tokens = TestApp::new().await.alice().await;
    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    let answer = app.change_password(&tokens.access, PASSWORD, NEW).await;
    answer.check_problem(ProblemCode::NotReady);
    assert_eq!(answer.header("retry-after"), Some("1"));
}
