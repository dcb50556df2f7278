//! The IP family.

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use portcullis_http::{HttpConfig, LimitsConfig, ProblemCode, Quota, TrustedProxies};
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::test_app::{Answer, Setup, TestApp, bearer, named, post, with_json};

/// A burst of two and then one a day: no test takes that long.
async fn app(proxies: &[&str]) -> TestApp {
    let quota = Quota {
        count: NonZeroU32::MIN,
        per: Duration::from_hours(24),
        burst: NonZeroU32::MIN.saturating_add(1),
    };
    let limits = LimitsConfig {
        enabled: true,
        register: quota,
        login: quota,
        refresh: quota,
        session_refresh: quota,
        password: quota,
    };
    let proxies = TrustedProxies::new(proxies.iter().map(|text| text.parse().unwrap()).collect());
    let config = HttpConfig { limits, trusted_proxies: proxies, ..HttpConfig::default() };
    Setup { config, ..Setup::new() }.start().await
}

async fn login_from(app: &TestApp, peer: &str, forwarded_for: Option<&str>) -> Answer {
    let address = std::net::SocketAddr::new(peer.parse().unwrap(), 4711);
    let request = post("/login", "{}").peer_addr(address);
    app.send(match forwarded_for {
        Some(forwarded_for) => request.insert_header(("x-forwarded-for", forwarded_for)),
        None => request,
    })
    .await
}

/// Those of actix-governor's own say the same in another way, and the wait wrongly.
fn has_no_other_fields(answer: &Answer) {
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")), "{answer:?}");
}

// ASVS 2.4.1
#[actix_web::test]
async fn what_remains_is_told_until_nothing_does() {
    let app = app(&[]).await;
    for (path, name) in [("/register", "register"), ("/login", "login"), ("/refresh", "refresh")] {
        for (remaining, seconds) in [(1, 86_400), (0, 172_800)] {
            let answer = app.post(path, "{}").await;
            assert_eq!(answer.status, 422);
            assert_eq!(answer.header("ratelimit"), Some(&*format!("\"{name}\";r={remaining};t={seconds}")));
            assert_eq!(answer.header("ratelimit-policy"), Some(&*format!("\"{name}\";q=2;w=172800")));
            has_no_other_fields(&answer);
        }
        let answer = app.post(path, "{}").await;
        answer.check_problem(ProblemCode::RateLimited);
        assert!(answer.header("ratelimit").unwrap().starts_with(&format!("\"{name}\";r=0;t=")), "{answer:?}");
        assert_eq!(answer.header("ratelimit-policy"), Some(&*format!("\"{name}\";q=2;w=172800")));
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((86_000..=86_400).contains(&seconds), "{seconds}");
        has_no_other_fields(&answer);
    }
}

// ASVS 2.4.1
#[actix_web::test]
async fn what_asks_for_the_current_password_shares_a_bucket() {
    let app = app(&[]).await;
    let token = app.alice().await.access;
    let calls = async || [app.change_password(&token, "x", "y").await, app.delete_account(&token, "x").await];
    for (answer, fields) in
        calls().await.iter().zip(["\"password\";r=1;t=86400", "\"password\";r=0;t=172800"])
    {
        assert_eq!(answer.status, 422);
        assert_eq!(answer.header("ratelimit"), Some(fields));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"password\";q=2;w=172800"));
        has_no_other_fields(answer);
    }
    for answer in calls().await {
        answer.check_problem(ProblemCode::RateLimited);
        assert!(answer.header("ratelimit").unwrap().starts_with("\"password\";r=0;t="), "{answer:?}");
    }
    let post = with_json(Method::POST, "/me/delete", json!({"current_password": "x"}));
    app.send(post.insert_header(bearer(&token))).await.check_problem(ProblemCode::RateLimited);
    assert_eq!(app.get_as("/me", &token).await.status, 200, "to look is free");
}

/// RF-11.
#[actix_web::test]
async fn a_session_has_a_bucket_from_wherever_its_tokens_come() {
    let (app, often) = (app(&[]).await, |n: u8| std::net::SocketAddr::from(([192, 0, 2, n], 1)));
    let mut tokens = app.alice().await;
    let other = app.login("alice", PASSWORD).await.tokens();
    let refresh = |token: &str, n| post("/refresh", json!({"refresh_token": token})).peer_addr(often(n));
    for n in 1..=2 {
        tokens = app.send(refresh(&tokens.refresh, n)).await.tokens();
    }
    for n in 3..=5 {
        let mut forged = tokens.refresh.clone();
        let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
        forged.push(last);
        app.send(refresh(&forged, n)).await.check_problem(ProblemCode::InvalidRefreshToken);

        let answer = app.send(refresh(&tokens.refresh, n)).await;
        answer.check_problem(ProblemCode::RateLimited);
        let limits: Vec<_> =
            answer.headers.get_all("ratelimit").map(|value| value.to_str().unwrap()).collect();
        assert!(limits[0].starts_with("\"session\";r=0;t="), "{limits:?}");
        assert_eq!(limits[1], "\"refresh\";r=0;t=172800", "the address has its own");
        has_no_other_fields(&answer);
    }
    assert_eq!(app.send(refresh(&other.refresh, 6)).await.status, 200, "another session has another");
}

