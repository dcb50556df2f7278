use std::time::Duration;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::token::{AccessTokenCodec, Claims};
use portcullis_http::ProblemCode;
use portcullis_testkit::PlainAccessTokens;
use portcullis_testkit::fixtures::{self, NOW, PASSWORD};
use serde_json::json;

use crate::test_app::{REQUEST_ID, Setup, TestApp, bearer, named, post, with_json};

#[actix_web::test]
async fn the_holder_of_a_token_is_shown() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let answer = app.get_as("/me", &tokens.access).await;
    let id = app.store.events()[0].user.unwrap().to_string();
    answer.check(200, &json!({"id": id, "username": "Alice", "created_at": "2027-01-15T08:00:00Z"}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// JW-23.
#[actix_web::test]
async fn the_token_of_a_user_who_is_gone_is_refused() {
    let app = TestApp::new().await;
    let random = app.ports.random.as_ref();
    let claims = Claims {
        user: UserId::new(NOW, random),
        session: SessionId::new(NOW, random),
        token: TokenId::new(NOW, random),
        opened_at: NOW,
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_mins(15),
    };
    let token = PlainAccessTokens::new("fake").sign(&claims).unwrap();
    app.get_as("/me", token.expose()).await.check_problem(ProblemCode::InvalidToken);
}

#[actix_web::test]
async fn nobody_is_shown_without_a_token() {
    TestApp::new().await.get("/me").await.check_problem(ProblemCode::MissingToken);
}

#[actix_web::test]
async fn a_deleted_account_takes_its_sessions_along_and_frees_its_name() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, app.login("alice", PASSWORD).await.tokens());
    app.delete_account(&tokens.access, PASSWORD).await.check_done();
    assert!(app.is_over(&tokens).await && app.is_over(&other).await);
    app.get_as("/me", &other.access).await.check_problem(ProblemCode::InvalidToken);
    app.login("alice", PASSWORD).await.check_problem(ProblemCode::InvalidCredentials);
    assert!(app.events().contains(&"account_deleted"));

    // A lost answer: the repeated call says that it happened.
    app.delete_account(&tokens.access, PASSWORD).await.check_problem(ProblemCode::InvalidToken);

    let again = app.alice().await;
    let me = app.get_as("/me", &again.access).await.json();
    assert_ne!(me["id"], app.store.events()[0].user.unwrap().to_string(), "somebody else of this name");
    assert!(app.is_over(&tokens).await);
}

// ASVS 7.5.3
#[actix_web::test]
async fn a_wrong_password_deletes_nobody() {
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
    for current in ["Wr0ng-horse battery", "", &"x".repeat(257)] {
        app.delete_account(&tokens.access, current).await.check(422, &wrong);
    }
    assert!(!app.is_over(&tokens).await);
    assert!(!app.events().contains(&"account_deleted"));
    assert_eq!(app.events().iter().filter(|event| **event == "password_not_confirmed").count(), 3);
}

#[actix_web::test]
async fn nobody_is_deleted_without_the_body_that_says_so() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let delete = async |body: &str| {
        app.send(with_json(Method::DELETE, "/me", body).insert_header(bearer(&tokens.access))).await
    };
    delete("{}").await.check_violations(&[("#/current_password", "required")]);
    delete(r#"{"current_password":null,"password":"x"}"#)
        .await
        .check_violations(&[("#/current_password", "wrong_type"), ("#/password", "unknown_field")]);
    delete(r#"{"current_password":"a\u0000"}"#)
        .await
        .check_violations(&[("#/current_password", "invalid_character")]);
    delete("").await.check_problem(ProblemCode::MalformedJson);
    app.delete_as("/me", &tokens.access).await.check_problem(ProblemCode::UnsupportedMediaType);
    let in_query = format!("/me?current_password={PASSWORD}").replace(' ', "+");
    app.delete_as(&in_query, &tokens.access).await.check_problem(ProblemCode::UnsupportedMediaType);
    assert!(!app.is_over(&tokens).await);
}

/// For proxies that drop or refuse the body of a DELETE request.
// ASVS 7.5.3
#[actix_web::test]
async fn post_me_delete_behaves_like_delete_me() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let body = |current: &str| json!({"current_password": current});
    let post = async |body: &serde_json::Value| {
        app.send(with_json(Method::POST, "/me/delete", body).insert_header(bearer(&tokens.access))).await
    };
    app.send(with_json(Method::POST, "/me/delete", body(PASSWORD)))
        .await
        .check_problem(ProblemCode::MissingToken);
    post(&json!({})).await.check_violations(&[("#/current_password", "required")]);
    post(&body("Wr0ng-horse battery")).await.check_violations(&[("#/current_password", "incorrect")]);
    assert!(!app.is_over(&tokens).await);
    post(&body(PASSWORD)).await.check_done();
    assert!(app.is_over(&tokens).await && app.events().contains(&"account_deleted"));
    post(&body(PASSWORD)).await.check_problem(ProblemCode::InvalidToken);
    let other = app.get("/me/delete").await;
    other.check_problem(ProblemCode::MethodNotAllowed);
    assert_eq!(other.header("allow"), Some("POST"));
}

