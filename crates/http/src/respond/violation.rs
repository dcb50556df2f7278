//! What is wrong with a request, part by part.

use std::borrow::Cow;

use portcullis_domain::account::UsernameViolation;
use portcullis_domain::password::policy::PasswordViolation;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::respond::vocabulary::open_list;

/// One reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Violation {
    /// The place in the request: a JSON pointer as a URI fragment (RFC 6901, section 6).
    #[schema(value_type = String, format = "uri-reference", pattern = "^#", example = "#/password")]
    pointer: Cow<'static, str>,
    code: ViolationCode,
    /// The reason, for people. It never contains a value of the request.
    #[schema(value_type = String, example = "must be at least 8 characters long")]
    message: Cow<'static, str>,
}

impl Violation {
    /// A violation of `code` at `pointer`.
    pub(crate) fn new(
        pointer: impl Into<Cow<'static, str>>,
        code: ViolationCode,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { pointer: pointer.into(), code, message: message.into() }
    }
}

macro_rules! violation_codes {
    ($($name:ident = $word:literal, $meaning:literal;)*) => {
        /// The reason why a part of a request is refused. The list is open: clients show the message of a code that they do
        /// not know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ViolationCode {
            $(#[doc = $meaning] $name,)*
        }

        impl ViolationCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word for programs.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

violation_codes! {
    Required = "required", "The member is missing.";
    UnknownField = "unknown_field", "The request has no member or parameter of this name.";
    WrongType = "wrong_type", "The value has another type or form than expected.";
    TooShort = "too_short", "The value has too few characters or elements.";
    TooLong = "too_long", "The value has too many characters or elements.";
    MissingUpper = "missing_upper", "The value has no upper-case letter.";
    MissingLower = "missing_lower", "The value has no lower-case letter.";
    MissingDigit = "missing_digit", "The value has no digit.";
    MissingSpecial = "missing_special", "The value has only letters and digits.";
    ContainsUsername = "contains_username", "The password contains the username.";
    Common = "common", "The value is one of the most common passwords.";
    InvalidCharacter = "invalid_character", "The value has a character that is not allowed.";
    InvalidStart = "invalid_start", "The first character of the value is not allowed there.";
    Reserved = "reserved", "The service reserves this word.";
    Incorrect = "incorrect", "The password is not the user's password.";
    Unchanged = "unchanged", "The new value equals the current one.";
    OtherSession = "other_session", "The refresh token belongs to another session than the access token.";
}

impl Serialize for ViolationCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl PartialSchema for ViolationCode {
    fn schema() -> RefOr<Schema> {
        let meaning = "The stable code of the violation. For an unknown code, show the message.";
        let words = Self::ALL.iter().map(|code| format!("`{}`: {}", code.word(), code.meaning()));
        open_list(meaning, words, "too_short")
    }
}

impl ToSchema for ViolationCode {}

impl From<&UsernameViolation> for ViolationCode {
    fn from(violation: &UsernameViolation) -> Self {
        match violation {
            UsernameViolation::TooShort => Self::TooShort,
            UsernameViolation::TooLong { .. } => Self::TooLong,
            UsernameViolation::InvalidCharacter => Self::InvalidCharacter,
            UsernameViolation::InvalidStart => Self::InvalidStart,
            UsernameViolation::Reserved => Self::Reserved,
        }
    }
}

impl From<&PasswordViolation> for ViolationCode {
    fn from(violation: &PasswordViolation) -> Self {
        match violation {
            PasswordViolation::TooShort { min: _ } => Self::TooShort,
            PasswordViolation::TooLong => Self::TooLong,
            PasswordViolation::MissingUpper => Self::MissingUpper,
            PasswordViolation::MissingLower => Self::MissingLower,
            PasswordViolation::MissingDigit => Self::MissingDigit,
            PasswordViolation::MissingSpecial => Self::MissingSpecial,
            PasswordViolation::ContainsUsername => Self::ContainsUsername,
            PasswordViolation::Common => Self::Common,
            PasswordViolation::InvalidCharacter => Self::InvalidCharacter,
            PasswordViolation::Unchanged => Self::Unchanged,
        }
    }
}

/// What is wrong with a new password that stands at `pointer`.
pub(crate) fn of_password(
    pointer: &'static str,
    violations: &[PasswordViolation],
) -> impl Iterator<Item = Violation> {
    violations
        .iter()
        .map(move |violation| Violation::new(pointer, ViolationCode::from(violation), violation.to_string()))
}
