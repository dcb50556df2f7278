//! What surrounds every request: its id, its line in the access log, the headers of its answer. The outermost
//! middleware, so that no answer escapes it.

use std::future::{Future, Ready, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use actix_web::Error;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::error::InternalError;
use actix_web::http::header::{HOST, HeaderMap};

use crate::Api;
use crate::access_log::AccessLog;
use crate::problem::{Problem, ProblemCode};
use crate::request_id::{self, RequestId, X_REQUEST_ID};

/// The middleware.
#[derive(Clone, Debug)]
pub(crate) struct Envelope(pub(crate) Arc<Api>);

impl<S, B> Transform<S, ServiceRequest> for Envelope
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = Enveloped<S>;
    type InitError = ();
    type Future = Ready<Result<Enveloped<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Enveloped { service, api: Arc::clone(&self.0) }))
    }
}

/// A service within its envelope.
#[derive(Debug)]
pub(crate) struct Enveloped<S> {
    service: S,
    api: Arc<Api>,
}

impl<S, B> Service<ServiceRequest> for Enveloped<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let api = Arc::clone(&self.api);
        let id = request_id_of(&request, &api);
        let log = AccessLog::start(request.method(), api.clock.as_ref());
        // A service may work while it is called, before its future is ever polled: both belong to the request.
        let called = request_id::scope_blocking(Some(id), || {
            is_well_formed(&request).then(|| self.service.call(request))
        });
        Box::pin(request_id::scope(id, async move {
            let answer = match called {
                Some(answer) => unless_it_panics(answer).await,
                None => Err(Problem::new(ProblemCode::MalformedRequest).into()),
            };
            let complete = |headers: &mut HeaderMap| {
                headers.insert(X_REQUEST_ID, id.to_header());
                api.security_headers.add_to(headers);
            };
            match answer {
                Ok(mut answer) => {
                    complete(answer.headers_mut());
                    if let Some(log) = log {
                        let route = answer.request().match_pattern();
                        log.finish(route.as_deref(), answer.status(), api.clock.as_ref());
                    }
                    Ok(answer)
                }
                // Not an answer yet: actix-web makes one of it after this middleware, so it is made here.
                Err(error) => {
                    let mut answer = error.error_response();
                    complete(answer.headers_mut());
                    if let Some(log) = log {
                        log.finish(None, answer.status(), api.clock.as_ref());
                    }
                    Err(InternalError::from_response(error, answer).into())
                }
            }
        }))
    }
}

fn request_id_of(request: &ServiceRequest, api: &Api) -> RequestId {
    let from_client = request.headers().get(X_REQUEST_ID).and_then(RequestId::parse);
    from_client.unwrap_or_else(|| RequestId::new(api.clock.now(), api.entropy.as_ref()))
}

/// Refuses what no client of an origin server sends: a target in the form for proxies, and a `Host` with user
/// information, a path or the like. (Nothing here believes `Host`, but something in front might.)
fn is_well_formed(request: &ServiceRequest) -> bool {
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte);
    request.uri().scheme().is_none()
        && request.headers().get_all(HOST).all(|host| !host.is_empty() && host.as_bytes().iter().all(is_host))
}

/// Turns a panic into a 500 of this one request. The work of the use cases runs elsewhere and has its own guard.
async fn unless_it_panics<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut answer = pin!(answer);
    poll_fn(|context| {
        let poll = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
        poll.unwrap_or_else(|_panic| {
            log::error!("a request handler panicked");
            Poll::Ready(Err(Problem::new(ProblemCode::InternalError).into()))
        })
    })
    .await
}
