//! Gives every request its id, its line in the access log, and the headers of its answer. The outermost middleware, so that
//! no answer escapes it.
//!
//! actix-web hands the error of an inner middleware through all outer ones, and makes an answer of it only behind them
//! (actix-web issues [1051], [2736]). So this middleware makes that answer itself. Without that,
//! `errors_of_inner_middleware_get_the_context` below fails.
//!
//! [1051]: https://github.com/actix/actix-web/issues/1051
//! [2736]: https://github.com/actix/actix-web/issues/2736

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

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::error::ErrorBadRequest;
    use actix_web::test::{TestRequest, init_service, try_call_service};
    use portcullis_domain::{AuthConfig, Core};

    use super::*;
    use crate::config::HttpConfig;

    #[actix_web::test]
    async fn errors_of_inner_middleware_get_the_context() {
        let core = Core::new(portcullis_testkit::ports(), AuthConfig::default());
        let state = Data::new(ApiState::new(&core, HttpConfig::default()).unwrap());
        let refuse = |_: ServiceRequest, _: &_| ready(Err::<ServiceResponse, _>(ErrorBadRequest("refused")));
        let app = init_service(App::new().wrap_fn(refuse).wrap(RequestContext(state))).await;
        let request = TestRequest::get().insert_header((X_REQUEST_ID, "abc")).to_request();
        let error = try_call_service(&app, request).await.unwrap_err();
        let answer = error.as_response_error().error_response();
        assert_eq!(answer.headers().get(X_REQUEST_ID).unwrap(), "abc");
        assert!(answer.headers().contains_key("x-content-type-options"));
    }
}
