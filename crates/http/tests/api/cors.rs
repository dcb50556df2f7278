use actix_web::http::Method;
use actix_web::http::header::HeaderName;
use actix_web::test::TestRequest;
use portcullis_http::{AllowedOrigins, HttpConfig, ProblemCode, routes};
use serde_json::json;

use crate::routes::example_path;
use crate::test_app::{Answer, Setup, TestApp, bearer, named, post, with_json};

const APP: &str = "https://app.example.com";

async fn app(origins: &[&str]) -> TestApp {
    let allowed_origins = AllowedOrigins::parse(origins.iter().copied()).unwrap();
    let config = HttpConfig { allowed_origins, ..HttpConfig::default() };
    Setup { config, ..Setup::new() }.start().await
}

fn from(origin: &str, path: &str) -> TestRequest {
    named(TestRequest::get()).uri(path).insert_header(("origin", origin))
}

fn preflight(origin: &str) -> TestRequest {
    named(TestRequest::default().method(Method::OPTIONS))
        .uri("/login")
        .insert_header(("origin", origin))
        .insert_header(("access-control-request-method", "POST"))
        .insert_header(("access-control-request-headers", "content-type"))
}

fn grants(answer: &Answer) -> Vec<&str> {
    answer
        .headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| name.starts_with("access-control-allow"))
        .collect()
}

#[actix_web::test]
async fn a_listed_origin_reads_answers_and_errors() {
    let app = app(&[APP, "http://localhost:5173"]).await;
    for (path, status) in [("/health", 200), ("/protected", 401), ("/nothing", 404), ("/login", 405)] {
        let answer = app.send(from(APP, path)).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(grants(&answer), ["access-control-allow-origin"], "no credentials");
        let mut exposed: Vec<_> =
            answer.header("access-control-expose-headers").unwrap().split(", ").collect();
        exposed.sort_unstable();
        let expected = ["ratelimit", "ratelimit-policy", "retry-after", "www-authenticate", "x-request-id"];
        assert_eq!(exposed, expected);
    }
    for malformed in
        [from(APP, "/health").insert_header(("host", "a b")), from(APP, "http://evil.example/health")]
    {
        let answer = app.send(malformed).await;
        answer.check_problem(ProblemCode::MalformedRequest);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    }
    let answer = app.send(post("/login", "{").insert_header(("origin", APP))).await;
    answer.check_problem(ProblemCode::MalformedJson);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
}

#[actix_web::test]
async fn a_listed_origin_may_ask_first() {
    let answer = app(&[APP]).await.send(preflight(APP)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let list = |name: &str| {
        let mut list: Vec<_> = answer.header(name).unwrap().split(", ").map(str::to_lowercase).collect();
        list.sort_unstable();
        list.join(" ")
    };
    assert_eq!(list("access-control-allow-methods"), "delete get head post put");
    assert_eq!(list("access-control-allow-headers"), "content-type");
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

#[actix_web::test]
async fn fields_that_libraries_add_are_allowed() {
    for origins in [APP, "*"] {
        let app = app(&[origins]).await;
        for names in [
            "baggage,content-type,sentry-trace",
            "traceparent,tracestate",
            "authorization,content-type,x-request-id",
            "x-requested-with",
            "cache-control,pragma,if-none-match",
            "apikey,x-client-info",
            "x-datadog-origin,x-datadog-parent-id,x-datadog-sampling-priority,x-datadog-trace-id",
            "b3,x-b3-flags,x-b3-parentspanid,x-b3-sampled,x-b3-spanid,x-b3-traceid",
            "elastic-apm-traceparent,newrelic,x-amzn-trace-id,x-cloud-trace-context,uber-trace-id",
            "x-correlation-id,idempotency-key,dpop",
            "accept,accept-language",
            "Authorization, Content-Type, X-Foo",
            "*",
            "a,,b",
        ] {
            let asked = preflight(APP).insert_header(("access-control-request-headers", names));
            let answer = app.send(asked).await;
            assert_eq!((answer.status, answer.header("access-control-allow-headers")), (200, Some(names)));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            let vary = answer.header("vary").unwrap();
            assert!(vary.contains("Access-Control-Request-Headers"), "{vary}");
        }
        let nothing = preflight(APP).insert_header(("access-control-request-headers", ""));
        assert_eq!(app.send(nothing).await.status, 200);
        let head = preflight(APP).insert_header(("access-control-request-method", "HEAD"));
        assert_eq!(app.send(head.uri("/protected")).await.status, 200);
    }
}

#[actix_web::test]
async fn a_page_may_use_every_method_of_the_api() {
    let app = app(&[APP]).await;
    let token = app.alice().await.access;
    for route in routes() {
        let asked = preflight(APP)
            .uri(&example_path(&route))
            .insert_header(("access-control-request-method", route.method().as_str()));
        assert_eq!(app.send(asked).await.status, 200, "{route:?}");
    }
    let unknown = "/me/sessions/0198c8a4-0000-7000-8000-000000000000";
    let changes = [
        (Method::PUT, "/me/password", 422),
        (Method::DELETE, "/me", 422),
        (Method::POST, "/me/delete", 422),
        (Method::DELETE, unknown, 404),
    ];
    for (method, path, status) in changes {
        let asked = preflight(APP)
            .uri(path)
            .insert_header(("access-control-request-method", method.as_str()))
            .insert_header(("access-control-request-headers", "authorization,content-type"));
        assert_eq!(app.send(asked).await.status, 200, "{method} {path}");
        let request =
            with_json(method, path, "{}").insert_header(bearer(&token)).insert_header(("origin", APP));
        let answer = app.send(request).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, Some(APP)));
    }
}

