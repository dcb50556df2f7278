//! `/me`

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::account::{Account, ProfileError};

use crate::api::Api;
use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::openapi::{BEARER, STORE, problems};
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::Problem;
use crate::respond::user::UserBody;
use crate::routes::HandlerResult;

/// Returns the user of the access token
#[utoipa::path(
    get, path = "/me", tag = "account", operation_id = "getMe",
    responses((status = 200, description = "The user.", body = UserBody), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn me(api: Data<Api>, bearer: Bearer) -> HandlerResult {
    let user = api.blocking(Pool::Data, move |core| Account::new(core).profile(&bearer.0)).await??;
    Ok(json::json(StatusCode::OK, &UserBody::from(&user)))
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Gone => ProblemCode::InvalidToken.into(),
            ProfileError::Store(error) => error.into(),
        }
    }
}

problems!(BEARER, STORE);
