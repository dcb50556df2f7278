//! `/me`

use actix_web::http::StatusCode;
use actix_web::web::Data;

use super::Answer;
use crate::Api;
use crate::answer::{self, UserBody};
use crate::bearer::Bearer;
use crate::blocking::Lane;
use crate::openapi::{BEARER, STORE, problems};

/// Returns the user of the access token
#[utoipa::path(
    get, path = "/me", tag = "account", operation_id = "getMe",
    responses((status = 200, description = "The user.", body = UserBody), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn me(api: Data<Api>, bearer: Bearer) -> Answer {
    let user = api.blocking(Lane::Data, move |auth| auth.me(&bearer.0)).await??;
    Ok(answer::json(StatusCode::OK, &UserBody::from(&user)))
}

problems!(BEARER, STORE);
