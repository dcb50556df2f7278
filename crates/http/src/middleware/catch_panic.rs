//! Responds with status 500 if a route panics.
//!
//! actix-web catches no panics: it closes the connection without an answer (actix-web issues [1501], [3126]), and a proxy
//! then takes the instance for unhealthy. Without this middleware,
//! `crates/http/tests/api/faults.rs::a_panic_is_one_requests_500` fails; without the guard of the call itself,
//! `panicking_call_is_answered_500` below does.
//!
//! [1501]: https://github.com/actix/actix-web/issues/1501
//! [3126]: https://github.com/actix/actix-web/issues/3126

use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::{Error, HttpRequest, ResponseError};

use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;

/// The middleware that responds with status 500 if a route panics, when it is called or when it is polled. The work of the use
/// cases runs on other threads, which have a guard of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchPanic;

impl<S> Transform<S, ServiceRequest> for CatchPanic
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>,
    S::Future: Unpin,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = CatchPanicService<S>;
    type InitError = ();
    type Future = Ready<Result<CatchPanicService<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(CatchPanicService { service }))
    }
}

/// A service whose panics are caught.
#[derive(Debug)]
pub(crate) struct CatchPanicService<S> {
    service: S,
}

impl<S> Service<ServiceRequest> for CatchPanicService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>,
    S::Future: Unpin,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = CatchPanicFuture<S::Future>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let head = request.request().clone();
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(request))).ok();
        CatchPanicFuture { called, head }
    }
}

/// What comes of such a service's call.
#[derive(Debug)]
pub(crate) struct CatchPanicFuture<F> {
    /// `None`: the call itself panicked.
    called: Option<F>,
    head: HttpRequest,
}

impl<F: Future<Output = Result<ServiceResponse, Error>> + Unpin> Future for CatchPanicFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = this.called.as_mut().and_then(|future| {
            // It is not polled again after a panic.
            catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(context))).ok()
        });
        polled.unwrap_or_else(|| Poll::Ready(Ok(internal_error(&this.head))))
    }
}

fn internal_error(head: &HttpRequest) -> ServiceResponse<BoxBody> {
    let route = head.match_pattern();
    log::error!(route = route.as_deref().unwrap_or("-"); "a request handler panicked");
    let response = Problem::new(ProblemCode::InternalError).error_response();
    ServiceResponse::new(head.clone(), response)
}

#[cfg(test)]
mod tests {
    use actix_web::dev::fn_service;
    use actix_web::test::TestRequest;

    use super::*;

    /// A service may work while it is called, before its future is polled.
    #[actix_web::test]
    async fn panicking_call_is_answered_500() {
        let service = fn_service(|request: ServiceRequest| -> Ready<Result<ServiceResponse, Error>> {
            panic!("{} panics, on purpose", request.path());
        });
        let service = CatchPanic.new_transform(service).await.unwrap();
        let response = service.call(TestRequest::get().to_srv_request()).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
    }
}
