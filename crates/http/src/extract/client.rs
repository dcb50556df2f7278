//! The client of a request.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use portcullis_domain::client::ClientInfo;

use crate::extract::forwarded::ClientAddress;
use crate::respond::problem::Problem;
use crate::state::ApiState;

/// The caller of the request, for sessions and security events.
#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) ClientInfo);

impl FromRequest for Client {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(ApiState::of(request).map(|api| {
            let address = api.config.trusted_proxies.client_of(request);
            let agent = request.headers().get(header::USER_AGENT);
            // The bytes of an agent are anybody's; what is not UTF-8 is shown as such.
            let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
            Self(ClientInfo::new(address, agent.as_deref()))
        }))
    }
}

impl FromRequest for ClientAddress {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(ApiState::of(request).map(|api| Self::new(api.config.trusted_proxies.client_of(request))))
    }
}
