//! `GET /password-policy`

use actix_web::HttpResponse;
use actix_web::web::Data;
use portcullis_domain::password::PlaintextPassword;
use portcullis_domain::password::policy::PasswordPolicy;
use serde::Serialize;
use utoipa::ToSchema;

use crate::respond::json::{self, JSON};
use crate::respond::violation::ViolationCode;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Returns the rules for new passwords
#[utoipa::path(
    get, path = "/password-policy", tag = "account", operation_id = "getPasswordPolicy",
    responses((status = 200, description = "The rules.", body = PasswordPolicyResponse)),
)]
pub(crate) async fn password_policy(api: Data<ApiState>) -> HttpResponse {
    let policy = PasswordPolicyResponse::from(&api.auth.config().password);
    json::cacheable(JSON, json::to_json(&policy).into())
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(password_policy).public()]
}

/// The rules for new passwords.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswordPolicyResponse {
    /// In code points, after Unicode normalisation to NFC.
    #[schema(format = Int32, minimum = 1, example = 8)]
    min_length: usize,
    /// In code points, after Unicode normalisation to NFC.
    #[schema(format = Int32, minimum = 1, example = 256)]
    max_length: usize,
    require: RequiredCharacters,
    /// The violation codes of the further rules.
    #[schema(example = json!(["contains_username", "invalid_character", "common"]))]
    forbids: Vec<ViolationCode>,
}

/// The kinds of characters of which a password must contain at least one each.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "four independent switches, which is what the wire has")]
pub(crate) struct RequiredCharacters {
    #[schema(example = true)]
    upper: bool,
    #[schema(example = true)]
    lower: bool,
    #[schema(example = true)]
    digit: bool,
    /// Neither a letter with case nor a digit.
    #[schema(example = true)]
    special: bool,
}

impl From<&PasswordPolicy> for PasswordPolicyResponse {
    fn from(policy: &PasswordPolicy) -> Self {
        let common = policy.forbids_common().then_some(ViolationCode::Common);
        let always = [ViolationCode::ContainsUsername, ViolationCode::InvalidCharacter];
        Self {
            min_length: policy.min_length,
            max_length: PlaintextPassword::MAX_LENGTH,
            require: RequiredCharacters {
                upper: policy.require_upper,
                lower: policy.require_lower,
                digit: policy.require_digit,
                special: policy.require_special,
            },
            forbids: always.into_iter().chain(common).collect(),
        }
    }
}
