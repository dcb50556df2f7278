//! No limits, for a build without the feature `governor`.

use actix_web::{HttpResponse, Route};
use portcullis_domain::id::SessionId;

use super::LimitsConfig;
use crate::extract::client::TrustedProxies;

/// No limits.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) register: Limit,
    pub(crate) login: Limit,
    pub(crate) refresh: Limit,
    pub(crate) session_refresh: SessionLimit,
    pub(crate) password: Limit,
}

impl Limits {
    pub(crate) fn new(_: LimitsConfig, _: &TrustedProxies) -> Self {
        Self { register: Limit, login: Limit, refresh: Limit, session_refresh: SessionLimit, password: Limit }
    }
}

/// No limit.
#[derive(Debug)]
pub(crate) struct SessionLimit;

impl SessionLimit {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn refusal(&self, _: SessionId) -> Option<HttpResponse> {
        None
    }
}

/// No limit.
#[derive(Debug)]
pub(crate) struct Limit;

impl Limit {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn guard(&self, route: Route) -> Route {
        route
    }
}
