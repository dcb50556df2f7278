//! Paths and methods: the HT family as far as it can be seen in process.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::PASSWORD;

use crate::rig::{Rig, named, post};

const ROUTES: [(&str, &str); 21] = [
    ("/register", "POST"),
    ("/login", "POST"),
    ("/refresh", "POST"),
    ("/logout", "POST"),
    ("/protected", "GET, HEAD"),
    ("/me", "GET, HEAD, DELETE"),
    ("/me/password", "PUT"),
    ("/me/activity", "GET, HEAD"),
    ("/me/sessions", "GET, HEAD"),
    ("/me/sessions/0198c8a4-0000-7000-8000-000000000000", "DELETE"),
    ("/password-policy", "GET, HEAD"),
    ("/health", "GET, HEAD"),
    ("/ready", "GET, HEAD"),
    ("/.well-known/jwks.json", "GET, HEAD"),
    ("/.well-known/oauth-authorization-server", "GET, HEAD"),
    ("/.well-known/openid-configuration", "GET, HEAD"),
    ("/problems", "GET, HEAD"),
    ("/problems/not_found", "GET, HEAD"),
    ("/openapi.json", "GET, HEAD"),
    ("/docs", "GET, HEAD"),
    ("/docs/index.css", "GET, HEAD"),
];

/// HT-04, HT-05.
// ASVS 3.5.3 4.1.4 13.4.4
#[actix_web::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let rig = Rig::new().await;
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get",
        "X",
    ];
    for (path, allow) in ROUTES {
        for method in methods {
            let request =
                named(TestRequest::default()).method(Method::from_bytes(method.as_bytes()).unwrap());
            let answer = rig.send(request.uri(path)).await;
            if allow.split(", ").any(|allowed| allowed == method) {
                assert_ne!(answer.status, 405, "{method} {path}");
            } else {
                answer.check_problem(ProblemCode::MethodNotAllowed);
                assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
            }
        }
    }
}

/// HT-05.
#[actix_web::test]
async fn head_is_get_without_the_body() {
    let rig = Rig::new().await;
    let token = rig.alice().await.access;
    for (path, _) in ROUTES.iter().filter(|(_, allow)| allow.starts_with("GET, HEAD")) {
        for bearer in ["", "Bearer x", &format!("Bearer {token}")] {
            let request = |method| {
                named(TestRequest::default().method(method))
                    .uri(path)
                    .insert_header(("authorization", bearer))
            };
            let get = rig.send(request(Method::GET)).await;
            let head = rig.send(request(Method::HEAD)).await;
            assert_eq!((get.status, get.header_fields()), (head.status, head.header_fields()), "{path}");
        }
    }
}

// ASVS 1.1.1 13.4.3 14.2.5
#[actix_web::test]
async fn paths_are_exact() {
    let rig = Rig::new().await;
    for path in [
        "/",
        "/nothing",
        "/login/",
        "//login",
        "/./login",
        "/x/../login",
        "/Login",
        "/%6Cogin",
        "/login%2f",
        "/login%00",
        "/login%20",
        "/login;x",
        "/problems/%6eot_found",
        "/problems/not_found/",
        "/docs/",
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
            rig.send(request).await.check_problem(ProblemCode::NotFound);
        }
    }
}

/// HT-04.
// ASVS 3.5.3
#[actix_web::test]
async fn no_header_or_field_makes_another_method() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    for name in ["x-http-method-override", "x-method-override", "x-http-method"] {
        let request = named(TestRequest::get())
            .uri("/logout?_method=POST")
            .insert_header((name, "POST"))
            .insert_header(("authorization", format!("Bearer {}", tokens.access)));
        rig.send(request).await.check_problem(ProblemCode::MethodNotAllowed);
    }
    assert_eq!(rig.get_as("/protected", &tokens.access).await.status, 200);
}

/// HT-08.
#[actix_web::test]
async fn targets_and_hosts_are_those_of_an_origin_server() {
    let rig = Rig::new().await;
    rig.get("http://evil.example/health").await.check_problem(ProblemCode::MalformedRequest);
    for host in ["", "user@auth.example", "auth.example/x", "auth.example#x", "a b", "a\"b", "\u{e9}"] {
        let request = named(TestRequest::get()).uri("/health").insert_header(("host", host));
        rig.send(request).await.check_problem(ProblemCode::MalformedRequest);
    }
    for protocol in ["websocket", "WebSocket"] {
        let request = named(TestRequest::get()).uri("/health").insert_header(("upgrade", protocol));
        rig.send(request).await.check_problem(ProblemCode::MalformedRequest);
    }
    let request = named(TestRequest::get()).uri("/health").insert_header(("upgrade", "h2c"));
    assert_eq!(rig.send(request).await.status, 200, "an offer that may be ignored");
    for host in ["auth.example", "auth.example:8080", "[::1]:8080", "127.0.0.1"] {
        let request = named(TestRequest::get()).uri("/health").insert_header(("host", host));
        assert_eq!(rig.send(request).await.status, 200, "{host}");
    }
    let request = named(TestRequest::get())
        .uri("/.well-known/openid-configuration")
        .insert_header(("host", "evil.example"))
        .insert_header(("x-forwarded-host", "evil.example"))
        .insert_header(("forwarded", "host=evil.example"));
    assert!(!rig.send(request).await.body.contains("evil"));
}

// ASVS 15.3.7
#[actix_web::test]
async fn a_query_changes_nothing_where_none_is_known() {
    let rig = Rig::new().await;
    rig.alice().await;
    let body = format!(r#"{{"username":"alice","password":"{PASSWORD}"}}"#);
    assert_eq!(rig.send(post("/login?username=bob&%ff", body)).await.status, 200);
}
