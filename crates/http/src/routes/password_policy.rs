//! `GET /password-policy`

use actix_web::HttpResponse;
use actix_web::web::Data;
use portcullis_domain::password::PasswordAttempt;
use portcullis_domain::password::policy::PasswordPolicy;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::answer::{self, JSON};
use crate::openapi::problems;
use crate::problem::ViolationCode;

/// Shows what new passwords must be like
#[utoipa::path(
    get, path = "/password-policy", tag = "public",
    responses((status = 200, description = "The rules.", body = PasswordPolicyResponse), Problems),
)]
pub(crate) async fn password_policy(api: Data<Api>) -> HttpResponse {
    let policy = PasswordPolicyResponse::from(&api.auth.rules().password);
    answer::cacheable(JSON, answer::to_json(&policy).into())
}

/// The rules for new passwords.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswordPolicyResponse {
    /// In code points, after Unicode normalisation to NFC.
    min_length: usize,
    /// In code points, after Unicode normalisation to NFC.
    max_length: usize,
    require: RequiredCharacters,
    /// What is refused besides, by the codes of the violations.
    forbids: Vec<ViolationCode>,
}

/// Of which kinds a password must have a character each.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "four independent switches, which is what the wire has")]
pub(crate) struct RequiredCharacters {
    upper: bool,
    lower: bool,
    digit: bool,
    /// Neither a letter with case nor a digit.
    special: bool,
}

impl From<&PasswordPolicy> for PasswordPolicyResponse {
    fn from(policy: &PasswordPolicy) -> Self {
        let common = policy.forbids_common().then_some(ViolationCode::Common);
        let always = [ViolationCode::ContainsUsername, ViolationCode::InvalidCharacter];
        Self {
            min_length: policy.min_length,
            max_length: PasswordAttempt::MAX_LENGTH,
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

problems!();
