//! Serves the connections of clients, however slowly they send and read.
//!
//! actix-http parses requests and encodes responses. [`serve`] wraps each stream in a [`Connection`] and answers its
//! requests through [`answer`]; both work around the following properties of actix-http 3.20. Each has a test that fails
//! without the workaround: end-to-end tests in `tests/e2e`, unit tests in the named file.
//!
//! | actix-http | workaround | why | test |
//! |---|---|---|---|
//! | The timer for a head is cleared with the first request (actix-web issues [523], [928]). | [`Connection`] limits each request from its first byte. | RFC 9112 §9.5 | `tests/e2e/connections.rs::a_later_head_that_trickles_in_is_given_up_too` |
//! | The keep-alive timer runs while a response is still being written (actix-web issue [1497]) and then drops the rest. | `KeepAlive::Os` turns that timer off; [`Connection`] limits idle time. | RFC 9112 §9.5 | `tests/e2e/connections.rs::slow_readers_outlast_the_keep_alive_time`, `an_idle_connection_is_kept_as_long_as_set` |
//! | No timer limits the writing of a response. | [`Connection`] limits each write. | RFC 9112 §9.5 | `connection.rs::unread_answer_stops_reads_and_times_out` |
//! | Requests are read and answered while earlier responses wait for the client. | [`Connection`] reads nothing while a write waits. | RFC 9112 §9.3.2, ASVS 15.2.2 | `tests/e2e/connections.rs::clients_that_never_read_cost_little` |
//! | All requests that have arrived are decoded before the first is answered, so those behind a final response are answered too. | [`Connection`] hands over one request at a time, and none after the final response. | RFC 9112 §9.6 | `tests/e2e/hostile.rs::requests_behind_a_last_answer_are_not_answered` |
//! | A response is encoded by the method, version and `Connection` of the request that was decoded last. | The same. | RFC 9112 §9.3.2, RFC 9110 §9.3.2 | `tests/e2e/hostile.rs::pipelined_requests_get_their_own_answers` |
//! | Pooled response heads keep the HTTP version of an earlier response, by which `keep_alive()` is decided. | [`answer`] resets the version. | RFC 9112 §9.3 | `tests/e2e/hostile.rs::pipelined_requests_get_their_own_answers` |
//! | A connection closes after a request with `Upgrade`, without `Connection: close` in the response. | [`answer`] announces it. | RFC 9112 §9.6, RFC 9110 §7.8 | `tests/e2e/hostile.rs::requests_behind_a_last_answer_are_not_answered` |
//! | A connection closes at once after a response, or lingers only for an unread body (actix-web issue [3967], pull request [3985]). The kernel then resets it, and the client may lose the response. | [`Connection`] closes its side and discards what arrives until the client closes. | RFC 9112 §9.6 | `tests/e2e/hostile.rs::clients_that_send_too_much_get_the_answer` |
//! | By default, work goes on after the client closed its side (actix-web issue [3748], pull request [3777]); most clients have left then. | `h1_allow_half_closed(false)`. | `docs/http.md` | `tests/e2e/hostile.rs::half_closed_clients_get_no_answer_to_a_login` |
//!
//! Unread chunked bodies are the concern of the HTTP stack (`drain_body`), because only it knows when a response ends.
//!
//! [523]: https://github.com/actix/actix-web/issues/523
//! [928]: https://github.com/actix/actix-web/issues/928
//! [1497]: https://github.com/actix/actix-web/issues/1497
//! [3748]: https://github.com/actix/actix-web/issues/3748
//! [3777]: https://github.com/actix/actix-web/pull/3777
//! [3967]: https://github.com/actix/actix-web/issues/3967
//! [3985]: https://github.com/actix/actix-web/pull/3985

mod connection;
mod framing;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::GracefulShutdownSignal;
use actix_service::{ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;
use portcullis_http::Api;

use self::connection::Connection;
use self::turn::{Turn, answer};

/// Returns the service that serves the connections of one worker. An idle connection closes after `keep_alive`.
pub(super) fn serve(
    api: &Arc<Api>,
    keep_alive: Duration,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<>
{
    let draining = Arc::clone(api);
    let app = map_config(portcullis_http::app(api), |()| AppConfig::default());
    let app = apply_fn_factory(app, answer);
    let http = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(KeepAlive::Os)
        .on_connect_ext(|connection: &Connection<TcpStream>, data| {
            data.insert(connection.turn());
        })
        .h1_allow_half_closed(false)
        .finish(app);
    fn_service(move |stream: TcpStream| {
        let turn = Turn::of(&draining);
        async move {
            let peer = stream.peer_addr().ok();
            Ok((Connection::new(stream, keep_alive, turn), Protocol::Http1, peer))
        }
    })
    .and_then(http)
}

/// How long a client may take to send the head of its first request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
