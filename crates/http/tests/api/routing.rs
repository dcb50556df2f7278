//! Paths and methods: the HT family as far as it can be seen in process.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use portcullis_http::{Access, ProblemCode, routes};
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::contract;
use crate::routes::{RESOURCES, Resource, example_path};
use crate::test_app::{TestApp, bearer, named, post, with_json};

/// HT-04, HT-05.
// ASVS 3.5.3 4.1.4
#[actix_web::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let app = TestApp::new().await;
    let methods = [
        "TRACE", // ASVS 13.4.4
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "PROPFIND", "get", "X",
    ];
    for Resource { path, allow } in &*RESOURCES {
        for method in methods {
            let request =
                named(TestRequest::default()).method(Method::from_bytes(method.as_bytes()).unwrap());
            let answer = app.send(request.uri(path)).await;
            if allow.split(", ").any(|allowed| allowed == method) {
                assert_ne!(answer.status, 405, "{method} {path}");
            } else {
                answer.check_problem(ProblemCode::MethodNotAllowed);
                assert_eq!(answer.header("allow"), Some(&**allow), "{method} {path}");
            }
        }
    }
}

/// HT-05.
#[actix_web::test]
async fn head_is_get_without_the_body() {
    let app = TestApp::new().await;
    let token = app.alice().await.access;
    for Resource { path, .. } in RESOURCES.iter().filter(|resource| resource.has_get()) {
        for bearer in ["", "Bearer x", &format!("Bearer {token}")] {
            let request = |method| {
                named(TestRequest::default().method(method))
                    .uri(path)
                    .insert_header(("authorization", bearer))
            };
            let get = app.send(request(Method::GET)).await;
            let head = app.send(request(Method::HEAD)).await;
            assert_eq!((get.status, get.header_fields()), (head.status, head.header_fields()), "{path}");
        }
    }
}

#[actix_web::test]
async fn paths_are_exact() {
    let app = TestApp::new().await;
    for path in [
        "/",
        "/nothing",
        "/login/",
        "//login",
        "/./login",
        "/x/../login",
        "/Login",
        "/%6Cogin", // ASVS 1.1.1
        "/login%2f",
        "/login%00",
        "/login%20",
        "/login;x", // ASVS 14.2.5
        "/problems/%6eot_found",
        "/problems/not_found/",
        "/docs/", // ASVS 13.4.3
        "/me/",
        "/me/password/",
        "/me/sessions/",
        "/me/sessions/0198c8a4-0000-7000-8000-000000000000/",
        "/me/sessions/0198c8a4-0000-7000-8000-00000000000%30",
        "/docs/..%2fx",
        "/.well-known/",
        "/v1/login",
        "*",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let request = named(TestRequest::default()).method(method).uri(path);
            app.send(request).await.check_problem(ProblemCode::NotFound);
        }
    }
}

/// HT-04.
// ASVS 3.5.3
#[actix_web::test]
async fn no_header_or_field_makes_another_method() {
    let app = TestApp::new().await;
    let tokens = app.alice().await;
    for name in ["x-http-method-override", "x-method-override", "x-http-method"] {
        let request = named(TestRequest::get())
            .uri("/logout?_method=POST")
            .insert_header((name, "POST"))
            .insert_header(("authorization", format!("Bearer {}", tokens.access)));
        app.send(request).await.check_problem(ProblemCode::MethodNotAllowed);
    }
    assert_eq!(app.get_as("/protected", &tokens.access).await.status, 200);
}

/// HT-08.
#[actix_web::test]
async fn targets_and_hosts_are_those_of_an_origin_server() {
    let app = TestApp::new().await;
    app.get("http://evil.example/health").await.check_problem(ProblemCode::MalformedRequest);
    for host in [
        "",
        "user@auth.example",
        "auth.example/x",
        "auth.example#x",
        "a b",
        "a\"b",
        "\u{e9}",
        "[::1",
        "::1]",
        "a[b]",
    ] {
        let request = named(TestRequest::get()).uri("/health").insert_header(("host", host));
        app.send(request).await.check_problem(ProblemCode::MalformedRequest);
    }
    for protocol in ["websocket", "WebSocket"] {
        let request = named(TestRequest::get()).uri("/health").insert_header(("upgrade", protocol));
        app.send(request).await.check_problem(ProblemCode::MalformedRequest);
    }
    let request = named(TestRequest::get()).uri("/health").insert_header(("upgrade", "h2c"));
    assert_eq!(app.send(request).await.status, 200, "an offer that may be ignored");
    for host in ["auth.example", "auth.example:8080", "[::1]:8080", "127.0.0.1"] {
        let request = named(TestRequest::get()).uri("/health").insert_header(("host", host));
        assert_eq!(app.send(request).await.status, 200, "{host}");
    }
    let request = named(TestRequest::get())
        .uri("/.well-known/openid-configuration")
        .insert_header(("host", "evil.example"))
        .insert_header(("x-forwarded-host", "evil.example"))
        .insert_header(("forwarded", "host=evil.example"));
    assert!(!app.send(request).await.body.contains("evil"));
}

