//! `/me`

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::account::{Account, ProfileError};

use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem};
use crate::respond::user::UserBody;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Returns the user of the access token
#[utoipa::path(
    get, path = "/me", tag = "account", operation_id = "getMe",
    responses((status = 200, description = "The user.", body = UserBody)),
)]
pub(crate) async fn me(api: Data<ApiState>, bearer: Bearer) -> HandlerResult {
    let user = api.blocking(Pool::Read, move |core| Account::new(core).profile(&bearer.0)).await??;
    Ok(json::json(StatusCode::OK, &UserBody::from(&user)))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(me)]
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Gone => ProblemCode::InvalidToken.into(),
            ProfileError::Store(error) => error.into(),
        }
    }
}
