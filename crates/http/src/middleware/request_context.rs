//! Gives every request its id, its line in the access log, and the header fields of its response. The outermost middleware, so
//! that every response passes it.
//!
//! actix-web passes the error of an inner middleware through all outer ones, and makes a response of it only behind them
//! (actix-web issues [1051], [2736]). So this middleware adds to the error what completes that response. Without that,
//! `errors_of_inner_middleware_get_the_context` below fails.
//!
//! [1051]: https://github.com/actix/actix-web/issues/1051
//! [2736]: https://github.com/actix/actix-web/issues/2736

use std::future::{Future, Ready, ready};
use std::pin::Pin;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
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
        let base_path = state.base_path.clone();
        let called = request_id::scope_blocking(Some(id), || {
            base_path::scope_blocking(base_path.clone(), || self.service.call(request))
        });
        let response = request_id::scope(id, async move {
            match called.await {
                Ok(mut response) => {
                    complete(response.headers_mut(), id, &state);
                    if let Some(log) = log {
                        let route = response.request().match_pattern();
                        log.finish(route.as_deref(), response.status(), state.clock.as_ref());
                    }
                    Ok(match drain {
                        None => response.map_into_left_body(),
                        Some(drain) => response.map_body(|_, body| EitherBody::right(drain.outlive(body))),
                    })
                }
                Err(mut error) => {
                    if let Some(log) = log {
                        let status = error.as_response_error().status_code();
                        log.finish(None, status, state.clock.as_ref());
                    }
                    error.add_response_mapper(move |mut response| {
                        complete(response.headers_mut(), id, &state);
                        match drain.clone() {
                            None => response,
                            Some(drain) => response.map_body(|_, body| drain.outlive(body)),
                        }
                    });
                    Err(error)
                }
            }
        });
        base_path::scope(base_path, response)
    }
}

/// Adds the header fields of every response.
fn complete(headers: &mut HeaderMap, id: RequestId, state: &ApiState) {
    headers.insert(X_REQUEST_ID, id.to_header());
    state.security_headers.add_to(headers);
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::test::{TestRequest, init_service, try_call_service};
    use portcullis_domain::{AuthConfig, Core};

    use super::*;
    use crate::config::HttpConfig;
    use crate::respond::catalogue::ProblemCode;
    use crate::respond::problem::Problem;

    #[actix_web::test]
    async fn errors_of_inner_middleware_get_the_context() {
        let core = Core::new(portcullis_testkit::ports(), AuthConfig::default());
        let state = Data::new(ApiState::new(&core, HttpConfig::default()).unwrap());
        let refuse = |_: ServiceRequest, _: &_| {
            let problem = Problem::new(ProblemCode::MalformedRequest);
            ready(Err::<ServiceResponse, _>(Error::from(problem)))
        };
        let app = init_service(App::new().wrap_fn(refuse).wrap(RequestContext(state))).await;
        let request = TestRequest::get().insert_header((X_REQUEST_ID, "abc")).to_request();
        let error = try_call_service(&app, request).await.unwrap_err();
        // Middleware of an app around the API may look at the response before actix-web sends it.
        for _ in 0..2 {
            let response = error.error_response();
            assert_eq!(response.status().as_u16(), 400);
            assert_eq!(response.headers().get(X_REQUEST_ID).unwrap(), "abc");
            assert!(response.headers().contains_key("x-content-type-options"));
            let body = response.into_body().try_into_bytes().unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["request_id"], "abc");
        }
    }
}
