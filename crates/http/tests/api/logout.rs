use actix_web::test::TestRequest;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::test_app::{Answer, Setup, TestApp, Tokens, bearer, named, post};

fn bearing(token: &str) -> TestRequest {
    named(TestRequest::post()).uri("/logout").insert_header(bearer(token))
}

async fn by_access(app: &TestApp, scope: &str, tokens: &Tokens) -> Answer {
    app.send(bearing(&tokens.access).uri(&format!("/logout?scope={scope}"))).await
}

async fn by_refresh(app: &TestApp, scope: &str, tokens: &Tokens) -> Answer {
    app.post(&format!("/logout?scope={scope}"), json!({"refresh_token": tokens.refresh})).await
}

async fn login(app: &TestApp, username: &str) -> Tokens {
    app.login(username, PASSWORD).await.tokens()
}

#[actix_web::test]
async fn a_refresh_token_ends_its_session() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, login(&app, "alice").await);
    app.post("/logout", json!({"refresh_token": tokens.refresh})).await.check_done();
    assert!(app.is_over(&tokens).await);
    assert!(!app.is_over(&other).await, "the other session lives on");
    app.post("/logout", json!({"refresh_token": tokens.refresh})).await.check_done();
    assert_eq!(app.events().iter().filter(|event| **event == "logged_out").count(), 1);
}

#[actix_web::test]
async fn a_bearer_token_ends_its_session() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.send(bearing(&tokens.access)).await.check_done();
    assert!(app.is_over(&tokens).await);
    app.send(bearing(&tokens.access)).await.check_done();
}

#[actix_web::test]
async fn an_expired_bearer_token_is_good_enough_for_its_own_session() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, login(&app, "alice").await);
    app.wait(3_600);
    for scope in ["others", "all"] {
        by_access(&app, scope, &tokens).await.check_problem(ProblemCode::InvalidToken);
    }
    assert_eq!(app.refresh(&other.refresh).await.status, 200);
    assert_eq!(app.refresh(&tokens.refresh).await.status, 200);
    by_access(&app, "current", &tokens).await.check_done();
    assert!(app.is_over(&tokens).await);
}

#[actix_web::test]
async fn the_scope_says_whose_sessions_end() {
    for by_refresh_token in [false, true] {
        for (scope, is_over) in
            [("current", [true, false, false]), ("others", [false, true, true]), ("all", [true, true, true])]
        {
            let app = TestApp::new().await;
            let sessions = [app.alice().await, login(&app, "alice").await, login(&app, "ALICE").await];
            assert_eq!(app.register("Bob", PASSWORD).await.status, 201);
            let bobs = login(&app, "bob").await;
            let answer = match by_refresh_token {
                true => by_refresh(&app, scope, &sessions[0]).await,
                false => by_access(&app, scope, &sessions[0]).await,
            };
            answer.check_done();
            for (session, is_over) in sessions.iter().zip(is_over) {
                assert_eq!(app.is_over(session).await, is_over, "{scope}");
            }
            assert!(!app.is_over(&bobs).await, "nobody else's");
            let event =
                app.store.events().into_iter().find(|event| event.kind.name() == "logged_out").unwrap();
            assert_eq!(event.kind.detail().as_deref(), Some(scope));
        }
    }
}

#[actix_web::test]
async fn cache_busting_and_tracking_parameters_are_ignored() {
    let app = TestApp::new().await;
    app.alice().await;
    for query in
        ["_=1764100000000", "utm_source=mail&utm_medium=x", "_=1&scope=current", "scope=current&_=1&_=2", ""]
    {
        let tokens = app.login("alice", PASSWORD).await.tokens();
        let request = bearing(&tokens.access).uri(&format!("/logout?{query}"));
        app.send(request).await.check_done();
        assert!(app.is_over(&tokens).await, "{query}");
    }
}

