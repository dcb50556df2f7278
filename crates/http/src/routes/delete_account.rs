//! `DELETE /me` and `POST /me/delete`

use actix_web::web::Data;
use portcullis_domain::AuthService;
use portcullis_domain::password::PasswordAttempt;
use utoipa::ToSchema;

use super::Answer;
use crate::Api;
use crate::answer;
use crate::bearer::Bearer;
use crate::blocking::{Applicant, Lane};
use crate::client_ip::Client;
use crate::openapi::{BEARER, LIMITED, STORE, THROTTLED, WITH_BODY, problems};
use crate::strict_json::{Fields, FromFields, StrictJson};

/// Deletes the account of the user who holds the token
///
/// All sessions end, and the name is free again. After a lost answer, repeat: the second call gets a 401 where
/// the first one succeeded. Wrong passwords count like wrong logins.
#[utoipa::path(
    delete, path = "/me", tag = "bearer",
    request_body = DeleteAccountRequest,
    responses((status = 204, description = "The account is gone."), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn delete_account(
    api: Data<Api>,
    client: Client,
    bearer: Bearer,
    body: StrictJson<DeleteAccountRequest>,
) -> Answer {
    let current = body.0.current_password;
    let lane = Lane::Password(Applicant::user(bearer.0.claims().user, &client.0));
    let work = move |auth: &AuthService| auth.delete_account(&bearer.0, &current, &client.0);
    api.blocking(lane, work).await??;
    Ok(answer::no_content())
}

/// Deletes the account of the user who holds the token, like `DELETE /me`
///
/// For clients behind proxies that strip or refuse the body of a DELETE request. In everything else it is
/// `DELETE /me`: the same body, answers and limits.
#[utoipa::path(
    post, path = "/me/delete", tag = "bearer",
    request_body = DeleteAccountRequest,
    responses((status = 204, description = "The account is gone."), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn delete_account_by_post(
    api: Data<Api>,
    client: Client,
    bearer: Bearer,
    body: StrictJson<DeleteAccountRequest>,
) -> Answer {
    delete_account(api, client, bearer, body).await
}

/// The word of a user who wants to be gone.
#[derive(Debug, ToSchema)]
pub(crate) struct DeleteAccountRequest {
    /// Its length is counted in code points after NFC.
    #[schema(value_type = String, format = Password, max_length = 256, pattern = "^[^\\u0000]*$",
        example = "Corr3ct-horse battery")]
    current_password: PasswordAttempt,
}

impl FromFields for DeleteAccountRequest {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { current_password: fields.password("current_password")? })
    }
}

problems!(BEARER, WITH_BODY, LIMITED, THROTTLED, STORE);
