//! The catalogue of problems: the one list behind the responses, `/openapi.json` and `/problems`.

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::respond::vocabulary::open_list;

macro_rules! catalogue {
    ($($name:ident = $status:ident, $word:literal, $title:literal, $detail:literal;)*) => {
        /// Everything that can be wrong: the one list behind the answers, `/openapi.json` and `/problems`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ProblemCode {
            $(#[doc = $detail] $name,)*
        }

        impl ProblemCode {
            /// All of them, by status.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word for programs, never localised.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The status of the answer.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// A short sentence for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and what to do.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)* }
            }

            /// Where it is explained: a URI relative to the service.
            pub(crate) const fn uri(self) -> &'static str {
                match self { $(Self::$name => concat!("/problems/", $word),)* }
            }
        }
    };
}

catalogue! {
    MalformedJson = BAD_REQUEST, "malformed_json", "The body is not one JSON object",
        "The body must be one JSON object in UTF-8, without repeated keys and with nothing after it.";
    MalformedRequest = BAD_REQUEST, "malformed_request", "The request is malformed",
        "The request breaks the rules of HTTP, or its body did not arrive as announced.";
    InvalidCredentials = UNAUTHORIZED, "invalid_credentials", "Wrong username or password",
        "There is no enabled user with this name and password.";
    MissingToken = UNAUTHORIZED, "missing_token", "An access token is missing",
        "Send an access token: `Authorization: Bearer <token>`.";
    InvalidToken = UNAUTHORIZED, "invalid_token", "The access token is not valid",
        "The access token is malformed, has expired or belongs to a session that ended. Refresh once and repeat.";
    InvalidRefreshToken = UNAUTHORIZED, "invalid_refresh_token", "The refresh token is not valid",
        "The refresh token is malformed or its session is over. Sign in again.";
    RefreshTokenReused = UNAUTHORIZED, "refresh_token_reused", "The refresh token was used before",
        "A copy of an old refresh token was presented, so the session has been ended. Sign in again.";
    Forbidden = FORBIDDEN, "forbidden", "This is not allowed",
        "A page of this origin may not send such a request; the operator lists the origins that may.";
    RegistrationClosed = FORBIDDEN, "registration_closed", "Registration is closed",
        "New users cannot register here; ask the operator.";
    NotFound = NOT_FOUND, "not_found", "There is nothing here",
        "No resource has this path. Paths are exact: no trailing slash, no percent-encoding.";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here",
        "The resource does not know this method; the `Allow` field lists those it knows.";
    RequestTimeout = REQUEST_TIMEOUT, "request_timeout", "The body took too long",
        "The whole body must arrive within ten seconds.";
    UsernameTaken = CONFLICT, "username_taken", "The username is taken",
        "Another user has this name, in this or another case.";
    PayloadTooLarge = PAYLOAD_TOO_LARGE, "payload_too_large", "The body is too large",
        "A body may have 16 KiB.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be JSON",
        "Send `Content-Type: application/json`, in UTF-8 and without a content coding.";
    InvalidRequest = UNPROCESSABLE_ENTITY, "invalid_request", "The request breaks a rule",
        "`errors` lists everything that is wrong.";
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "Too many requests",
        "Wait as many seconds as `Retry-After` says, then repeat.";
    InternalError = INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong",
        "A fault of the service. The operator finds it in the log by the request id.";
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "Too much to do right now",
        "Nothing was done. Wait as many seconds as `Retry-After` says, then repeat.";
    StorageUnavailable = SERVICE_UNAVAILABLE, "storage_unavailable", "The storage does not answer",
        "A change may or may not have been made. Wait as many seconds as `Retry-After` says, then repeat.";
    StorageFull = SERVICE_UNAVAILABLE, "storage_full", "The storage is full",
        "Nothing can be written until the operator makes room; what is stored can still be read.";
    NotReady = SERVICE_UNAVAILABLE, "not_ready", "The service is not ready",
        "Wait as many seconds as `Retry-After` says, then repeat.";
}

impl Serialize for ProblemCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        let meaning = "The stable code of the problem. Handle an unknown code by the status of the response.";
        let words = Self::ALL
            .iter()
            .map(|code| format!("`{}` ({}): {}.", code.word(), code.status().as_u16(), code.title()));
        open_list(meaning, words, "not_found")
    }
}

impl ToSchema for ProblemCode {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_catalogue_is_the_one_promised() {
        let promised = [
            (400, "malformed_json"),
            (400, "malformed_request"),
            (401, "invalid_credentials"),
            (401, "missing_token"),
            (401, "invalid_token"),
            (401, "invalid_refresh_token"),
            (401, "refresh_token_reused"),
            (403, "forbidden"),
            (403, "registration_closed"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (408, "request_timeout"),
            (409, "username_taken"),
            (413, "payload_too_large"),
            (415, "unsupported_media_type"),
            (422, "invalid_request"),
            (429, "rate_limited"),
            (500, "internal_error"),
            (503, "overloaded"),
            (503, "storage_unavailable"),
            (503, "storage_full"),
            (503, "not_ready"),
        ];
        let catalogue: Vec<_> =
            ProblemCode::ALL.iter().map(|code| (code.status().as_u16(), code.word())).collect();
        assert_eq!(catalogue, promised);
        assert_eq!(catalogue.iter().collect::<HashSet<_>>().len(), catalogue.len());
    }
}