#[actix_web::test]
async fn no_other_scope_is_known() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    for query in [
        "scope=everything",
        "scope=",
        "scope=All",
        "scope=current&scope=all",
        "scopes=all",
        "x=1",
        "_=1&scopes=all",
    ] {
        let request = bearing(&tokens.access).uri(&format!("/logout?{query}"));
        app.send(request).await.check_violations(&[("#/scope", "wrong_type")]);
    }
    assert!(!app.is_over(&tokens).await);
}

#[actix_web::test]
async fn what_is_over_ends_no_others() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, login(&app, "alice").await);
    by_access(&app, "current", &tokens).await.check_done();
    for scope in ["others", "all"] {
        by_access(&app, scope, &tokens).await.check_problem(ProblemCode::InvalidToken);
        by_refresh(&app, scope, &tokens).await.check_problem(ProblemCode::InvalidRefreshToken);
    }
    assert!(!app.is_over(&other).await);
}

#[actix_web::test]
async fn a_copy_of_an_old_refresh_token_ends_no_others() {
    let app = TestApp::new().await;
    let (first, other) = (app.alice().await, login(&app, "alice").await);
    let second = app.refresh(&first.refresh).await.tokens();
    app.wait(31);
    for scope in ["others", "all"] {
        by_refresh(&app, scope, &first).await.check_problem(ProblemCode::InvalidRefreshToken);
    }
    assert_eq!(app.refresh(&other.refresh).await.status, 200);
    by_refresh(&app, "others", &second).await.check_done();
    assert!(app.is_over(&other).await);
    assert!(!app.is_over(&second).await);
}

#[actix_web::test]
async fn logging_out_everywhere_again_says_that_it_happened() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    by_access(&app, "all", &tokens).await.check_done();
    by_access(&app, "all", &tokens).await.check_problem(ProblemCode::InvalidToken);
    by_refresh(&app, "all", &tokens).await.check_problem(ProblemCode::InvalidRefreshToken);
    by_access(&app, "current", &tokens).await.check_done();
}

#[actix_web::test]
async fn an_instance_that_knows_nothing_yet_ends_only_the_tokens_own_session() {
    let tokens = TestApp::new().await.alice().await;
    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    for scope in ["others", "all"] {
        let answer = by_access(&app, scope, &tokens).await;
        answer.check_problem(ProblemCode::NotReady);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    by_access(&app, "current", &tokens).await.check_done();
}

/// A logout with both tokens, as a generated client sends it.
async fn by_both(app: &TestApp, scope: &str, refresh: &str, access: &str) -> Answer {
    let request = post(&format!("/logout?scope={scope}"), json!({"refresh_token": refresh}));
    app.send(request.insert_header(bearer(access))).await
}

#[actix_web::test]
async fn both_tokens_of_a_session_end_it() {
    for scope in ["current", "others", "all"] {
        let app = TestApp::new().await;
        let (tokens, other) = (app.alice().await, login(&app, "alice").await);
        by_both(&app, scope, &tokens.refresh, &tokens.access).await.check_done();
        assert_eq!(app.is_over(&tokens).await, scope != "others", "{scope}");
        assert_eq!(app.is_over(&other).await, scope != "current", "{scope}");
        assert_eq!(app.events().iter().filter(|event| **event == "logged_out").count(), 1);
    }
}

#[actix_web::test]
async fn tokens_of_different_sessions_are_refused() {
    let app = TestApp::new().await;
    let (here, there) = (app.alice().await, login(&app, "alice").await);
    assert_eq!(app.register("Bob", PASSWORD).await.status, 201);
    let bobs = login(&app, "bob").await;
    for access in [&there.access, &bobs.access] {
        for scope in ["current", "others", "all"] {
            let answer = by_both(&app, scope, &here.refresh, access).await;
            answer.check_violations(&[("#/refresh_token", "other_session")]);
        }
    }
    for tokens in [&here, &there, &bobs] {
        assert!(!app.is_over(tokens).await);
    }
}

#[actix_web::test]
async fn unusable_bearer_beside_refresh_token_is_ignored() {
    let app = TestApp::new().await;
    for credentials in ["Bearer x", "Bearer undefined", "Bearer ", "Bearer", "Bearer a b", "Basic YTpi", ""] {
        let tokens = match app.login("alice", PASSWORD).await.status {
            200 => login(&app, "alice").await,
            _ => app.alice().await,
        };
        let request = post("/logout?scope=all", json!({"refresh_token": tokens.refresh}));
        app.send(request.insert_header(("authorization", credentials))).await.check_done();
        assert!(app.is_over(&tokens).await, "{credentials:?}");
    }
}

#[actix_web::test]
async fn expired_bearer_beside_refresh_token_is_accepted() {
    for scope in ["current", "all"] {
        let app = TestApp::new().await;
        let tokens = app.alice().await;
        app.wait(3_600);
        by_both(&app, scope, &tokens.refresh, &tokens.access).await.check_done();
        assert!(app.is_over(&tokens).await, "{scope}");
    }
}

#[actix_web::test]
async fn live_bearer_suffices_beside_an_old_refresh_token() {
    let app = TestApp::new().await;
    let (old, other) = (app.alice().await, login(&app, "alice").await);
    let newest = app.refresh(&old.refresh).await.tokens();
    app.wait(31);
    by_both(&app, "others", &old.refresh, &newest.access).await.check_done();
    assert!(app.is_over(&other).await);
    assert!(!app.is_over(&newest).await);
}

#[actix_web::test]
async fn forged_refresh_token_beside_bearer_is_refused() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    for scope in ["current", "others", "all"] {
        let answer = by_both(&app, scope, &format!("{}0", tokens.refresh), &tokens.access).await;
        answer.check_problem(ProblemCode::InvalidRefreshToken);
    }
    assert!(!app.is_over(&tokens).await);
}