#[actix_web::test]
async fn nobody_is_deleted_by_the_password_alone() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let body = json!({"current_password": PASSWORD});
    let request = with_json(Method::DELETE, "/me", &body);
    app.send(request).await.check_problem(ProblemCode::MissingToken);
    app.send(named(TestRequest::post()).uri("/logout").insert_header(bearer(&tokens.access)))
        .await
        .check_done();
    let work = app.hasher.work();
    app.delete_account(&tokens.access, PASSWORD).await.check_problem(ProblemCode::InvalidToken);
    assert_eq!(app.hasher.work(), work);
    assert_eq!(app.login("alice", PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn who_was_disabled_meanwhile_is_not_deleted() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let alice = app.store.events()[0].user.unwrap();
    let event = fixtures::event(EventKind::UserDisabled, NOW, app.ports.random.as_ref());
    // On another instance: this one does not know of it yet.
    app.ports.store.disable_user(alice, &event).unwrap();
    app.delete_account(&tokens.access, PASSWORD).await.check_problem(ProblemCode::InvalidToken);
    assert!(app.ports.store.find_user(alice).unwrap().is_some());
}

#[actix_web::test]
async fn a_deletion_waits_in_the_password_pool() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.api.close_password_pool();
    app.delete_account(&tokens.access, PASSWORD).await.check_problem(ProblemCode::Overloaded);
    assert_eq!(app.get_as("/me", &tokens.access).await.status, 200);
}

#[actix_web::test]
async fn an_instance_that_knows_nothing_yet_is_not_ready() {
    let tokens = TestApp::new().await.alice().await;
    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    let answers =
        [app.get_as("/me", &tokens.access).await, app.delete_account(&tokens.access, PASSWORD).await];
    for answer in answers {
        answer.check_problem(ProblemCode::NotReady);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

/// Names that were brought from elsewhere, and agents, may be anything.
// ASVS 1.1.2 1.2.1
#[actix_web::test]
async fn what_looks_like_markup_is_shown_as_it_is() {
    let app = TestApp::new().await;
    for text in [
        "<img src=x onerror=alert(1)>",
        r#""},{"admin":true,"x":""#,
        r"a\u0022\",
        "</script><!--",
        "{{7*7}} ${7*7} %s",
        "'; DROP TABLE users --",
    ] {
        let user = fixtures::new_user(text, app.ports.random.as_ref());
        let event = fixtures::event(EventKind::UserRegistered, NOW, app.ports.random.as_ref());
        app.ports.store.insert_user(&user, &event).unwrap();
        let login = post("/login", json!({"username": text, "password": PASSWORD}));
        let token = app.send(login.insert_header(("user-agent", text))).await.tokens().access;
        let me = app.get_as("/me", &token).await;
        let body = json!({"id": user.id.to_string(), "username": text, "created_at": "2027-01-15T08:00:00Z"});
        me.check(200, &body);
        let sessions = app.get_as("/me/sessions", &token).await;
        assert_eq!(sessions.json()["sessions"][0]["user_agent"], text);
        for answer in [me, sessions] {
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}
