//! One row per route, beside its handler: the router, the OpenAPI document and the tests read the same rows.

use std::collections::BTreeMap;
use std::fmt;

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, Responder, guard, web};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi as Document, RefOr, Required, Response};

use crate::limit::Limits;
use crate::limit::quota::RateLimit;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem_responses::{self as problems, problem_responses};

/// A route of the API. [`crate::routes`] lists all of them.
pub struct Route {
    path: String,
    method: Method,
    operation_id: String,
    access: Access,
    limit: Option<RateLimit>,
    is_throttled: bool,
    has_body: bool,
    is_body_optional: bool,
    problems: Vec<ProblemCode>,
    describe: fn() -> Document,
    handle: Box<dyn Fn(actix_web::Route) -> actix_web::Route + Send + Sync>,
}

/// What a route requires of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// An access token that is valid now.
    Token,
    /// Nothing, but an access token changes what the route does.
    OptionalToken,
}

impl Route {
    /// Creates the row of the one operation that `describe` returns. It requires an access token unless
    /// [`Self::public`] or [`Self::with_optional_token`] is called. Use [`route!`].
    ///
    /// # Panics
    /// Panics if the document has no operation.
    pub(crate) fn new<F, Args>(describe: fn() -> Document, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let document = describe();
        #[expect(clippy::expect_used, reason = "`route!` makes a document of one operation")]
        let (path, mut item) = document.paths.paths.into_iter().next().expect("the document has a path");
        #[expect(clippy::expect_used, reason = "`route!` makes a document of one operation")]
        let (method, operation) = operations(&mut item).next().expect("the path has an operation");
        Self {
            path,
            method,
            operation_id: operation.operation_id.take().unwrap_or_default(),
            access: Access::Token,
            limit: None,
            is_throttled: false,
            has_body: operation.request_body.is_some(),
            is_body_optional: false,
            problems: Vec::new(),
            describe,
            handle: Box::new(move |route| route.to(handler.clone())),
        }
    }

    /// Requires no access token.
    pub(crate) fn public(self) -> Self {
        Self { access: Access::Public, ..self }
    }

    /// Requires no access token, but reads one.
    pub(crate) fn with_optional_token(self) -> Self {
        Self { access: Access::OptionalToken, ..self }
    }

    /// Bounds how often one client address may call the route.
    pub(crate) fn limited(self, limit: RateLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Asks for a password, so that wrong ones are throttled.
    pub(crate) fn throttled(self) -> Self {
        Self { is_throttled: true, ..self }
    }

    /// Accepts requests without a body.
    pub(crate) fn with_optional_body(self) -> Self {
        Self { is_body_optional: true, ..self }
    }

    /// Adds problems of the handler to those that follow from access, body, limit and throttle.
    pub(crate) fn problems(mut self, codes: &[ProblemCode]) -> Self {
        self.problems.extend(codes);
        self
    }

    /// Returns the path, relative to where the API is mounted, with parameters in braces.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the method. A route for GET serves HEAD too.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the `operationId` in the OpenAPI document.
    pub fn operation_id(&self) -> &str {
        &self.operation_id
    }

    /// Returns what the route requires of its callers.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Returns the limit per client address, in a build that has limits.
    pub fn limit(&self) -> Option<RateLimit> {
        self.limit.filter(|_| cfg!(feature = "governor"))
    }

    /// Returns whether the route asks for a password, so that wrong ones are throttled.
    pub fn is_throttled(&self) -> bool {
        self.is_throttled
    }

    /// Returns the actix-web route.
    pub(crate) fn to_actix(&self, limits: &Limits) -> actix_web::Route {
        let route = match self.method {
            Method::GET => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
            ref method => web::method(method.clone()),
        };
        let route = (self.handle)(route);
        match self.limit {
            Some(limit) => limits.of(limit).guard(route),
            None => route,
        }
    }

    /// Returns the part of the OpenAPI document that belongs to this route.
    pub(crate) fn document(&self) -> Document {
        let mut document = (self.describe)();
        for (_, operation) in document.paths.paths.values_mut().flat_map(operations) {
            for (status, response) in self.problem_responses() {
                operation.responses.responses.entry(status).or_insert(response);
            }
            let token = || SecurityRequirement::new::<_, [&str; 0], &str>("access_token", []);
            operation.security = match self.access {
                Access::Public => None,
                Access::Token => Some(vec![token()]),
                Access::OptionalToken => Some(vec![SecurityRequirement::default(), token()]),
            };
            if let (true, Some(RefOr::T(RequestBody { required, .. }))) =
                (self.is_body_optional, &mut operation.request_body)
            {
                *required = Some(Required::False);
            }
        }
        document
    }

    fn problem_responses(&self) -> BTreeMap<String, RefOr<Response>> {
        let token = match self.access {
            Access::Token => [problems::BEARER, problems::STORE].concat(),
            Access::Public | Access::OptionalToken => Vec::new(),
        };
        let body = if self.has_body { problems::WITH_BODY } else { &[] };
        let limit = if self.limit().is_some() { problems::LIMITED } else { &[] };
        let throttle = if self.is_throttled { problems::THROTTLED } else { &[] };
        problem_responses(&[problems::ANY_ROUTE, &token, body, limit, throttle, &self.problems])
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("access", &self.access)
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}

/// Returns the operations of a path with their methods.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let operations = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    operations
        .into_iter()
        .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Creates the row of a handler with a `#[utoipa::path]`, which names its method, path and body. Schemas that the
/// operation does not refer to by itself follow the handler.
macro_rules! route {
    ($handler:ident $(, schemas($($schemas:tt)*))?) => {{
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($handler) $(, components(schemas($($schemas)*)))?)]
        struct Described;
        $crate::routes::route::Route::new(<Described as utoipa::OpenApi>::openapi, $handler)
    }};
}
pub(crate) use route;

/// The routes of one subject.
pub(crate) struct Subject {
    /// The tag of its operations, and the tag's description in the OpenAPI document.
    pub(crate) tag: (&'static str, &'static str),
    pub(crate) routes: Vec<Route>,
}
