//! `POST /login`

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::password::PasswordAttempt;
use portcullis_domain::service::Credentials;
use utoipa::ToSchema;

use super::Answer;
use crate::Api;
use crate::answer::{self, TokenSetBody};
use crate::blocking::{Applicant, Lane};
use crate::client_ip::Client;
use crate::openapi::{LIMITED, STORE, TOKENS, WITH_BODY, problems};
use crate::problem::ProblemCode;
use crate::strict_json::{Fields, FromFields, StrictJson};

/// Logs in: opens a session
///
/// A wrong name, a wrong password and a disabled user get one and the same answer. A user may have only so
/// many live sessions (50 by default): a login beyond that ends the oldest.
#[utoipa::path(
    post, path = "/login", tag = "public",
    request_body = LoginRequest,
    responses((status = 200, description = "The tokens of the new session.", body = TokenSetBody), Problems),
)]
pub(crate) async fn login(api: Data<Api>, client: Client, body: StrictJson<LoginRequest>) -> Answer {
    let credentials = Credentials { username: body.0.username, password: body.0.password };
    let lane = Lane::Password(Applicant::naming(&credentials.username, &client.0));
    let tokens = api.blocking(lane, move |auth| auth.login(&credentials, &client.0)).await??;
    Ok(answer::json(StatusCode::OK, &TokenSetBody::from(&tokens)))
}

/// Who wants in.
#[derive(Debug, ToSchema)]
pub(crate) struct LoginRequest {
    /// In any case.
    #[schema(example = "alice")]
    username: String,
    #[schema(value_type = String, format = Password, example = "Corr3ct-horse battery")]
    password: PasswordAttempt,
}

impl FromFields for LoginRequest {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.credentials().map(|(username, password)| Self { username, password })
    }
}

problems!(WITH_BODY, LIMITED, STORE, TOKENS, &[ProblemCode::InvalidCredentials]);
