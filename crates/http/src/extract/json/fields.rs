//! Reading a request from the fields of an object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_domain::password::PlaintextPassword;

use super::value::Value;
use crate::respond::violation::{Violation, ViolationCode};

/// Something that can be read from the fields of a JSON object.
pub(crate) trait FromFields: Sized {
    /// Takes its fields. `None` when one is missing or wrong, which `fields` has then noted.
    fn read(fields: &mut Fields) -> Option<Self>;

    /// What a request without a body means, where a body is optional.
    fn when_empty() -> Option<Self> {
        None
    }
}

/// The fields of an object that were not read yet, and what was wrong with those that were.
#[derive(Debug)]
pub(crate) struct Fields {
    unread: BTreeMap<String, Value>,
    violations: Vec<Violation>,
}

impl Fields {
    pub(super) fn new(unread: BTreeMap<String, Value>) -> Self {
        Self { unread, violations: Vec::new() }
    }

    /// Takes the text of a field that must be there.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        if !self.unread.contains_key(name) {
            self.note(name, ViolationCode::Required, "is required");
            return None;
        }
        self.optional_text(name)
    }

    /// Takes the text of a field that may be missing.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<String> {
        match self.unread.remove(name)? {
            Value::Text(text) if text.contains('\0') => {
                self.note(name, ViolationCode::InvalidCharacter, "must not contain the character NUL");
                None
            }
            Value::Text(mut text) => Some(std::mem::take(&mut *text)),
            Value::Other => {
                self.note(name, ViolationCode::WrongType, "must be a string");
                None
            }
        }
    }

    /// Takes a password that must be there.
    pub(crate) fn password(&mut self, name: &'static str) -> Option<PlaintextPassword> {
        self.text(name).map(PlaintextPassword::new)
    }

    /// Takes the name and the password that must be there.
    pub(crate) fn credentials(&mut self) -> Option<(String, PlaintextPassword)> {
        let username = self.text("username");
        let password = self.password("password");
        username.zip(password)
    }

    /// Everything that is wrong, the fields nobody asked for included.
    pub(super) fn into_violations(self) -> Vec<Violation> {
        let mut violations = self.violations;
        violations.extend(self.unread.keys().take(MAX_UNKNOWN_REPORTED).map(|name| {
            Violation::new(pointer_to(name), ViolationCode::UnknownField, "is not a field of this request")
        }));
        violations
    }

    fn note(&mut self, name: &'static str, code: ViolationCode, message: &'static str) {
        self.violations.push(Violation::new(format!("#/{name}"), code, message));
    }
}

/// A JSON pointer to a field, as a URI fragment (RFC 6901, section 6). A name too long to be a slip of the pen is
/// not sent back: the pointer then is to the object.
pub(crate) fn pointer_to(name: &str) -> Cow<'static, str> {
    if name.len() > MAX_NAME_REPORTED {
        return Cow::Borrowed("#");
    }
    let mut pointer = String::from("#/");
    for byte in name.bytes() {
        match byte {
            b'~' => pointer.push_str("~0"),
            b'/' => pointer.push_str("~1"),
            b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => pointer.push(char::from(byte)),
            _ => {
                pointer.push('%');
                pointer.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
        }
    }
    Cow::Owned(pointer)
}

/// How many unknown fields are named in one answer, and how long a name may be to be: an answer is no echo.
const MAX_UNKNOWN_REPORTED: usize = 8;
const MAX_NAME_REPORTED: usize = 64;

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::super::parse;
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Form {
        name: String,
        note: Option<String>,
    }

    impl FromFields for Form {
        fn read(fields: &mut Fields) -> Option<Self> {
            let name = fields.text("name");
            let note = fields.optional_text("note");
            Some(Self { name: name?, note })
        }
    }

    fn violations(body: &str) -> Vec<(String, String)> {
        let problem = parse::<Form>(body.as_bytes()).unwrap_err();
        let body = problem.error_response().into_body();
        let body = actix_web::body::MessageBody::try_into_bytes(body).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    }

    #[test]
    fn fields_are_read_as_they_are() {
        let form = parse::<Form>("{ \"name\" : \"a\\u00e9\\ud83d\\ude00\" }\n".as_bytes()).unwrap();
        assert_eq!(form, Form { name: "a\u{e9}\u{1f600}".to_owned(), note: None });
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let found = violations(r#"{"note":1,"a/b~c":null,"Name":"x","\u00e9 ":{}}"#);
        let expected = [
            ("#/name", "required"),
            ("#/note", "wrong_type"),
            ("#/Name", "unknown_field"),
            ("#/a~1b~0c", "unknown_field"),
            ("#/%C3%A9%20", "unknown_field"),
        ];
        assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }

    #[test]
    fn an_answer_is_no_echo() {
        let long = "x".repeat(65);
        assert_eq!(violations(&format!(r#"{{"name":"a","{long}":1}}"#))[0].0, "#");
        let many: Vec<_> = (0..100).map(|n| format!("\"f{n}\":1")).collect();
        let found = violations(&format!(r#"{{"name":"a",{}}}"#, many.join(",")));
        assert_eq!(found.len(), MAX_UNKNOWN_REPORTED);
    }
}
