//! The client of a request.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use portcullis_domain::client::ClientInfo;

use crate::state::ApiState;

/// The caller of the request, for sessions and security events.
#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) ClientInfo);

impl FromRequest for Client {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = ApiState::of(request).config.trusted_proxies.client_of(request);
        let agent = request.headers().get(header::USER_AGENT);
        // The bytes of an agent are anybody's; what is not UTF-8 is shown as such.
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        ready(Ok(Self(ClientInfo::new(address, agent.as_deref()))))
    }
}
