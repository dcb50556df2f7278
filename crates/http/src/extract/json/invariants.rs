//! The invariants of every body that a client may send.
#![expect(
    clippy::expect_used,
    reason = "it is about the input: a response that cannot be read breaks an invariant"
)]

use std::fmt::Write as _;

use actix_web::ResponseError;
use actix_web::body::MessageBody;
use portcullis_domain::password::PlaintextPassword;
use serde_json::{Map, Value as Json, json};

use super::*;

/// Checks a body:
///
/// - An accepted body is an object that another reader of JSON reads as the same, with the known fields and no others. With a
///   key repeated at any level it is refused.
/// - A refused body gets a short problem document. It lists the violations that an independent check of the request finds, and
///   contains no values: it is the same for other values of the same kinds.
///
/// # Panics
/// Panics if an invariant is broken.
pub fn holds(body: &[u8]) {
    let read_elsewhere: Option<Map<String, Json>> = serde_json::from_slice(body).ok();
    match parse::<Form>(body) {
        Ok(form) => {
            let object = Json::from(read_elsewhere.expect("it is an object for other readers too"));
            assert_eq!(form.to_json(), object);
            assert!(violations(&object).is_empty());
            assert_eq!(response(&object.to_string()), None, "plainly written it is accepted too");
            let mut count = 0;
            while let Some(repeated) = with_repeated_key(&object, count) {
                let response = response(&repeated).expect("a repeated key is refused");
                assert!(response.contains("malformed_json"), "{repeated}");
                count += 1;
            }
            assert!(count > 0, "the body itself is an object with keys");
        }
        Err(problem) => {
            let response = response_of(&problem);
            assert!(response.len() <= LONGEST_RESPONSE, "{}", response.len());
            let read: Json = serde_json::from_slice(response.as_bytes()).expect("a problem is JSON");
            if read["code"] == "malformed_json" {
                assert_eq!(read.get("errors"), None, "an unreadable body has no violations");
                return;
            }
            assert_eq!(read["code"], "invalid_request");
            let mut object = Json::from(read_elsewhere.expect("it is an object for other readers too"));
            let errors = read["errors"].as_array().into_iter().flatten();
            let found = errors.map(|error| [&error["pointer"], &error["code"]].map(Json::to_string));
            let found: Vec<_> = found.map(|[pointer, code]| format!("{pointer} {code}")).collect();
            assert!(!found.is_empty());
            assert_eq!(found, violations(&object));
            assert_eq!(self::response(&object.to_string()).as_ref(), Some(&response), "plainly written");
            replace(&mut object);
            assert_eq!(self::response(&object.to_string()), Some(response), "with other values");
        }
    }
}

/// As a login is, with members of all other kinds that may be missing.
struct Form {
    username: String,
    password: PlaintextPassword,
    note: Option<String>,
    max_age: Option<u32>,
    enabled: Option<bool>,
    roles: Option<Vec<String>>,
    keys: Option<Vec<Key>>,
}

impl FromFields for Form {
    fn read(fields: &mut Fields) -> Read<Self> {
        let credentials = fields.credentials();
        let note = fields.optional("note", Input::string);
        let max_age = fields.optional("max_age", |max_age| max_age.integer(0..=3600));
        let enabled = fields.optional("enabled", Input::boolean);
        let roles = fields.optional("roles", |roles| roles.list(1..=3, Input::string));
        let keys = fields.optional("keys", |keys| keys.list(0..=2, Input::object));
        let (username, password) = credentials?;
        Ok(Self {
            username,
            password,
            note: note?,
            max_age: max_age?,
            enabled: enabled?,
            roles: roles?,
            keys: keys?,
        })
    }
}

impl Form {
    fn to_json(&self) -> Json {
        let mut object = Map::new();
        object.insert("username".into(), json!(self.username));
        object.insert("password".into(), json!(self.password.expose()));
        let keys = self.keys.as_ref().map(|keys| keys.iter().map(Key::to_json).collect::<Vec<_>>());
        let optional = [
            ("note", self.note.as_ref().map(|note| json!(note))),
            ("max_age", self.max_age.map(|max_age| json!(max_age))),
            ("enabled", self.enabled.map(|enabled| json!(enabled))),
            ("roles", self.roles.as_ref().map(|roles| json!(roles))),
            ("keys", keys.map(|keys| json!(keys))),
        ];
        object.extend(optional.into_iter().filter_map(|(name, value)| Some((name.into(), value?))));
        object.into()
    }
}

