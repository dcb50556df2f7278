//! `DELETE /me` and `POST /me/delete`

use std::sync::Arc;

use actix_web::web::Data;
use portcullis_domain::Core;
use portcullis_domain::account::{Account, DeleteAccountError};
use portcullis_domain::password::PlaintextPassword;
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
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Deletes the account of the user of the access token
///
/// All sessions end, and the name becomes available again. If the response is lost, repeat the request: it returns 401 if
/// the first request succeeded. Wrong passwords are throttled like failed logins.
#[utoipa::path(
    delete, path = "/me", tag = "account", operation_id = "deleteMe",
    request_body = DeleteAccountRequest,
    responses((status = 204, description = "The account is deleted.")),
)]
pub(crate) async fn delete_account(
    api: Data<ApiState>,
    client: Client,
    bearer: Bearer,
    body: StrictJson<DeleteAccountRequest>,
) -> HandlerResult {
    let current = body.0.current_password;
    let pool = Pool::Password(Caller::user(bearer.0.claims().user, &client.0));
    let work = move |core: &Arc<Core>| Account::new(core).delete(&bearer.0, &current, &client.0);
    api.blocking(pool, work).await??;
    Ok(json::no_content())
}

/// Deletes the account of the user who holds the token, like `DELETE /me`
///
/// For clients behind proxies that strip or refuse the body of a DELETE request. Body, responses and limits
/// are those of `DELETE /me`.
#[utoipa::path(
    post, path = "/me/delete", tag = "account", operation_id = "deleteMeByPost",
    request_body = DeleteAccountRequest,
    responses((status = 204, description = "The account is deleted.")),
)]
pub(crate) async fn delete_account_by_post(
    api: Data<ApiState>,
    client: Client,
    bearer: Bearer,
    body: StrictJson<DeleteAccountRequest>,
) -> HandlerResult {
    delete_account(api, client, bearer, body).await
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(delete_account).limited(RateLimit::Password).throttled(),
        route!(delete_account_by_post).limited(RateLimit::Password).throttled(),
    ]
}

/// The confirmation of an account deletion.
#[derive(Debug, ToSchema)]
pub(crate) struct DeleteAccountRequest {
    /// The length is counted in code points after Unicode NFC.
    #[schema(value_type = String, format = Password, max_length = 256, pattern = "^[^\\u0000]*$",
        example = "Corr3ct-horse battery")]
    current_password: PlaintextPassword,
}

impl FromFields for DeleteAccountRequest {
    fn read(fields: &mut Fields) -> Read<Self> {
        Ok(Self { current_password: fields.password("current_password")? })
    }
}

impl From<DeleteAccountError> for Problem {
    fn from(error: DeleteAccountError) -> Self {
        match error {
            DeleteAccountError::Gone => ProblemCode::InvalidToken.into(),
            DeleteAccountError::Incorrect => incorrect_password(),
            DeleteAccountError::Throttled(error) => error.into(),
            DeleteAccountError::Unavailable(error) => error.into(),
        }
    }
}
