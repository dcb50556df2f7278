//! Whether an answer is one that the OpenAPI document promises. Every answer that a test gets is asked.

use std::sync::LazyLock;

use actix_web::http::Method;
use portcullis_http::{ProblemCode, Route};
use serde_json::Value;

use crate::test_app::{Answer, TestApp, bearer, with_json};

/// Checks that the document has the status for this operation, and of it the body, the header fields and the code.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let item = item_of(path);
    let operation = item.map_or(&Value::Null, |item| match method {
        "HEAD" => &item["get"],
        "GET" | "POST" | "PUT" | "DELETE" => &item[method.to_lowercase()],
        _ => &Value::Null,
    });
    let status = answer.status.to_string();
    let response = match (operation.is_object(), method, answer.status) {
        (true, ..) => &operation["responses"][&status],
        (false, _, 405) => &DOCUMENT["components"]["responses"]["MethodNotAllowed"],
        (false, "OPTIONS", 403) => &DOCUMENT["components"]["responses"]["PreflightRefused"],
        // The rest of what a preflight gets is written in the Fetch standard; and what is no resource, and what is no
        // request, belongs to no operation.
        (false, "OPTIONS", 200 | 400) | (false, _, 400) => return,
        (false, _, 404) if item.is_none() => return,
        (false, ..) => &Value::Null,
    };
    assert!(response.is_object(), "{method} {path} has no {status}: {answer:?}");
    check_fields(response, answer);
    check_body(response, method == "HEAD", answer);
}

/// The path item for a path, of which each place in braces takes one segment without percent-encoding.
fn item_of(path: &str) -> Option<&'static Value> {
    let matches = |template: &str| {
        let (wanted, found) = (template.split('/'), path.split('/'));
        wanted.clone().count() == found.clone().count()
            && wanted.zip(found).all(|(wanted, found)| match wanted.starts_with('{') {
                true => !found.is_empty() && !found.contains('%'),
                false => wanted == found,
            })
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.iter().find(|(template, _)| matches(template)).map(|(_, item)| item)
}

/// Those that are promised are there; and of those that the document knows there are no others.
#[track_caller]
fn check_fields(response: &Value, answer: &Answer) {
    for (name, field) in DOCUMENT["components"]["headers"].as_object().unwrap() {
        let is_there = answer.headers.contains_key(name);
        match response["headers"][name].is_object() {
            true => assert!(is_there || field["required"] != true, "{name} is missing: {answer:?}"),
            false => assert!(!is_there, "{name} is not documented here: {answer:?}"),
        }
    }
    // Those that one operation describes by itself.
    for (name, field) in response["headers"].as_object().into_iter().flatten() {
        assert!(
            field["$ref"].is_string() || answer.headers.contains_key(name),
            "{name} is missing: {answer:?}"
        );
    }
}

#[track_caller]
fn check_body(response: &Value, is_head: bool, answer: &Answer) {
    let Some(content) = response["content"].as_object() else {
        assert_eq!((answer.header("content-type"), answer.body.as_str()), (None, ""), "{answer:?}");
        return;
    };
    let media_type = answer.header("content-type").and_then(|text| text.split(';').next()).unwrap();
    let body = content.get(media_type);
    let body = body.unwrap_or_else(|| panic!("{media_type} is not documented here: {answer:?}"));
    if is_head || !media_type.ends_with("json") {
        return;
    }
    let value = answer.json();
    let mut faults = Vec::new();
    compare(&body["schema"], &value, "#", Forms::Ignored, &mut faults);
    assert!(faults.is_empty(), "{faults:?}: {answer:?}");
    if media_type == "application/problem+json" {
        let (text, code) = (response["description"].as_str().unwrap(), value["code"].as_str().unwrap());
        assert!(text.contains(&format!("`{code}`: ")), "`{code}` is not documented here: {answer:?}");
    }
}

/// Notes where a value is not what its schema says. Members that the schema does not name are faults too: clients pass
/// over them, but whoever adds one has to document it.
fn compare(schema: &Value, value: &Value, at: &str, forms: Forms, faults: &mut Vec<String>) {
    for (keyword, says) in schema.as_object().unwrap() {
        let fits = match keyword.as_str() {
            "$ref" => {
                let pointer = says.as_str().unwrap().trim_start_matches('#');
                compare(DOCUMENT.pointer(pointer).unwrap(), value, at, forms, faults);
                true
            }
            "oneOf" => {
                let fitting = says.as_array().unwrap().iter().filter(|one| {
                    let mut others = Vec::new();
                    compare(one, value, at, forms, &mut others);
                    others.is_empty()
                });
                fitting.count() == 1
            }
            "anyOf" => says.as_array().unwrap().iter().any(|one| {
                let mut others = Vec::new();
                compare(one, value, at, forms, &mut others);
                others.is_empty()
            }),
            "type" => match says {
                Value::Array(types) => types.iter().any(|one| is_of(one, value)),
                one => is_of(one, value),
            },
            "const" => says == value,
            "enum" => says.as_array().unwrap().contains(value),
            "required" => {
                says.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    match says.get(name) {
                        Some(schema) => compare(schema, member, &format!("{at}/{name}"), forms, faults),
                        None => faults.push(format!("{at}/{name} is not documented")),
                    }
                }
                true
            }
            "items" => {
                for (n, element) in value.as_array().into_iter().flatten().enumerate() {
                    compare(says, element, &format!("{at}/{n}"), forms, faults);
                }
                true
            }
            "minimum" => value.as_i64().is_none_or(|number| number >= says.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= says.as_i64().unwrap()),
            "minLength" => {
                value.as_str().is_none_or(|text| text.chars().count() as u64 >= says.as_u64().unwrap())
            }
            "maxLength" => {
                value.as_str().is_none_or(|text| text.chars().count() as u64 <= says.as_u64().unwrap())
            }
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= says.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= says.as_u64().unwrap()),
            "pattern" | "format" if forms == Forms::Ignored => true,
            "pattern" => value.as_str().is_none_or(|text| has_pattern(text, says.as_str().unwrap())),
            "format" => value.as_str().is_none_or(|text| has_format(text, says.as_str().unwrap())),
            "description" | "example" | "examples" | "discriminator" | "additionalProperties" => true,
            other => panic!("no test knows the keyword {other}"),
        };
        if !fits {
            faults.push(format!("{at} is not as {keyword} says: {says}"));
        }
    }
}

