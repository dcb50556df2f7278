//! The access log: one line a request, by route pattern. No address, no body, no token, no path as it was sent.

use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use log::Level;
use portcullis_domain::ports::Clock;

/// The target of the access log.
pub const ACCESS_LOG: &str = "portcullis::access";

/// A request under way that will be logged.
#[derive(Debug)]
pub(crate) struct AccessLog {
    method: &'static str,
    /// By the clock that nobody sets.
    started: Duration,
}

impl AccessLog {
    /// Notes the start of a request; `None`, at next to no cost, when nobody reads the log.
    pub(crate) fn start(method: &Method, clock: &dyn Clock) -> Option<Self> {
        let is_read = log::log_enabled!(target: ACCESS_LOG, Level::Info);
        is_read.then(|| Self { method: known(method), started: clock.uptime() })
    }

    /// Logs its end. `route` is the pattern that matched, if one did.
    pub(crate) fn finish(self, route: Option<&str>, status: StatusCode, clock: &dyn Clock) {
        let micros = clock.uptime().saturating_sub(self.started).as_micros();
        let milliseconds = f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0;
        log::info!(
            target: ACCESS_LOG,
            method = self.method,
            route = route.unwrap_or("-"),
            status = status.as_u16(),
            duration_ms = milliseconds;
            "request"
        );
    }
}

/// The method, if it is one that HTTP defines: a client can make up any number of others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "-",
    }
}
