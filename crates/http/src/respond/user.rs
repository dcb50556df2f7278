//! The body that describes a user.

use portcullis_domain::account::User;
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::respond::json::{as_rfc3339, as_text};

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e13")]
    id: portcullis_domain::id::UserId,
    /// The name as registered or imported.
    #[schema(min_length = 1, max_length = 256, example = "alice")]
    username: &'a str,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-01T00:00:00Z")]
    created_at: UnixTime,
}

impl<'a> From<&'a User> for UserBody<'a> {
    fn from(user: &'a User) -> Self {
        Self { id: user.id, username: user.username.as_str(), created_at: user.created_at }
    }
}