#[actix_web::test]
async fn bearer_without_refresh_token_takes_any_empty_body() {
    let app = TestApp::new().await;
    let first = app.alice().await;
    let with_type = |token: &str, content_type: &'static str| {
        bearing(token).insert_header(("content-type", content_type))
    };
    app.send(with_type(&first.access, "application/json").set_payload("{}")).await.check_done();
    for content_type in ["application/json", "application/x-www-form-urlencoded", "text/plain", ""] {
        let tokens = login(&app, "alice").await;
        app.send(with_type(&tokens.access, content_type)).await.check_done();
        assert!(app.is_over(&tokens).await, "{content_type}");
    }
    let tokens = login(&app, "alice").await;
    let null = with_type(&tokens.access, "application/json").set_payload("null");
    app.send(null).await.check_problem(ProblemCode::MalformedJson);
    assert!(!app.is_over(&tokens).await);
    let accepting = bearing(&tokens.access).insert_header(("accept", "text/html"));
    app.send(accepting).await.check_done();
}

#[actix_web::test]
async fn logout_without_token_is_refused() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.send(named(TestRequest::post()).uri("/logout")).await.check_problem(ProblemCode::MissingToken);
    app.post("/logout", "{}").await.check_problem(ProblemCode::MissingToken);
    app.post("/logout", r#"{"access_token":"x"}"#)
        .await
        .check_violations(&[("#/access_token", "unknown_field")]);
    app.post("/logout", "x").await.check_problem(ProblemCode::MalformedJson);
    let form = named(TestRequest::post()).uri("/logout").set_payload("refresh_token=x");
    app.send(form).await.check_problem(ProblemCode::UnsupportedMediaType);
    assert!(!app.is_over(&tokens).await);
}

#[actix_web::test]
async fn tokens_of_others_end_nothing() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    for scope in ["current", "others", "all"] {
        let changed = Tokens {
            access: tokens.access.replacen("access", "accesz", 1),
            refresh: format!("{}0", tokens.refresh),
            ..tokens.clone()
        };
        let answer = by_access(&app, scope, &changed).await;
        answer.check_problem(ProblemCode::InvalidToken);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        by_refresh(&app, scope, &changed).await.check_problem(ProblemCode::InvalidRefreshToken);
    }
    assert!(!app.is_over(&tokens).await);
}