/// Whether patterns and formats count. The tokens and ids of the fakes have forms of their own, so `make contract` checks
/// the forms of responses.
#[derive(Clone, Copy, PartialEq)]
enum Forms {
    Ignored,
    Checked,
}

/// Whether a text matches a pattern of ECMA-262, of which the document uses only what Rust's patterns have too.
fn has_pattern(text: &str, pattern: &str) -> bool {
    regex::Regex::new(pattern).unwrap().is_match(text)
}

fn has_format(text: &str, format: &str) -> bool {
    match format {
        "uuid" => text.parse::<uuid::fmt::Hyphenated>().is_ok(),
        "date-time" => text.len() == 20 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
        "uri" => text.parse::<actix_web::http::Uri>().is_ok_and(|uri| uri.scheme().is_some()),
        "uri-reference" => text.starts_with(['/', '#']),
        "password" | "int32" | "int64" => true,
        other => panic!("no test knows the format {other}"),
    }
}

/// Notes every example of the document that its own schema refuses, and returns the number of examples.
fn check_examples(part: &Value, at: &str, faults: &mut Vec<String>) -> usize {
    let mut count = 0;
    if let Some(object) = part.as_object() {
        let schema = if object.contains_key("schema") { &part["schema"] } else { part };
        let list = object.get("examples").and_then(Value::as_array).into_iter().flatten();
        // Those of a media type are named, and stand elsewhere.
        let named = object.get("examples").and_then(Value::as_object).into_iter().flat_map(|named| {
            named.values().filter_map(|one| {
                let pointer = one["$ref"].as_str()?.trim_start_matches('#');
                Some(&DOCUMENT.pointer(pointer).unwrap()["value"])
            })
        });
        let examples = object.get("example").into_iter().chain(list).chain(named);
        for example in examples {
            compare(schema, example, at, Forms::Checked, faults);
            count += 1;
        }
    }
    let members: Vec<(String, &Value)> = match part {
        Value::Object(object) => object
            .iter()
            .filter(|(name, _)| *name != "example")
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(list) => list.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    count
        + members
            .into_iter()
            .map(|(name, value)| check_examples(value, &format!("{at}/{name}"), faults))
            .sum::<usize>()
}

#[test]
fn examples_fit_their_schemas() {
    let mut faults = Vec::new();
    let count = check_examples(&DOCUMENT, "#", &mut faults);
    assert!(count > 200, "{count}");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Returns the example of the body of a route; `null` if the route takes none.
pub(crate) fn example_body(route: &Route) -> Value {
    let operation = &DOCUMENT["paths"][route.path()][route.method().as_str().to_lowercase()];
    let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
    schema.map(|schema| example_of(schema.rsplit('/').next().unwrap())).unwrap_or_default()
}

/// Returns the example of a request: an object of the examples of its members.
fn example_of(request: &str) -> Value {
    let members = DOCUMENT["components"]["schemas"][request]["properties"].as_object().unwrap();
    members.iter().map(|(name, schema)| (name.clone(), schema["example"].clone())).collect()
}

#[actix_web::test]
async fn examples_of_requests_work() {
    let app = TestApp::new().await;
    assert_eq!(app.post("/register", example_of("RegisterRequest")).await.status, 201);
    let tokens = app.post("/login", example_of("LoginRequest")).await.tokens();
    let change = with_json(Method::PUT, "/me/password", example_of("ChangePasswordRequest"));
    let tokens = app.send(change.insert_header(bearer(&tokens.access))).await.tokens();
    // The example of a refresh token has the right form; it belongs to no server.
    for (path, request) in [("/refresh", "RefreshRequest"), ("/logout", "LogoutRequest")] {
        app.post(path, example_of(request)).await.check_problem(ProblemCode::InvalidRefreshToken);
    }
    let mut deletion = example_of("DeleteAccountRequest");
    deletion["current_password"] = example_of("ChangePasswordRequest")["new_password"].clone();
    let delete = with_json(Method::DELETE, "/me", deletion);
    app.send(delete.insert_header(bearer(&tokens.access))).await.check_done();
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no test knows the type {other}"),
    }
}

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(portcullis_http::openapi()).unwrap());
