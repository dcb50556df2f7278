//! Routes as actix-web resources: methods, `Allow` and what belongs to no route.

use std::net::Ipv6Addr;

use actix_web::dev::{HttpServiceFactory, RequestHead};
use actix_web::guard::{Guard, GuardContext};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Version};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, ResponseError};

use crate::limit::Limits;
use crate::middleware::catch_panic::CatchPanic;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;
use crate::routes::route::{Access, Route};

/// Registers the routes, one resource for each path.
pub(crate) fn register(config: &mut ServiceConfig, routes: &[Route], limits: &Limits) {
    let mut by_path: Vec<Vec<&Route>> = Vec::new();
    for route in routes {
        match by_path.iter_mut().find(|of_path| of_path.iter().any(|other| other.path() == route.path())) {
            Some(of_path) => of_path.push(route),
            None => by_path.push(vec![route]),
        }
    }
    // actix-web compares paths one after another, and routes behind an access token are called most.
    by_path.sort_by_key(|of_path| of_path.iter().all(|route| route.access() != Access::Token));
    for of_path in by_path {
        config.service(resource(&of_path, limits));
    }
}

/// Returns the resource of routes with one path.
fn resource(routes: &[&Route], limits: &Limits) -> impl HttpServiceFactory + use<> {
    let path = routes.first().map(|route| route.path()).unwrap_or_default();
    let resource = web::resource(path).guard(Proper);
    let resource = routes.iter().fold(resource, |resource, route| resource.route(route.to_actix(limits)));
    let allow = HeaderValue::from_str(&allow(routes)).unwrap_or(HeaderValue::from_static(""));
    let resource = resource.default_service(web::to(move || {
        let mut response = Problem::new(ProblemCode::MethodNotAllowed).error_response();
        response.headers_mut().insert(header::ALLOW, allow.clone());
        async { response }
    }));
    resource.wrap(CatchPanic)
}

/// Returns the value of `Allow` for routes with one path.
fn allow(routes: &[&Route]) -> String {
    let methods = routes.iter().map(|route| match route.method() {
        &Method::GET => "GET, HEAD",
        other => other.as_str(),
    });
    methods.collect::<Vec<_>>().join(", ")
}

/// What answers where no path matches, and what is no request for an origin server.
pub(crate) fn not_found() -> actix_web::Route {
    web::to(async |request: HttpRequest| {
        let problem = match is_well_formed(request.head()) {
            true => Problem::new(ProblemCode::NotFound),
            false => Problem::new(ProblemCode::MalformedRequest).closing(),
        };
        problem.error_response()
    })
}

/// Passes only well-formed requests for paths without percent-encoding: none of ours needs it, and one resource has
/// one path. The rest is for [`not_found`].
struct Proper;

impl Guard for Proper {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        !context.head().uri.path().contains('%') && is_well_formed(context.head())
    }
}

/// Returns whether a client of an origin server sends such a request. Such a client sends no target in the form for proxies,
/// and no user information or path in `Host` or `:authority`. (The API does not use the host, but a proxy in front might.)
/// WebSocket is refused too: the API does not speak it, and the HTTP parser would read all that follows the head as a body
/// without an end.
fn is_well_formed(head: &RequestHead) -> bool {
    let may_be_in_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte);
    let is_host = |host: &[u8]| {
        !host.is_empty()
            && host.iter().all(may_be_in_host)
            && (!host.iter().any(|byte| b"[]".contains(byte)) || begins_with_ipv6(host))
    };
    // In HTTP/2 and later, every target has a scheme and an authority (RFC 9113 §8.3.1).
    let is_target = match head.uri.authority() {
        Some(authority) if head.version >= Version::HTTP_2 => is_host(authority.as_str().as_bytes()),
        _ => head.version >= Version::HTTP_2 || head.uri.scheme().is_none(),
    };
    is_target
        && head.headers().get_all(header::HOST).all(|host| is_host(host.as_bytes()))
        && !head
            .headers()
            .get_all(header::UPGRADE)
            .any(|protocol| protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Whether it is an address in brackets, and a port if anything.
fn begins_with_ipv6(host: &[u8]) -> bool {
    let parts = str::from_utf8(host).ok().and_then(|host| host.strip_prefix('[')?.split_once(']'));
    parts.is_some_and(|(address, rest)| {
        address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || rest.starts_with(':'))
    })
}
