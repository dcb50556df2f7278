use actix_web::http::Method;
use actix_web::test::TestRequest;
use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{AccessTokenCodec, Claims};
use portcullis_http::ProblemCode;
use portcullis_testkit::PlainAccessTokens;
use portcullis_testkit::fixtures::{self, NOW, PASSWORD};
use serde_json::json;

use crate::test_app::{Setup, TestApp, named};

// ASVS 14.2.2 14.3.2
#[actix_web::test]
async fn a_token_shows_what_it_says() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let answer = app.get_as("/protected", &tokens.access).await;
    let user = app.store.events()[0].user.unwrap().to_string();
    answer.check(
        200,
        &json!({
            "user_id": user,
            "session_id": tokens.session,
            "issued_at": "2027-01-15T08:00:00Z",
            "expires_at": "2027-01-15T08:15:00Z",
        }),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn gateway_headers_name_user_and_session() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let user = app.store.events()[0].user.unwrap().to_string();
    let bearer = ("authorization", format!("Bearer {}", tokens.access));
    for method in [TestRequest::get(), TestRequest::default().method(Method::HEAD)] {
        // The response does not repeat the ids that a client sent.
        let claimed = ("x-portcullis-user-id", "00000000-0000-0000-0000-000000000000");
        let request = named(method).uri("/protected").insert_header(bearer.clone()).insert_header(claimed);
        let answer = app.send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-portcullis-user-id"), Some(user.as_str()));
        assert_eq!(answer.header("x-portcullis-session-id"), Some(tokens.session.as_str()));
    }
}

#[actix_web::test]
async fn refusals_carry_no_gateway_headers() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    app.wait(16 * 60);
    app.maintenance.sync().unwrap();
    for answer in [
        app.get("/protected").await,
        app.get_as("/protected", "x").await,
        app.get_as("/protected", &tokens.access).await,
    ] {
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("x-portcullis-user-id"), None);
        assert_eq!(answer.header("x-portcullis-session-id"), None);
    }
}

// ASVS 14.2.1
#[actix_web::test]
async fn no_token_is_a_challenge_without_an_error() {
    let app = TestApp::new().await;
    let answer = app.get("/protected").await;
    answer.check_problem(ProblemCode::MissingToken);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    for other in ["Basic YTpi", "Digest x", "Bearerx y", ""] {
        let request = named(TestRequest::get()).uri("/protected").insert_header(("authorization", other));
        app.send(request).await.check_problem(ProblemCode::MissingToken);
    }
    let in_query = app.get(&format!("/protected?access_token={}", app.alice().await.access)).await;
    in_query.check_problem(ProblemCode::MissingToken);
}

/// JW-01, JW-07, JW-10, JW-19, JW-20, JW-22 as far as no key is needed to tell.
// ASVS 7.2.1
#[actix_web::test]
async fn what_is_no_token_is_refused() {
    let app = TestApp::new().await;
    let good = app.alice().await.access;
    let tokens = [
        String::new(),
        "x".to_owned(),
        "a.b.".to_owned(),
        "a.b".to_owned(),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".to_owned(),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}="),
        format!("{good},"),
        format!("{good}\t"),
        format!("{good}.{good}"),
        format!("\"{good}\""),
        format!("{{\"token\":\"{good}\"}}"),
        good[1..].to_owned(),
        good[..good.len() - 1].to_owned(),
        good.to_uppercase(),
        good.replacen('-', "\u{e9}", 1),
        ".".repeat(4_096),
        "x".repeat(4_097),
        "x".repeat(8 << 20),
    ];
    for token in tokens {
        let answer = app.get_as("/protected", &token).await;
        answer.check_problem(ProblemCode::InvalidToken);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }
    assert_eq!(app.get_as("/protected", &good).await.status, 200);
}

