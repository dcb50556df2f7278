//! The URL table.

pub(crate) mod account;
pub(crate) mod discovery;
pub(crate) mod docs;
pub(crate) mod ops;
pub(crate) mod session;

use std::net::Ipv6Addr;

use actix_web::dev::{HttpServiceFactory, RequestHead};
use actix_web::guard::{self, Guard, GuardContext};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, ResponseError, Route};
use portcullis_domain::token::VerificationKey;

use crate::api::Api;
use crate::config::HttpConfig;
use crate::limit::Limit;
use crate::middleware::catch_panic::CatchPanic;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;
use crate::routes::account::{activity, change_password, delete, password_policy, profile, register};
use crate::routes::discovery::{problems, well_known};
use crate::routes::docs::page;
use crate::routes::ops::health;
use crate::routes::session::{end, list, login, logout, protected, refresh};

/// Every path with its methods.
fn table(api: &Api) -> Vec<At> {
    let limits = &api.limits;
    let mut table = vec![
        At::new("/register", [post(register::register).limited(&limits.register)]),
        At::new("/login", [post(login::login).limited(&limits.login)]),
        At::new("/refresh", [post(refresh::refresh).limited(&limits.refresh)]),
        At::new("/logout", [post(logout::logout)]),
        At::new("/protected", [get(protected::protected)]),
        At::new("/me", [get(profile::me), delete(delete::delete_account).limited(&limits.password)]),
        At::new("/me/delete", [post(delete::delete_account_by_post).limited(&limits.password)]),
        At::new("/me/password", [put(change_password::change_password).limited(&limits.password)]),
        At::new("/me/activity", [get(activity::activity)]),
        At::new("/me/sessions", [get(list::sessions)]),
        At::new("/me/sessions/{id}", [delete(end::end_session)]),
        At::new("/password-policy", [get(password_policy::password_policy)]),
        At::new("/health", [get(health::health)]),
        At::new("/ready", [get(health::ready)]),
        At::new("/.well-known/jwks.json", [get(well_known::jwks)]),
        At::new("/.well-known/oauth-authorization-server", [get(well_known::metadata)]),
        At::new("/.well-known/openid-configuration", [get(well_known::openid_configuration)]),
        At::new("/problems", [get(problems::problems)]),
        At::new("/problems/{code}", [get(problems::problem)]),
    ];
    if api.documents.docs.is_some() {
        table.extend([
            At::new("/openapi.json", [get(page::openapi_json)]),
            At::new("/docs", [get(page::page)]),
            At::new("/docs/{file}", [get(page::file)]),
        ]);
    }
    table
}

/// Puts the table into an application.
pub(crate) fn configure(config: &mut ServiceConfig, api: &Api) {
    for at in table(api) {
        config.service(at.into_resource());
    }
}

/// What answers where no path matches, and what is no request for an origin server.
pub(crate) fn not_found() -> Route {
    web::to(async |request: HttpRequest| {
        let problem = match is_well_formed(request.head()) {
            true => Problem::new(ProblemCode::NotFound),
            false => Problem::new(ProblemCode::MalformedRequest).closing(),
        };
        problem.error_response()
    })
}

/// Documents that are the same for every request, made once.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) metadata: web::Bytes,
    pub(crate) problems: web::Bytes,
    pub(crate) docs: Option<page::Docs>,
}

impl Documents {
    pub(crate) fn new(config: &HttpConfig, keys: &[VerificationKey]) -> Self {
        Self {
            metadata: well_known::metadata_of(config, keys),
            problems: problems::all(),
            docs: config.docs.then(|| page::Docs::new(&config.public_url)),
        }
    }
}

/// A path and the methods it knows.
struct At {
    path: &'static str,
    verbs: Vec<Verb>,
}

impl At {
    fn new(path: &'static str, verbs: impl IntoIterator<Item = Verb>) -> Self {
        Self { path, verbs: verbs.into_iter().collect() }
    }

    /// The methods as an `Allow` field lists them.
    fn allow(&self) -> String {
        self.verbs.iter().map(|verb| verb.allow).collect::<Vec<_>>().join(", ")
    }