#[actix_web::test]
async fn the_rest_is_not_limited() {
    let app = app(&[]).await;
    for _ in 0..3 {
        for path in ["/health", "/protected", "/me", "/me/sessions", "/me/activity", "/.well-known/jwks.json"]
        {
            let answer = app.get(path).await;
            assert_ne!(answer.status, 429);
            assert_eq!(answer.header("ratelimit"), None);
        }
        let wrong_method = app.send(named(TestRequest::get()).uri("/login")).await;
        wrong_method.check_problem(ProblemCode::MethodNotAllowed);
    }
    assert_eq!(app.post("/login", "{}").await.header("ratelimit"), Some("\"login\";r=1;t=86400"));
}

/// IP-01, HT-07.
// ASVS 4.1.3 15.3.4
#[actix_web::test]
async fn a_client_cannot_claim_another_address() {
    let app = app(&["10.0.0.0/8"]).await;
    assert_eq!(login_from(&app, "203.0.113.1", Some("192.0.2.1")).await.status, 422);
    assert_eq!(login_from(&app, "203.0.113.1", Some("192.0.2.2")).await.status, 422);
    assert_eq!(login_from(&app, "203.0.113.1", Some("192.0.2.3")).await.status, 429);
    for name in
        ["x-real-ip", "forwarded", "x_forwarded_for", "x-client-ip", "true-client-ip", "cf-connecting-ip"]
    {
        let request = post("/login", "{}")
            .peer_addr("203.0.113.1:1".parse().unwrap())
            .insert_header((name, "192.0.2.4"));
        assert_eq!(app.send(request).await.status, 429, "{name}");
    }
    assert_eq!(login_from(&app, "192.0.2.1", None).await.status, 422, "who was claimed is not counted");
}

/// IP-02.
// ASVS 15.3.4
#[actix_web::test]
async fn a_proxy_says_who_calls() {
    let app = app(&["10.0.0.0/8"]).await;
    assert_eq!(login_from(&app, "10.0.0.1", Some("6.6.6.1, 192.0.2.1")).await.status, 422);
    assert_eq!(login_from(&app, "10.0.0.1", Some("6.6.6.2, 192.0.2.1, 10.0.0.2")).await.status, 422);
    assert_eq!(login_from(&app, "10.0.0.1", Some("6.6.6.3, 192.0.2.1")).await.status, 429);
    assert_eq!(login_from(&app, "10.0.0.1", Some("192.0.2.2")).await.status, 422);
}

/// IP-04.
#[actix_web::test]
async fn one_customer_has_one_bucket() {
    let app = app(&[]).await;
    assert_eq!(login_from(&app, "2001:db8:0:1::1", None).await.status, 422);
    assert_eq!(login_from(&app, "2001:db8:0:1:ffff::2", None).await.status, 422);
    assert_eq!(login_from(&app, "2001:db8:0:1::3", None).await.status, 429);
    assert_eq!(login_from(&app, "2001:db8:0:2::1", None).await.status, 422);

    assert_eq!(login_from(&app, "198.51.100.1", None).await.status, 422);
    assert_eq!(login_from(&app, "::ffff:198.51.100.1", None).await.status, 422);
    assert_eq!(login_from(&app, "198.51.100.1", None).await.status, 429);
}

/// EN-05.
#[actix_web::test]
async fn the_limit_does_not_tell_who_exists() {
    let (one, other) = (app(&[]).await, app(&[]).await);
    assert_eq!(one.register("Alice", PASSWORD).await.status, 201);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let (known, unknown) = (one.login("alice", "x").await, other.login("alice", "x").await);
        assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
        assert_eq!(known.header("ratelimit-policy"), unknown.header("ratelimit-policy"));
        statuses.push(known.status);
    }
    assert_eq!(statuses, [401, 401, 429]);
}

#[actix_web::test]
async fn limits_can_be_switched_off() {
    let mut setup = Setup::new();
    setup.config.limits = LimitsConfig { enabled: false, ..LimitsConfig::default() };
    let app = setup.start().await;
    for _ in 0..70 {
        let answer = app.post("/refresh", "{}").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (422, None));
    }
}

// ASVS 2.3.2
#[actix_web::test]
async fn the_defaults_are_those_of_the_contract() {
    let mut setup = Setup::new();
    setup.config.limits = LimitsConfig::default();
    let app = setup.start().await;
    for (path, policy) in [
        ("/register", "\"register\";q=10;w=1200"),
        ("/login", "\"login\";q=10;w=20"),
        ("/refresh", "\"refresh\";q=60;w=30"),
    ] {
        assert_eq!(app.post(path, "{}").await.header("ratelimit-policy"), Some(policy));
    }
    let answer = app.change_password("x", "", "").await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"password\";q=10;w=60"));
}