#[actix_web::test]
async fn the_scheme_has_no_case_and_stands_once() {
    let app = TestApp::new().await;
    let token = app.alice().await.access;
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let bearer = ("authorization", format!("{scheme} {token}"));
        let request = named(TestRequest::get()).uri("/protected").insert_header(bearer);
        assert_eq!(app.send(request).await.status, 200);
    }
    let bearer = ("authorization", format!("Bearer {token}"));
    let twice =
        named(TestRequest::get()).uri("/protected").append_header(bearer.clone()).append_header(bearer);
    app.send(twice).await.check_problem(ProblemCode::InvalidToken);
    let tab = ("authorization", format!("Bearer\t{token}"));
    let request = named(TestRequest::get()).uri("/protected").insert_header(tab);
    app.send(request).await.check_problem(ProblemCode::MissingToken);
}

/// JW-14: dates are judged by the service's clock.
// ASVS 9.2.1
#[actix_web::test]
async fn a_token_is_good_from_its_first_to_its_last_moment() {
    let app = TestApp::new().await;
    let codec = PlainAccessTokens::new("fake");
    let second = NOW.as_secs();
    let sign = |issued_at: i64, expires_at: i64| {
        let claims = Claims {
            user: UserId::new(NOW, app.ports.random.as_ref()),
            session: SessionId::new(NOW, app.ports.random.as_ref()),
            token: TokenId::new(NOW, app.ports.random.as_ref()),
            opened_at: UnixTime::from_secs(second + issued_at),
            issued_at: UnixTime::from_secs(second + issued_at),
            not_before: UnixTime::from_secs(second + issued_at),
            expires_at: UnixTime::from_secs(second + expires_at),
        };
        codec.sign(&claims).unwrap().expose().to_owned()
    };
    let cases = [
        ((0, 900), 200),
        ((-900, 1), 200),
        ((-900, 0), 401),
        ((5, 900), 200),
        ((6, 900), 401),
        ((0, 3_600), 200),
        ((0, 3_601), 401),
    ];
    for ((issued_at, expires_at), status) in cases {
        let answer = app.get_as("/protected", &sign(issued_at, expires_at)).await;
        assert_eq!(answer.status, status, "{issued_at} {expires_at}");
    }
}

#[actix_web::test]
async fn tokens_of_another_issuer_are_refused() {
    let app = TestApp::new().await;
    let mut other = Setup::new();
    other.ports.access_tokens = std::sync::Arc::new(PlainAccessTokens::new("other"));
    let foreign = other.start().await.alice().await;
    app.get_as("/protected", &foreign.access).await.check_problem(ProblemCode::InvalidToken);
}

#[actix_web::test]
async fn an_instance_that_knows_nothing_yet_is_not_ready() {
    let tokens = TestApp::new().await.alice().await;
    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    let answer = app.get_as("/protected", &tokens.access).await;
    answer.check_problem(ProblemCode::NotReady);
    assert_eq!(answer.header("retry-after"), Some("1"));
    app.get_as("/protected", "x").await.check_problem(ProblemCode::InvalidToken);

    app.maintenance.sync().unwrap();
    assert_eq!(app.get_as("/protected", &tokens.access).await.status, 200);
}

// ASVS 16.5.3
#[actix_web::test]
async fn an_instance_that_is_out_of_date_asks_the_store() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    let other = app.login("alice", PASSWORD).await.tokens();
    let kind = EventKind::LoggedOut(LogoutScope::Current);
    let event = fixtures::event(kind, NOW, app.ports.random.as_ref());
    let session = SessionId::from_uuid(other.session.parse().unwrap());
    app.ports.store.end_session(session, None, event.at, &event).unwrap();
    assert_eq!(app.get_as("/protected", &other.access).await.status, 200, "as far as it knows");

    app.wait(6);
    app.get_as("/protected", &other.access).await.check_problem(ProblemCode::InvalidToken);
    assert_eq!(app.get_as("/protected", &tokens.access).await.status, 200);
}
