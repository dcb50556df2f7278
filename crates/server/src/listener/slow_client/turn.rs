//! Hands over one request at a time: which bytes of a connection actix-http gets, and when.
//!
//! actix-http decodes all requests that have arrived before it answers the first. It therefore answers requests behind an
//! answer with `Connection: close`, which RFC 9112 §9.6 forbids. It also encodes each answer by the method, the version and
//! the `Connection` of the request that it decoded last, which may be a later one. So a connection hands over one request
//! and keeps the bytes behind it until the request is answered. Bytes behind the last answer are discarded.
//!
//! actix-http stays the only parser. The connection only counts bytes: to the empty line after a head, and through the
//! body that actix-http found announced there. If the two ever disagreed, the request would wait for its bytes until a
//! timeout, or bytes would arrive early, as they do without this module.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use actix_http::{ConnectionType, Request, Response};
use actix_service::Service;
use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceResponse};
use actix_web::http::{Version, header};
use portcullis_http::Api;

use super::framing::{Chunk, Step};

/// The step that a connection is at, shared by the connection and the service that answers its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The API that answers the requests, unless a test does.
    api: Option<Arc<Api>>,
    step: Cell<Step>,
    /// Wakes the task of the connection, which has bytes that it may not hand over yet.
    waker: RefCell<Option<Waker>>,
}

impl Turn {
    /// Creates the step of a new connection, whose requests `api` answers.
    pub(crate) fn of(api: &Arc<Api>) -> Self {
        Self(Rc::new(Shared { api: Some(Arc::clone(api)), ..Shared::default() }))
    }

    /// Whether the connection closes after its next answer, because the server was told to stop.
    fn is_draining(&self) -> bool {
        self.0.api.as_ref().is_some_and(|api| api.is_draining())
    }

    /// Returns how many of `bytes` may be handed over now, and counts them as handed over.
    pub(crate) fn take(&self, bytes: &[u8]) -> usize {
        let mut step = self.0.step.get();
        let length = step.take(bytes);
        self.0.step.set(step);
        length
    }

    /// Wakes the task when the next step begins.
    pub(crate) fn wake_at_next_step(&self, context: &Context<'_>) {
        *self.0.waker.borrow_mut() = Some(context.waker().clone());
    }

    /// Whether no request has begun since the last answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.step.get() == Step::default()
    }

    /// Lets the body of a request pass after its head was decoded.
    fn begin(&self, head: &RequestHead) {
        let length = head.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let step = match length.and_then(|length| length.trim().parse().ok()) {
            _ if head.headers().contains_key(header::TRANSFER_ENCODING) => Step::Chunks(Chunk::NEXT),
            Some(0) | None => Step::Response,
            Some(length) => Step::Body(length),
        };
        self.go_on(step);
    }

    /// Whether a part of the body of the present request was not handed over.
    fn has_unread_body(&self) -> bool {
        matches!(self.0.step.get(), Step::Body(_) | Step::Chunks(_))
    }

    /// Lets the next request pass, unless this was the last.
    fn end(&self, is_last: bool) {
        self.go_on(if is_last { Step::Close } else { Step::default() });
    }

    fn go_on(&self, step: Step) {
        self.0.step.set(step);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// Answers a request of a connection whose data contain its [`Turn`].
///
/// The last answer of a connection has `Connection: close`. It is the last if the client or the service decided so, or if
/// a part of the body was not read, or if the server drains before a stop. A request to upgrade the connection is the last too, because actix-http keeps no such
/// connection open.
pub(crate) fn answer<S, B>(
    request: Request,
    service: &S,
) -> impl Future<Output = Result<Response<EitherBody<B>>, Error>> + use<S, B>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let turn = request.conn_data::<Turn>().cloned().unwrap_or_default();
    let may_stay_open = request.head().connection_type() == ConnectionType::KeepAlive;
    turn.begin(request.head());
    let called = service.call(request);
    async move {
        let mut response = match called.await {
            Ok(response) => Response::from(response).map_body(|_, body| EitherBody::left(body)),
            Err(error) => Response::from(error).map_body(|_, body| EitherBody::right(body)),
        };
        // actix-http reuses heads without resetting the version, which decides how the connection is encoded.
        response.head_mut().version = Version::HTTP_11;
        let is_last = !may_stay_open
            || response.head().connection_type() == ConnectionType::Close
            || turn.has_unread_body()
            || turn.is_draining();
        if is_last {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        // actix-http encodes the head of the response before it reads on.
        turn.end(is_last);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn begin(turn: &Turn, name: HeaderName, value: &'static str) {
        let mut head = RequestHead::default();
        head.headers_mut().insert(name, HeaderValue::from_static(value));
        turn.begin(&head);
    }

    /// Hands over all bytes in pieces of at most `most`, and returns how many passed.
    fn passed(turn: &Turn, bytes: &[u8], most: usize) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            let end = bytes.len().min(passed + most);
            match turn.take(&bytes[passed..end]) {
                0 => break,
                taken => passed += taken,
            }
        }
        passed
    }

    #[test]
    fn one_head_passes_in_pieces_of_any_size() {
        for head in [
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\nhost: x\n\n",
            "\r\n\nGET / HTTP/1.1\r\n\r\n",
        ] {
            for most in [1, 2, 3, 7, 1_000] {
                let turn = Turn::default();
                let both = [head.as_bytes(), GET].concat();
                assert_eq!(passed(&turn, &both, most), head.len(), "{head:?} in pieces of {most}");
                turn.end(false);
                assert_eq!(passed(&turn, GET, most), GET.len());
                turn.end(true);
                assert_eq!((passed(&turn, GET, most), turn.is_idle()), (0, false));
            }
        }
    }

    #[test]
    fn a_body_passes_up_to_its_length() {
        for most in [1, 3, 1_000] {
            let turn = Turn::default();
            passed(&turn, GET, most);
            begin(&turn, header::CONTENT_LENGTH, "5");
            assert!(turn.has_unread_body());
            assert_eq!(passed(&turn, b"helloGET", most), 5);
            assert!(!turn.has_unread_body());
        }
        let turn = Turn::default();
        begin(&turn, header::CONTENT_LENGTH, "0");
        assert_eq!((turn.has_unread_body(), turn.take(b"x")), (false, 0));
    }

    #[test]
    fn a_chunked_body_passes_up_to_its_end() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A;name=5\r\n0123456789\r\n1\r\n\n\r\n000\r\n\r\n",
            "1\r\nx\r\n0\r\ntrailer: x\r\n\r\n",
        ] {
            for most in [1, 2, 5, 1_000] {
                let turn = Turn::default();
                begin(&turn, header::TRANSFER_ENCODING, "chunked");
                let all = [body.as_bytes(), GET].concat();
                assert_eq!(passed(&turn, &all, most), body.len(), "{body:?} in pieces of {most}");
            }
        }
        let turn = Turn::default();
        begin(&turn, header::TRANSFER_ENCODING, "chunked");
        assert_eq!(turn.take(b"ffffffffffffffffff\r\nx"), 21, "a size beyond all bounds never ends");
        assert!(turn.has_unread_body());
    }
}