// ASVS 3.5.6 15.3.7
#[actix_web::test]
async fn a_query_changes_nothing_where_none_is_known() {
    let app = TestApp::new().await;
    let token = app.alice().await.access;
    let body = format!(r#"{{"username":"alice","password":"{PASSWORD}"}}"#);
    assert_eq!(app.send(post("/login?username=bob&%ff", body)).await.status, 200);
    for Resource { path, .. } in RESOURCES.iter().filter(|resource| resource.has_get()) {
        let asked = app.get_as(&format!("{path}?callback=evil"), &token).await;
        if path == "/me/activity" {
            asked.check_violations(&[("#/callback", "unknown_field")]);
            continue;
        }
        let plain = app.get_as(path, &token).await;
        assert_eq!((asked.status, &asked.body), (plain.status, &plain.body), "{path}");
        assert_eq!(asked.header("content-type"), plain.header("content-type"), "{path}");
    }
}

// ASVS 3.5.7 4.1.1
#[actix_web::test]
async fn every_body_says_what_it_is_and_no_script_is_of_a_user() {
    let app = TestApp::new().await;
    let token = app.alice().await.access;
    let script = "/docs/swagger-initializer.js";
    let paths = RESOURCES.iter().filter(|resource| resource.has_get()).map(|resource| &*resource.path);
    for path in paths.chain([script, "/nothing"]) {
        for bearer in [&token, "x"] {
            let answer = app.get_as(path, bearer).await;
            match (answer.status, answer.header("content-type").unwrap()) {
                (200, "application/json") | (401 | 404, "application/problem+json") => {
                    assert!(answer.json().is_object(), "{answer:?}");
                }
                (200, "text/html; charset=utf-8") => {
                    assert!(path == "/docs" && answer.body.starts_with("<!DOCTYPE html>"), "{answer:?}");
                }
                (200, "text/css; charset=utf-8") => assert_eq!(path, "/docs/index.css"),
                (200, "text/javascript; charset=utf-8") => {
                    assert_eq!(path, script);
                    assert_eq!(answer.body, app.get(script).await.body, "the same for everybody");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}

// ASVS 8.2.1 8.3.1
#[actix_web::test]
async fn all_but_what_is_public_takes_a_good_access_token() {
    let app = TestApp::new().await;
    let ended = app.alice().await;
    app.post("/logout", json!({"refresh_token": ended.refresh})).await.check_done();
    let good = app.login("alice", PASSWORD).await.tokens();
    let before = app.events();
    let mut guarded = 0;
    for route in routes().iter().filter(|route| route.access() == Access::Token) {
        guarded += 1;
        let (name, method) = (route.operation_id(), route.method());
        let path = route.path().replace("{id}", &good.session);
        // The password alone opens nothing.
        let mut body = contract::example_body(route);
        if body["current_password"].is_string() {
            body["current_password"] = PASSWORD.into();
        }
        let request = || with_json(method.clone(), &path, &body);
        app.send(request()).await.check_problem(ProblemCode::MissingToken);
        for bad in ["x", &ended.access, &good.refresh] {
            let answer = app.send(request().insert_header(bearer(bad))).await;
            answer.check_problem(ProblemCode::InvalidToken);
        }
        let harmless = with_json(method.clone(), &example_path(route), "{}");
        let answer = app.send(harmless.insert_header(bearer(&good.access))).await;
        assert!(matches!(answer.status, 200 | 404 | 422), "{name}: {answer:?}");
    }
    assert!(guarded >= 7, "{guarded}");
    assert_eq!(app.events(), before);
    assert!(!app.is_over(&good).await);
}

/// Generated clients may send their access token with every request, even one that is no longer valid.
#[actix_web::test]
async fn public_routes_ignore_bearer_tokens() {
    let app = TestApp::new().await;
    let good = app.alice().await.access;
    for (n, credentials) in
        [format!("Bearer {good}"), "Bearer x".to_owned(), "Bearer ".to_owned()].into_iter().enumerate()
    {
        let send = async |request: TestRequest, status| {
            let answer = app.send(request.insert_header(("authorization", credentials.clone()))).await;
            assert_eq!(answer.status, status, "{credentials}: {answer:?}");
            answer
        };
        let user = json!({"username": format!("user-{n}"), "password": PASSWORD});
        send(post("/register", &user), 201).await;
        let tokens = send(post("/login", &user), 200).await.tokens();
        send(post("/refresh", json!({"refresh_token": tokens.refresh})), 200).await;
        let public = routes().into_iter().filter(|route| route.access() == Access::Public);
        for route in public.filter(|route| route.method() == Method::GET) {
            send(named(TestRequest::get()).uri(&example_path(&route)), 200).await;
        }
    }
}
