use actix_web::test::TestRequest;
use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::id::SessionId;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::{self, NOW, PASSWORD};
use serde_json::{Value, json};

use crate::test_app::{Setup, TestApp, Tokens, named, post};

async fn bob(app: &TestApp) -> Tokens {
    assert_eq!(app.register("Bob", PASSWORD).await.status, 201);
    app.login("bob", PASSWORD).await.tokens()
}

/// The ids of the sessions that a token is shown, in order.
async fn listed(app: &TestApp, token: &str) -> Vec<String> {
    let answer = app.get_as("/me/sessions", token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sessions = answer.json()["sessions"].as_array().unwrap().clone();
    sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

// ASVS 14.3.2
#[actix_web::test]
async fn a_user_sees_the_live_sessions_the_latest_opened_first() {
    let app = TestApp::new().await;
    let first = app.alice().await;
    bob(&app).await;
    app.wait(60);
    let login = post("/login", json!({"username": "alice", "password": PASSWORD}))
        .peer_addr("[::ffff:192.0.2.7]:1".parse().unwrap())
        .insert_header(("user-agent", "curl/8.5\tx"));
    let second = app.send(login).await.tokens();
    app.wait(60);
    let first = app.refresh(&first.refresh).await.tokens();

    let answer = app.get_as("/me/sessions", &first.access).await;
    let sessions = json!({"sessions": [
        {
            "id": second.session,
            "created_at": "2027-01-15T08:01:00Z",
            "last_used_at": "2027-01-15T08:01:00Z",
            "expires_at": "2027-02-14T08:01:00Z",
            "ip": "192.0.2.7",
            "user_agent": "curl/8.5 x",
            "current": false,
        },
        {
            "id": first.session,
            "created_at": "2027-01-15T08:00:00Z",
            "last_used_at": "2027-01-15T08:02:00Z",
            "expires_at": "2027-02-14T08:02:00Z",
            "ip": null,
            "user_agent": null,
            "current": true,
        },
    ]});
    answer.check(200, &sessions);
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    let seen_from_the_other = app.get_as("/me/sessions", &second.access).await.json();
    let current: Vec<_> = seen_from_the_other["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| &session["current"])
        .collect();
    assert_eq!(current, [&Value::Bool(true), &Value::Bool(false)]);
}

#[actix_web::test]
async fn sessions_that_ended_or_expired_are_not_listed() {
    let app = TestApp::new().await;
    let (_idle, ended) = (app.alice().await, app.login("alice", PASSWORD).await.tokens());
    app.post("/logout", json!({"refresh_token": ended.refresh})).await.check_done();
    app.wait(30 * 86_400 - 1);
    let tokens = app.login("alice", PASSWORD).await.tokens();
    assert_eq!(listed(&app, &tokens.access).await.len(), 2);
    app.wait(1);
    assert_eq!(listed(&app, &tokens.access).await, [tokens.session]);
}

#[actix_web::test]
async fn beyond_the_most_that_a_user_may_have_the_oldest_ends() {
    let mut setup = Setup::new();
    setup.auth.max_sessions_per_user = 2.try_into().unwrap();
    let app = setup.start().await;
    let oldest = app.alice().await;
    app.wait(1);
    let second = app.login("alice", PASSWORD).await.tokens();
    app.wait(1);
    let third = app.login("alice", PASSWORD).await.tokens();
    assert!(app.is_over(&oldest).await);
    assert_eq!(listed(&app, &third.access).await, [third.session, second.session]);
    assert_eq!(app.events().iter().filter(|event| **event == "session_evicted").count(), 1);
}

#[actix_web::test]
async fn a_user_ends_another_session() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, app.login("alice", PASSWORD).await.tokens());
    let path = format!("/me/sessions/{}", other.session);
    app.delete_as(&path, &tokens.access).await.check_done();
    assert!(app.is_over(&other).await);
    assert!(!app.is_over(&tokens).await);
    assert_eq!(listed(&app, &tokens.access).await, [&*tokens.session]);

    app.delete_as(&path, &tokens.access).await.check_done();
    app.delete_as(&path.to_uppercase().replace("/ME/SESSIONS", "/me/sessions"), &tokens.access)
        .await
        .check_done();
    let events = app.store.events();
    let ended: Vec<_> = events.iter().filter(|event| event.kind == EventKind::SessionEnded).collect();
    assert_eq!(ended.len(), 1, "it ended once");
    assert_eq!(ended[0].session.unwrap().to_string(), other.session);
}

#[actix_web::test]
async fn a_user_ends_the_session_of_the_token_too() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let path = format!("/me/sessions/{}", tokens.session);
    app.delete_as(&path, &tokens.access).await.check_done();
    assert!(app.is_over(&tokens).await);
    app.delete_as(&path, &tokens.access).await.check_problem(ProblemCode::InvalidToken);
}

// ASVS 8.2.2
#[actix_web::test]
async fn sessions_of_others_answer_like_unknown_ones() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let live = bob(&app).await;
    let over = app.login("bob", PASSWORD).await.tokens();
    app.post("/logout", json!({"refresh_token": over.refresh})).await.check_done();

    let ids = [
        "0198c8a4-0000-7000-8000-000000000000",
        &live.session,
        &over.session,
        "00000000-0000-0000-0000-000000000000",
        "x",
        "current",
        &live.session.replace('-', ""),
        &format!("{{{}}}", live.session),
        &format!("urn:uuid:{}", live.session),
        &format!("{}0", live.session),
    ];
    let mut answers = Vec::new();
    for id in ids {
        let answer = app.delete_as(&format!("/me/sessions/{id}"), &tokens.access).await;
        answer.check_problem(ProblemCode::NotFound);
        answers.push(format!("{} {:?} {}", answer.status, answer.header_fields(), answer.body));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer to all: {answers:?}");
    assert!(!app.is_over(&live).await);
    assert!(!app.events().contains(&"session_ended"));
}

#[actix_web::test]
async fn who_cannot_be_told_from_nobody_learns_nothing() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    for path in [format!("/me/sessions/{}", tokens.session), "/me/sessions/x".to_owned()] {
        let request = named(TestRequest::delete()).uri(&path);
        app.send(request).await.check_problem(ProblemCode::MissingToken);
        app.delete_as(&path, "x").await.check_problem(ProblemCode::InvalidToken);
    }
    app.get("/me/sessions").await.check_problem(ProblemCode::MissingToken);
    assert!(!app.is_over(&tokens).await);
}

#[actix_web::test]
async fn what_another_instance_ended_is_not_listed() {
    let app = TestApp::new().await;
    let (tokens, other) = (app.alice().await, app.login("alice", PASSWORD).await.tokens());
    let kind = EventKind::LoggedOut(LogoutScope::Current);
    let event = fixtures::event(kind, NOW, app.ports.random.as_ref());
    let session = SessionId::from_uuid(other.session.parse().unwrap());
    app.ports.store.end_session(session, None, event.at, &event).unwrap();
    assert_eq!(listed(&app, &tokens.access).await, [tokens.session]);
}

#[actix_web::test]
async fn an_instance_that_knows_nothing_yet_is_not_ready() {
    let tokens = TestApp::new().await.alice().await;
    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    let answers = [
        app.get_as("/me/sessions", &tokens.access).await,
        app.delete_as(&format!("/me/sessions/{}", tokens.session), &tokens.access).await,
    ];
    for answer in answers {
        answer.check_problem(ProblemCode::NotReady);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}
