use actix_web::test::TestRequest;
use portcullis_http::ProblemCode;
use serde_json::json;

use crate::rig::{Answer, Rig, Tokens, named, post};

fn bearing(token: &str) -> TestRequest {
    named(TestRequest::post()).uri("/logout").insert_header(("authorization", format!("Bearer {token}")))
}

async fn is_over(rig: &Rig, tokens: &Tokens) -> bool {
    let access = rig.get_as("/protected", &tokens.access).await.status;
    let refresh = rig.refresh(&tokens.refresh).await.status;
    assert_eq!(access, refresh, "both or none");
    access == 401
}

fn check_done(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    assert_eq!(answer.header("content-type"), None);
}

#[actix_web::test]
async fn a_refresh_token_ends_its_session() {
    let rig = Rig::new().await;
    let (tokens, other) =
        (rig.alice().await, rig.login("alice", portcullis_testkit::fixtures::PASSWORD).await.tokens());
    check_done(&rig.post("/logout", json!({"refresh_token": tokens.refresh})).await);
    assert!(is_over(&rig, &tokens).await);
    assert!(!is_over(&rig, &other).await, "the other session lives on");
    check_done(&rig.post("/logout", json!({"refresh_token": tokens.refresh})).await);
    assert_eq!(rig.events().iter().filter(|event| **event == "logged_out").count(), 1);
}

#[actix_web::test]
async fn a_bearer_token_ends_its_session() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    check_done(&rig.send(bearing(&tokens.access)).await);
    assert!(is_over(&rig, &tokens).await);
    check_done(&rig.send(bearing(&tokens.access)).await);
}

#[actix_web::test]
async fn an_expired_bearer_token_is_good_enough() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    rig.wait(3_600);
    check_done(&rig.send(bearing(&tokens.access)).await);
    assert!(is_over(&rig, &tokens).await);
}

#[actix_web::test]
async fn the_scope_is_the_current_session() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    for query in ["scope=all", "scope=others", "scope=", "scope=Current", "scope=current&scope=all"] {
        let request = bearing(&tokens.access).uri(&format!("/logout?{query}"));
        rig.send(request).await.check_violations(&[("#/scope", "wrong_type")]);
    }
    check_done(&rig.send(bearing(&tokens.access).uri("/logout?scope=current")).await);
}

#[actix_web::test]
async fn exactly_one_token_is_asked_for() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    let both = post("/logout", json!({"refresh_token": tokens.refresh}))
        .insert_header(("authorization", format!("Bearer {}", tokens.access)));
    rig.send(both).await.check_violations(&[("#/refresh_token", "unknown_field")]);

    rig.send(named(TestRequest::post()).uri("/logout")).await.check_problem(ProblemCode::MissingToken);
    rig.post("/logout", "{}").await.check_problem(ProblemCode::MissingToken);
    rig.post("/logout", r#"{"access_token":"x"}"#)
        .await
        .check_violations(&[("#/access_token", "unknown_field")]);
    rig.post("/logout", "x").await.check_problem(ProblemCode::MalformedJson);
    let form = named(TestRequest::post()).uri("/logout").set_payload("refresh_token=x");
    rig.send(form).await.check_problem(ProblemCode::UnsupportedMediaType);
    assert!(!is_over(&rig, &tokens).await);
}

#[actix_web::test]
async fn tokens_of_others_end_nothing() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    let changed = tokens.access.replacen("access", "accesz", 1);
    let answer = rig.send(bearing(&changed)).await;
    answer.check_problem(ProblemCode::InvalidToken);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    let changed = format!("{}0", tokens.refresh);
    let answer = rig.post("/logout", json!({"refresh_token": changed})).await;
    answer.check_problem(ProblemCode::InvalidRefreshToken);
    assert!(!is_over(&rig, &tokens).await);
}