/// An object in a list in the form.
struct Key {
    id: i64,
    label: Option<String>,
}

impl FromFields for Key {
    fn read(fields: &mut Fields) -> Read<Self> {
        let id = fields.integer("id", i64::MIN..=i64::MAX);
        let label = fields.nullable("label", Input::string);
        Ok(Self { id: id?, label: label? })
    }
}

impl Key {
    fn to_json(&self) -> Json {
        json!({"id": self.id, "label": self.label})
    }
}

/// The form once more, for another check of it.
enum Kind {
    Text,
    Whole(i64, i64),
    Truth,
    List(usize, usize, &'static Kind),
    Object(&'static [(&'static str, bool, Kind)]),
    OrNull(&'static Kind),
}

/// The members in the order in which they are read, and whether they must be there.
const FORM: &[(&str, bool, Kind)] = &[
    ("username", true, Kind::Text),
    ("password", true, Kind::Text),
    ("note", false, Kind::Text),
    ("max_age", false, Kind::Whole(0, 3600)),
    ("enabled", false, Kind::Truth),
    ("roles", false, Kind::List(1, 3, &Kind::Text)),
    ("keys", false, Kind::List(0, 2, &Kind::Object(KEY))),
];
const KEY: &[(&str, bool, Kind)] =
    &[("id", true, Kind::Whole(i64::MIN, i64::MAX)), ("label", true, Kind::OrNull(&Kind::Text))];

/// What is wrong with a form, each as the pointer and the code in a response.
fn violations(form: &Json) -> Vec<String> {
    let mut found = Vec::new();
    check(&Kind::Object(FORM), form, "#", &mut found);
    let mut unknown = 0;
    found.retain(|(_, code)| {
        unknown += usize::from(*code == "unknown_field");
        *code != "unknown_field" || unknown <= 8
    });
    found.iter().map(|(pointer, code)| format!("\"{pointer}\" \"{code}\"")).collect()
}

fn check(kind: &Kind, value: &Json, at: &str, found: &mut Vec<(String, &str)>) {
    let mut wrong = |code| found.push((at.to_owned(), code));
    match (kind, value) {
        (Kind::Text, Json::String(text)) if text.contains('\0') => wrong("invalid_character"),
        (Kind::Text, Json::String(_)) | (Kind::Truth, Json::Bool(_)) | (Kind::OrNull(_), Json::Null) => {}
        (Kind::Whole(least, most), Json::Number(number))
            if number.as_i64().is_some_and(|number| (*least..=*most).contains(&number)) => {}
        (Kind::OrNull(kind), value) => check(kind, value, at, found),
        (Kind::List(_, most, _), Json::Array(list)) if list.len() > *most => wrong("too_long"),
        (Kind::List(least, _, kind), Json::Array(list)) => {
            if list.len() < *least {
                wrong("too_short");
            }
            for (n, element) in list.iter().enumerate() {
                check(kind, element, &format!("{at}/{n}"), found);
            }
        }
        (Kind::Object(members), Json::Object(object)) => {
            for (name, is_required, kind) in *members {
                let at = format!("{at}/{name}");
                match object.get(*name) {
                    Some(value) => check(kind, value, &at, found),
                    None if *is_required => found.push((at, "required")),
                    None => {}
                }
            }
            let is_known = |name: &String| members.iter().any(|(known, ..)| known == name);
            for name in object.keys().filter(|name| !is_known(name)) {
                found.push((pointer(at, name), "unknown_field"));
            }
        }
        _ => wrong("wrong_type"),
    }
}

fn pointer(object: &str, name: &str) -> String {
    if name.len() > 64 {
        return object.to_owned();
    }
    let name = name.replace('~', "~0").replace('/', "~1");
    name.bytes().fold(format!("{object}/"), |mut pointer, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            pointer.push(char::from(byte));
        } else {
            write!(pointer, "%{byte:02X}").expect("a string grows");
        }
        pointer
    })
}

