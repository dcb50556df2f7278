use portcullis_domain::id::SessionId;
use portcullis_domain::session::Generation;
use portcullis_domain::token::{RefreshClaims, RefreshTokenCodec};
use portcullis_http::ProblemCode;
use portcullis_testkit::PlainRefreshTokens;
use serde_json::json;

use crate::access_log::logged;
use crate::test_app::{TestApp, post};

#[actix_web::test]
async fn a_refresh_token_gets_the_next_set() {
    let app = TestApp::new().await;
    let first = app.alice().await;
    app.wait(60);
    let answer = app.refresh(&first.refresh).await;
    let second = answer.tokens();
    answer.check(
        200,
        &json!({
            "access_token": second.access,
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": second.refresh,
            "refresh_expires_in": 2_592_000,
            "session_id": first.session,
        }),
    );
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(app.get_as("/protected", &second.access).await.status, 200);
}

#[actix_web::test]
async fn a_lost_answer_is_given_again_within_the_grace() {
    let app = TestApp::new().await;
    let first = app.alice().await;
    let second = app.refresh(&first.refresh).await.tokens();
    app.wait(30);
    assert_eq!(app.refresh(&first.refresh).await.tokens().refresh, second.refresh);
}

/// RF-02, SE-04.
#[actix_web::test]
async fn a_copy_ends_the_session() {
    let app = TestApp::new().await;
    let first = app.alice().await;
    let second = app.refresh(&first.refresh).await.tokens();
    let third = app.refresh(&second.refresh).await.tokens();

    let answer = app.refresh(&first.refresh).await;
    answer.check_problem(ProblemCode::RefreshTokenReused);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    app.refresh(&third.refresh).await.check_problem(ProblemCode::InvalidRefreshToken);
    app.get_as("/protected", &third.access).await.check_problem(ProblemCode::InvalidToken);
    assert_eq!(app.events().last(), Some(&"refresh_token_reused"));
}

/// JW-28.
#[actix_web::test]
async fn a_changed_token_is_refused_and_the_session_lives_on() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    for at in 0..tokens.refresh.len() {
        let mut changed = tokens.refresh.clone().into_bytes();
        changed[at] ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        app.refresh(&changed).await.check_problem(ProblemCode::InvalidRefreshToken);
        app.refresh(&tokens.refresh[..at]).await.check_problem(ProblemCode::InvalidRefreshToken);
    }
    app.refresh(&format!("{}x", tokens.refresh)).await.check_problem(ProblemCode::InvalidRefreshToken);
    assert_eq!(app.refresh(&tokens.refresh).await.status, 200);
}

/// JW-17.
#[actix_web::test]
async fn an_access_token_refreshes_nothing() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.refresh(&tokens.access).await.check_problem(ProblemCode::InvalidRefreshToken);
    app.get_as("/protected", &tokens.refresh).await.check_problem(ProblemCode::InvalidToken);
}

#[actix_web::test]
async fn an_expired_session_is_over() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.wait(30 * 86_400);
    app.refresh(&tokens.refresh).await.check_problem(ProblemCode::InvalidRefreshToken);
}

#[actix_web::test]
async fn a_token_newer_than_the_store_is_refused_and_logged() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let session = SessionId::from_uuid(tokens.session.parse().unwrap());
    let ahead = RefreshClaims { session, generation: Generation::new(9) };
    let ahead = PlainRefreshTokens::new("fake").issue(ahead);
    let body = json!({"refresh_token": ahead.expose()});
    let request = post("/refresh", body).insert_header(("x-request-id", "ahead-of-the-store"));
    let answer = app.send(request).await;
    assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("invalid_refresh_token")));
    let lines = logged("ahead-of-the-store");
    assert!(lines.iter().any(|line| line.starts_with("ERROR") && line.contains("backup")), "{lines:?}");
    assert_eq!(app.refresh(&tokens.refresh).await.status, 200, "nothing ended");
}

#[actix_web::test]
async fn the_body_is_a_refresh_token_and_nothing_else() {
    let app = TestApp::new().await;
    app.post("/refresh", "{}").await.check_violations(&[("#/refresh_token", "required")]);
    app.post("/refresh", r#"{"refresh_token":7}"#)
        .await
        .check_violations(&[("#/refresh_token", "wrong_type")]);
    app.post("/refresh", r#"{"refresh_token":"a\u0000"}"#)
        .await
        .check_violations(&[("#/refresh_token", "invalid_character")]);
    app.post("/refresh", r#"{"refresh_token":""}"#).await.check_problem(ProblemCode::InvalidRefreshToken);
}