/// CO-01, CO-02.
// ASVS 3.4.2
#[actix_web::test]
async fn other_origins_are_served_but_may_not_read() {
    let app = app(&[APP]).await;
    let others = [
        "null",
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://APP.example.com",
        "https://app.example.com/",
        "*",
        "",
    ];
    for origin in others {
        let answer = app.send(from(origin, "/health")).await;
        answer.check(200, &json!({"status": "ok"}));
        assert_eq!(grants(&answer), [] as [&str; 0], "{origin}");

        let answer = app.send(preflight(origin)).await;
        answer.check_problem(ProblemCode::Forbidden);
        assert_eq!(grants(&answer), [] as [&str; 0], "{origin}");
    }
}

/// CO-04.
#[actix_web::test]
async fn caches_are_told_that_the_origin_matters() {
    let app = app(&[APP]).await;
    for origin in [APP, "https://evil.example", "null"] {
        for request in [from(origin, "/health"), from(origin, "/nothing"), preflight(origin)] {
            let answer = app.send(request).await;
            let vary = answer.header("vary").unwrap();
            assert!(vary.split(", ").any(|name| name == "Origin"), "{origin}: {vary}");
        }
    }
    let answer = app.get("/health").await;
    assert!(answer.header("vary").unwrap().contains("Origin"), "without an origin too");
}

#[actix_web::test]
async fn a_star_lets_all_read_but_null() {
    let app = app(&["*"]).await;
    let answer = app.send(from("https://anybody.example", "/health")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "and reflects nothing");
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(grants(&app.send(from("null", "/health")).await), [] as [&str; 0]);
    app.send(preflight("null")).await.check_problem(ProblemCode::Forbidden);
}

#[actix_web::test]
async fn asking_for_what_is_not_granted_is_refused() {
    let app = app(&[APP]).await;
    let method = preflight(APP).insert_header(("access-control-request-method", "TRACE"));
    app.send(method).await.check_problem(ProblemCode::Forbidden);
    for garbage in ["a b,,", "x:y", "\"x\"", "x=1", "é"] {
        let header = preflight(APP).insert_header(("access-control-request-headers", garbage));
        app.send(header).await.check_problem(ProblemCode::MalformedRequest);
    }
    let no_origin = named(TestRequest::default().method(Method::OPTIONS))
        .uri("/login")
        .insert_header(("access-control-request-method", "POST"));
    app.send(no_origin).await.check_problem(ProblemCode::MalformedRequest);
}

/// HT-11.
#[actix_web::test]
async fn a_preflight_with_a_flood_of_names_is_refused_unread() {
    let app = app(&[APP]).await;
    let names = (0..100_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let flood = preflight(APP).insert_header(("access-control-request-headers", names));
    app.send(flood).await.check_problem(ProblemCode::MalformedRequest);
}

#[actix_web::test]
async fn without_origins_nothing_is_said_about_cors() {
    let app = TestApp::new().await;
    let answer = app.send(preflight(APP)).await;
    answer.check_problem(ProblemCode::MethodNotAllowed);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(grants(&answer), [] as [&str; 0]);
    assert_eq!(grants(&app.send(from(APP, "/health")).await), [] as [&str; 0]);
}