    fn into_resource(self) -> impl HttpServiceFactory + use<> {
        let allow = HeaderValue::from_str(&self.allow()).unwrap_or(HeaderValue::from_static(""));
        let resource = web::resource(self.path).guard(Proper);
        let resource = self.verbs.into_iter().fold(resource, |resource, verb| resource.route(verb.route));
        let resource = resource.default_service(web::to(move || {
            let mut response = Problem::new(ProblemCode::MethodNotAllowed).error_response();
            response.headers_mut().insert(header::ALLOW, allow.clone());
            async { response }
        }));
        resource.wrap(CatchPanic)
    }
}

/// A method, or GET and HEAD together, and what answers it.
struct Verb {
    allow: &'static str,
    route: Route,
}

impl Verb {
    /// The same, but only so often per client.
    fn limited(self, limit: &Limit) -> Self {
        Self { route: limit.guard(self.route), ..self }
    }
}

fn get<F, Args>(handler: F) -> Verb
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let get_or_head = guard::Any(guard::Get()).or(guard::Head());
    Verb { allow: "GET, HEAD", route: web::route().guard(get_or_head).to(handler) }
}

fn post<F, Args>(handler: F) -> Verb
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Verb { allow: "POST", route: web::method(Method::POST).to(handler) }
}

fn put<F, Args>(handler: F) -> Verb
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Verb { allow: "PUT", route: web::method(Method::PUT).to(handler) }
}

fn delete<F, Args>(handler: F) -> Verb
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Verb { allow: "DELETE", route: web::method(Method::DELETE).to(handler) }
}

/// Passes only well-formed requests for paths without percent-encoding: none of ours needs it, and one resource has
/// one path. The rest is for [`not_found`].
struct Proper;

impl Guard for Proper {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        !context.head().uri.path().contains('%') && is_well_formed(context.head())
    }
}

/// Refuses what no client of an origin server sends: a target in the form for proxies, and a `Host` with user
/// information, a path or the like. (Nothing here believes `Host`, but something in front might.) Refuses WebSocket
/// too: it is not spoken here, and the HTTP parser would take whatever follows the head for a body without end.
fn is_well_formed(head: &RequestHead) -> bool {
    let may_be_in_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte);
    let is_host = |host: &[u8]| {
        !host.is_empty()
            && host.iter().all(may_be_in_host)
            && (!host.iter().any(|byte| b"[]".contains(byte)) || begins_with_ipv6(host))
    };
    head.uri.scheme().is_none()
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

/// Whether a query parameter was added by a library, which happens for cache busting and statistics. Any other unknown
/// name may be misspelt, and is refused on routes with parameters.
pub(crate) fn is_foreign(parameter: &str) -> bool {
    parameter.starts_with('_') || parameter.starts_with("utm_")
}

/// The type of what most routes return.
pub(crate) type HandlerResult = Result<HttpResponse, Problem>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portcullis_domain::Core;
    use utoipa::openapi::path::PathItem;

    use super::*;
    use crate::openapi::openapi;

    #[test]
    fn the_table_and_the_openapi_document_list_the_same() {
        let core = Core::new(portcullis_testkit::ports(), portcullis_domain::AuthConfig::default());
        let api = Api::new(&core, HttpConfig::default()).unwrap();

        let served: BTreeSet<_> = table(&api).iter().map(|at| (at.path.to_owned(), at.allow())).collect();
        let documented: BTreeSet<_> =
            openapi().paths.paths.into_iter().map(|(path, item)| (path, methods(&item))).collect();
        assert_eq!(served, documented);
    }

    /// HEAD works where GET does, and is not written down each time.
    fn methods(item: &PathItem) -> String {
        let methods = [
            (item.get.is_some(), "GET, HEAD"),
            (item.post.is_some(), "POST"),
            (item.put.is_some(), "PUT"),
            (item.delete.is_some(), "DELETE"),
            (item.patch.is_some(), "PATCH"),
        ];
        let present = methods.into_iter().filter_map(|(is_there, method)| is_there.then_some(method));
        present.collect::<Vec<_>>().join(", ")
    }
}
