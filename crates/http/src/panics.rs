//! Panics: one request's 500, and nobody else's business.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use crate::problem::{Problem, ProblemCode};

/// Answers 500 where a route panics, be it as it is called or as it is polled. The work of the use cases runs
/// elsewhere and has its own guard.
pub(crate) async fn answer_500<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let head = request.request().clone();
    match unless_it_panics(async move { next.call(request).await }).await {
        Some(answer) => answer.map(ServiceResponse::map_into_boxed_body),
        None => {
            let route = head.match_pattern();
            log::error!(route = route.as_deref().unwrap_or("-"); "a request handler panicked");
            let answer = Problem::new(ProblemCode::InternalError).error_response();
            Ok(ServiceResponse::new(head, answer))
        }
    }
}

/// What comes of a future, or nothing if it panics.
async fn unless_it_panics<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_panic) => std::task::Poll::Ready(None),
    })
    .await
}
