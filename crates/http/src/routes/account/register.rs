//! `POST /register`

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::AuthService;
use portcullis_domain::account::{RegisterError, Registration};
use portcullis_domain::password::PlaintextPassword;
use utoipa::ToSchema;

use crate::blocking::Pool;
use crate::extract::client::Client;
use crate::extract::json::{Fields, FromFields, Read, StrictJson};
use crate::limit::in_flight::Caller;
use crate::limit::quota::RateLimit;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem};
use crate::respond::problem_responses::STORE;
use crate::respond::user::UserBody;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Registers a user
///
/// If the response is lost, repeat the request: a 409 then means that the first request succeeded.
#[utoipa::path(
    post, path = "/register", tag = "account", operation_id = "registerUser",
    request_body = RegisterRequest,
    responses((status = 201, description = "The new user.", body = UserBody)),
)]
pub(crate) async fn register(
    api: Data<ApiState>,
    client: Client,
    body: StrictJson<RegisterRequest>,
) -> HandlerResult {
    let form = Registration { username: body.0.username, password: body.0.password };
    let pool = Pool::Password(Caller::registering(&client.0));
    let user = api.blocking(pool, move |core| AuthService::new(core).register(&form, &client.0)).await??;
    Ok(json::json(StatusCode::CREATED, &UserBody::from(&user)))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(register)
            .public()
            .limited(RateLimit::Register)
            .problems(STORE)
            .problems(&[ProblemCode::RegistrationClosed, ProblemCode::UsernameTaken]),
    ]
}

/// The name and the password of a new user.
#[derive(Debug, ToSchema)]
pub(crate) struct RegisterRequest {
    /// 3 to 32 letters, digits, `.`, `_` and `-`, the first a letter or a digit.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", example = "alice")]
    username: String,
    /// `GET /password-policy` returns the further rules. The length is counted in code points after Unicode NFC.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = "^[^\\u0000]*$",
        example = "Corr3ct-horse battery")]
    password: PlaintextPassword,
}

impl FromFields for RegisterRequest {
    fn read(fields: &mut Fields) -> Read<Self> {
        let (username, password) = fields.credentials()?;
        Ok(Self { username, password })
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Closed => ProblemCode::RegistrationClosed.into(),
            RegisterError::Rejected(rejections) => rejections.into(),
            RegisterError::UsernameTaken => ProblemCode::UsernameTaken.into(),
            RegisterError::Unavailable(error) => error.into(),
        }
    }
}
