//! Keeps a chunked request body alive until its response has ended.
//!
//! actix-http closes a connection on which an unread body is left. But it goes on reading a chunked body that was dropped,
//! without a limit in time or size (actix-web issue [2972], pull request [3936]): a request without its last chunk would
//! hold its connection forever. A body that is dropped only with its response is closed like any other. RFC 9112 §9.5 leaves
//! the time limits to the server. Without this module, `tests/e2e/hostile.rs::ht_a_chunked_body_without_an_end_holds_no_connection`
//! and `requests_behind_a_last_answer_are_not_answered` fail.
//!
//! [2972]: https://github.com/actix/actix-web/issues/2972
//! [3936]: https://github.com/actix/actix-web/pull/3936

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_core::Stream;

/// The chunked body of a request, which is read through another handle.
#[derive(Clone)]
pub(crate) struct BodyDrain(Rc<RefCell<Payload>>);

impl BodyDrain {
    /// Takes hold of the body of a request, if it is chunked.
    pub(crate) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !request.headers().contains_key(header::TRANSFER_ENCODING) {
            return None;
        }
        let drain = Self(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(drain.clone()) });
        Some(drain)
    }

    /// Wraps the body of the response, which keeps hold.
    pub(crate) fn outlive<B: MessageBody + 'static>(self, response: B) -> BoxBody {
        BoxBody::new(DrainingBody { body: Box::pin(response), _drain: self })
    }
}

impl Stream for BodyDrain {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// The body of a response, and that of its request.
struct DrainingBody<B> {
    body: Pin<Box<B>>,
    _drain: BodyDrain,
}

impl<B: MessageBody> MessageBody for DrainingBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        self.body.as_mut().poll_next(context)
    }
}
