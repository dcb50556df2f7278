//! What surrounds every request: its id, its line in the access log, the headers of its answer. The outermost
//! middleware, so that no answer escapes it.

use std::future::{Future, Ready, ready};
use std::pin::Pin;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::error::InternalError;
use actix_web::http::header::HeaderMap;
use actix_web::web::Data;

use crate::middleware::access_log::AccessLog;
use crate::middleware::drain_body::BodyDrain;
use crate::request_id::{self, RequestId, RequestIds, X_REQUEST_ID};
use crate::respond::base_path;
use crate::state::ApiState;

/// The middleware.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext(pub(crate) Data<ApiState>);

impl<S, B> Transform<S, ServiceRequest> for RequestContext
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = InRequestContext<S>;
    type InitError = ();
    type Future = Ready<Result<InRequestContext<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let ids = RequestIds::new(self.0.random.as_ref());
        ready(Ok(InRequestContext { service, state: Data::clone(&self.0), ids }))
    }
}

/// A service whose requests have a context.
#[derive(Debug)]
pub(crate) struct InRequestContext<S> {
    service: S,
    state: Data<ApiState>,
    ids: RequestIds,
}

impl<S, B> Service<ServiceRequest> for InRequestContext<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let state = Data::clone(&self.state);
        let from_client = request.headers().get(X_REQUEST_ID).and_then(RequestId::parse);
        let id = from_client.unwrap_or_else(|| self.ids.next(state.clock.now()));
        let log = AccessLog::start(request.method(), state.clock.as_ref());
        let drain = BodyDrain::of(&mut request);
        // A service may work while it is called, before its future is ever polled: both belong to the request.
        let called = request_id::scope_blocking(Some(id), || self.service.call(request));
        let base_path = state.base_path.clone();
        let response = request_id::scope(id, async move {
            let complete = |headers: &mut HeaderMap| {
                headers.insert(X_REQUEST_ID, id.to_header());
                state.security_headers.add_to(headers);
            };
            match called.await {
                Ok(mut answer) => {
                    complete(answer.headers_mut());
                    if let Some(log) = log {
                        let route = answer.request().match_pattern();
                        log.finish(route.as_deref(), answer.status(), state.clock.as_ref());
                    }
                    Ok(match drain {
                        None => answer.map_into_left_body(),
                        Some(drain) => answer.map_body(|_, body| EitherBody::right(drain.outlive(body))),
                    })
                }
                // Not an answer yet: actix-web makes one of it after this middleware, so it is made here.
                Err(error) => {
                    let mut answer = error.error_response();
                    complete(answer.headers_mut());
                    if let Some(log) = log {
                        log.finish(None, answer.status(), state.clock.as_ref());
                    }
                    if let Some(drain) = drain {
                        answer = answer.map_body(|_, body| drain.outlive(body));
                    }
                    Err(InternalError::from_response(error, answer).into())
                }
            }
        });
        match base_path {
            None => Box::pin(response),
            Some(base_path) => Box::pin(base_path::scope(base_path, response)),
        }
    }
}
