//! What holds of every body that somebody may send.
#![expect(
    clippy::expect_used,
    reason = "it is about the input: an answer that cannot be read breaks an invariant"
)]

use actix_web::ResponseError;
use actix_web::body::MessageBody;
use portcullis_domain::password::PlaintextPassword;
use serde_json::{Map, Value as Json};

use super::*;

/// What is accepted is an object that any other reader of JSON reads likewise, with the known fields and no others. What is
/// refused is answered by a short problem document, which says nothing of the values: with others of their kind it is the
/// same.
///
/// # Panics
/// Where it does not hold.
pub fn holds(body: &[u8]) {
    let read_elsewhere: Option<Map<String, Json>> = serde_json::from_slice(body).ok();
    match parse::<Form>(body) {
        Ok(form) => {
            let object = read_elsewhere.expect("it is an object for other readers too");
            let known = |name: &String| ["username", "password", "note"].contains(&name.as_str());
            assert!(object.keys().all(known), "{object:?}");
            assert_eq!(object.get("username").and_then(Json::as_str), Some(&*form.username));
            assert_eq!(object.get("password").and_then(Json::as_str), Some(form.password.expose()));
            assert_eq!(object.get("note").and_then(Json::as_str), form.note.as_deref());
            assert_eq!(object.contains_key("note"), form.note.is_some());
            assert!(!object.values().any(|value| value.as_str().is_some_and(|text| text.contains('\0'))));
            assert_eq!(answer(&written(&object)), None, "plainly written it is accepted too");
        }
        Err(problem) => {
            let answer = answer_of(&problem);
            assert!(answer.len() <= LONGEST_ANSWER, "{}", answer.len());
            let read: Json = serde_json::from_slice(answer.as_bytes()).expect("a problem is JSON");
            if read["code"] == "malformed_json" {
                assert_eq!(read.get("errors"), None, "nothing is said of what could not be read");
                return;
            }
            assert_eq!(read["code"], "invalid_request");
            assert!(read["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{read}");
            let mut object = read_elsewhere.expect("it is an object for other readers too");
            assert_eq!(self::answer(&written(&object)).as_ref(), Some(&answer), "plainly written");
            object.values_mut().for_each(replace);
            assert_eq!(self::answer(&written(&object)), Some(answer), "with other values");
        }
    }
}

/// As a login is, and with something that may be missing.
struct Form {
    username: String,
    password: PlaintextPassword,
    note: Option<String>,
}

impl FromFields for Form {
    fn read(fields: &mut Fields) -> Option<Self> {
        let credentials = fields.credentials();
        let note = fields.optional_text("note");
        let (username, password) = credentials?;
        Some(Self { username, password, note })
    }
}

/// Puts another value of the same kind in its place.
fn replace(value: &mut Json) {
    *value = match value {
        Json::String(text) if text.contains('\0') => "\0".into(),
        Json::String(_) => "another".into(),
        _ => Json::Null,
    };
}

fn written(object: &Map<String, Json>) -> Vec<u8> {
    serde_json::to_vec(object).expect("it can be written")
}

fn answer(body: &[u8]) -> Option<String> {
    parse::<Form>(body).err().map(|problem| answer_of(&problem))
}

fn answer_of(problem: &Problem) -> String {
    let body = problem.error_response().into_body().try_into_bytes();
    let body = body.expect("a problem is there at once");
    String::from_utf8(body.into()).expect("a problem is text")
}

/// Eight unknown names of 64 bytes, each of which becomes three, and what is said of each.
const LONGEST_ANSWER: usize = 8 * (3 * 64 + 100) + 1_000;

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    // ASVS 1.5.3
    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/strict_json"), 10_000, super::holds);
    }
}
