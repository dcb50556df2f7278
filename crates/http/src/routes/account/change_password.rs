//! `PUT /me/password`

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::Core;
use portcullis_domain::account::Account;
use portcullis_domain::password::{ChangePasswordError, PasswordChange, PlaintextPassword};
use utoipa::ToSchema;

use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::extract::client::Client;
use crate::extract::json::{Fields, FromFields, Read, StrictJson};
use crate::limit::in_flight::Caller;
use crate::limit::quota::RateLimit;
use crate::respond::catalogue::ProblemCode;
use crate::respond::error::incorrect_password;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem};
use crate::respond::token_set::TokenSetBody;
use crate::respond::violation::of_password;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Changes the password of the user of the access token
///
/// All sessions end, the session of the token included, and a new session is opened. If the response is lost, log in with
/// the new password, or with the old password if the new one is refused. Wrong current passwords are throttled like
/// failed logins.
#[utoipa::path(
    put, path = "/me/password", tag = "account", operation_id = "changePassword",
    request_body = ChangePasswordRequest,
    responses((status = 200, description = "The tokens of the new session.", body = TokenSetBody)),
)]
pub(crate) async fn change_password(
    api: Data<ApiState>,
    client: Client,
    bearer: Bearer,
    body: StrictJson<ChangePasswordRequest>,
) -> HandlerResult {
    let form = PasswordChange { current: body.0.current_password, new: body.0.new_password };
    let pool = Pool::Password(Caller::user(bearer.0.claims().user, &client.0));
    let work = move |core: &Arc<Core>| Account::new(core).change_password(&bearer.0, &form, &client.0);
    let tokens = api.blocking(pool, work).await??;
    Ok(json::json(StatusCode::OK, &TokenSetBody::from(&tokens)))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(change_password).limited(RateLimit::Password).throttled()]
}

/// The current and the new password.
#[derive(Debug, ToSchema)]
pub(crate) struct ChangePasswordRequest {
    /// The length is counted in code points after Unicode NFC.
    #[schema(value_type = String, format = Password, max_length = 256, pattern = "^[^\\u0000]*$",
        example = "Corr3ct-horse battery")]
    current_password: PlaintextPassword,
    /// `GET /password-policy` returns the further rules. The length is counted in code points after Unicode NFC.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = "^[^\\u0000]*$",
        example = "An0ther-horse battery")]
    new_password: PlaintextPassword,
}

impl FromFields for ChangePasswordRequest {
    fn read(fields: &mut Fields) -> Read<Self> {
        let current_password = fields.password("current_password");
        let new_password = fields.password("new_password");
        Ok(Self { current_password: current_password?, new_password: new_password? })
    }
}

impl From<ChangePasswordError> for Problem {
    fn from(error: ChangePasswordError) -> Self {
        match error {
            ChangePasswordError::Gone => ProblemCode::InvalidToken.into(),
            ChangePasswordError::Incorrect => incorrect_password(),
            ChangePasswordError::Throttled(error) => error.into(),
            ChangePasswordError::Rejected(violations) => {
                Self::invalid(of_password("#/new_password", &violations).collect())
            }
            ChangePasswordError::Unavailable(error) => error.into(),
        }
    }
}