/// Writes a value with the first key of its `nth` object repeated; `None` if it has fewer objects with keys.
fn with_repeated_key(value: &Json, nth: usize) -> Option<String> {
    fn write(value: &Json, left: &mut Option<usize>) -> String {
        match value {
            Json::Array(list) => {
                let elements: Vec<_> = list.iter().map(|element| write(element, left)).collect();
                format!("[{}]", elements.join(","))
            }
            Json::Object(object) if !object.is_empty() => {
                let repeats = *left == Some(0);
                *left = left.and_then(|left| left.checked_sub(1));
                let member = |(key, value): (&String, &Json)| (Json::from(key.as_str()), write(value, left));
                let mut members: Vec<_> = object.iter().map(member).collect();
                if repeats {
                    members.push((members[0].0.clone(), "null".to_owned()));
                }
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }
            other => other.to_string(),
        }
    }
    let mut left = Some(nth);
    let written = write(value, &mut left);
    left.is_none().then_some(written)
}

/// Puts another value of the same kind in the place of each.
fn replace(value: &mut Json) {
    match value {
        Json::String(text) if text.contains('\0') => *value = "\0".into(),
        Json::String(_) => *value = "another".into(),
        Json::Bool(truth) => *truth = !*truth,
        Json::Number(number) => {
            *value = match number.as_i64() {
                Some(number @ 0..=3600) => (3600 - number).into(),
                Some(_) => (-1).into(),
                None => 0.5.into(),
            }
        }
        Json::Array(list) => list.iter_mut().for_each(replace),
        Json::Object(object) => object.values_mut().for_each(replace),
        Json::Null => {}
    }
}

fn response(body: &str) -> Option<String> {
    parse::<Form>(body.as_bytes()).err().map(|problem| response_of(&problem))
}

fn response_of(problem: &Problem) -> String {
    let body = problem.error_response().into_body().try_into_bytes();
    let body = body.expect("a problem is there at once");
    String::from_utf8(body.into()).expect("a problem is text")
}

/// The length of eight unknown names of 64 bytes, each escaped as three, with a message each, and of the messages for known
/// members.
const LONGEST_RESPONSE: usize = 8 * (3 * 64 + 100) + 15 * 120 + 500;

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;
    use proptest::prelude::*;

    use super::*;

    // ASVS 1.5.3
    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/strict_json"), 10_000, holds);
    }

    /// Any value, mostly one that some member of the form allows.
    fn value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            4 => "[a-c\u{e9}\"\\\\]{0,3}\0{0,1}".prop_map(Json::from),
            2 => any::<bool>().prop_map(Json::from),
            3 => (-2_i64..3_700).prop_map(Json::from),
            1 => any::<i64>().prop_map(Json::from),
            1 => any::<u64>().prop_map(Json::from),
            1 => any::<f64>().prop_map(Json::from),
            1 => Just(Json::Null),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
                object(&["id", "label"], inner),
            ]
        })
    }

    /// An object with some of these members, and seldom with others.
    fn object(names: &'static [&str], value: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
        let name =
            prop_oneof![12 => prop::sample::select(names).prop_map(str::to_owned), 1 => ".{0,3}|\\PC{40}"];
        prop::collection::btree_map(name, value, 0..=names.len())
            .prop_map(|members| members.into_iter().collect())
    }

    /// A form that is right but for the members that `object` replaces.
    fn nearly_right() -> impl Strategy<Value = Json> {
        let right = json!({
            "username": "alice", "password": "x", "max_age": 60, "enabled": true, "roles": ["a", "b"],
            "keys": [{"id": -1, "label": null}, {"id": 9_007_199_254_740_993_i64, "label": "l"}],
        });
        let names: Vec<_> = FORM.iter().map(|(name, ..)| *name).collect();
        (prop::sample::subsequence(names, 0..=2), prop::collection::vec(value(), 2)).prop_map(
            move |(names, values)| {
                let mut form = right.clone();
                for (name, value) in names.into_iter().zip(values) {
                    form[name] = value;
                }
                form
            },
        )
    }

    proptest! {
        #[test]
        fn it_holds_of_forms(form in prop_oneof![
            nearly_right(),
            object(&["username", "password", "note", "max_age", "enabled", "roles", "keys"], value()),
        ]) {
            holds(form.to_string().as_bytes());
        }
    }
}
