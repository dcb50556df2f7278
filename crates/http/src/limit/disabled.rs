//! No limits, for a build without the feature `governor`.

use actix_web::{HttpResponse, Route};
use portcullis_domain::id::SessionId;

use crate::extract::forwarded::TrustedProxies;
use crate::limit::quota::{LimitsConfig, RateLimit};

/// No limits.
#[derive(Debug)]
pub(crate) struct Limits {
    register: Limit,
    login: Limit,
    refresh: Limit,
    pub(crate) session_refresh: SessionLimit,
    password: Limit,
}

impl Limits {
    pub(crate) fn new(_: LimitsConfig, _: &TrustedProxies) -> Self {
        Self { register: Limit, login: Limit, refresh: Limit, session_refresh: SessionLimit, password: Limit }
    }

    /// Returns the limit of this name.
    pub(crate) fn of(&self, limit: RateLimit) -> &Limit {
        match limit {
            RateLimit::Register => &self.register,
            RateLimit::Login => &self.login,
            RateLimit::Refresh => &self.refresh,
            RateLimit::Password => &self.password,
        }
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
