//! The rules of the OpenAPI document.

use std::collections::BTreeSet;

use portcullis_domain::account::{CanonicalName, Username};
use portcullis_domain::password::PlaintextPassword;
use portcullis_domain::password::policy::PasswordPolicy;
use serde_json::Value;

use super::*;
use crate::routes::routes;

fn document() -> Value {
    serde_json::to_value(openapi()).unwrap()
}

/// Every value of `member`, wherever it stands.
fn all<'a>(value: &'a Value, member: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| {
                let here = (name == member).then_some(value);
                here.into_iter().chain(all(value, member))
            })
            .collect(),
        Value::Array(elements) => elements.iter().flat_map(|element| all(element, member)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let references = all(&document, "$ref");
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.as_str().unwrap().trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_problem_is_documented() {
    let document = document();
    let list = document["components"]["schemas"]["ProblemCode"]["description"].as_str().unwrap();
    let descriptions: Vec<_> = all(&document, "responses").into_iter().map(Value::to_string).collect();
    for word in ProblemCode::ALL.iter().map(|code| code.word()) {
        assert!(list.contains(&format!("\n- `{word}` (")), "{word}: {list}");
        let marked = format!("`{word}`: ");
        assert!(descriptions.iter().any(|text| text.contains(&marked)), "{word}");
    }
}

#[test]
fn operation_ids_are_unique_verbs_with_nouns() {
    let document = document();
    let ids: Vec<_> = all(&document, "operationId").into_iter().filter_map(Value::as_str).collect();
    let is_word = |id: &str| id.starts_with(char::is_lowercase) && id.chars().all(char::is_alphanumeric);
    assert!(ids.iter().all(|id| is_word(id)), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(ids.len(), routes().len());
}

/// The schemas that responses use, by name.
fn response_schemas(document: &Value) -> Vec<(&String, &Value)> {
    let schemas = document["components"]["schemas"].as_object().unwrap();
    schemas.iter().filter(|(name, _)| !name.ends_with("Request")).collect()
}

#[test]
fn responses_have_no_closed_list() {
    let document = document();
    let schemas = response_schemas(&document);
    assert!(schemas.len() > 15, "{schemas:?}");
    for (name, schema) in schemas {
        assert!(all(schema, "enum").is_empty(), "{name}: {schema}");
        assert!(all(schema, "const").is_empty() || name.ends_with("Jwk"), "{name}: {schema}");
    }
    for name in ["ProblemCode", "ViolationCode", "Check"] {
        let schema = &document["components"]["schemas"][name];
        assert_eq!(schema["type"], "string", "{name}");
        assert!(schema["description"].as_str().unwrap().contains("accept unknown values"), "{name}");
    }
}

/// The only response members that may be left out. Their form is that of an RFC.
const LEFT_OUT: [(&str, &str); 2] =
    [("AuthorizationServerMetadata", "service_documentation"), ("Problem", "errors")];

#[test]
fn response_members_without_value_are_null() {
    let document = document();
    let mut left_out = Vec::new();
    for (name, schema) in response_schemas(&document) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for member in schema["properties"].as_object().into_iter().flat_map(|members| members.keys()) {
            if !required.contains(&member.as_str().into()) {
                left_out.push((name.as_str(), member.as_str()));
            }
        }
    }
    assert_eq!(left_out, LEFT_OUT);
}

#[test]
fn the_server_of_a_document_is_its_public_url() {
    let url = |document: Document| serde_json::to_value(document).unwrap()["servers"][0]["url"].clone();
    assert_eq!(url(openapi()), "/");
    assert_eq!(url(openapi_of(&[], "https://auth.example.com/base")), "https://auth.example.com/base");
}

#[test]
fn problem_examples_start_with_the_base_path() {
    let uri = |document: Document| {
        let document = serde_json::to_value(document).unwrap();
        document["components"]["examples"]["not_found"]["value"]["type"].clone()
    };
    assert_eq!(uri(openapi()), "/problems/not_found");
    assert_eq!(uri(openapi_of(&[], "https://example.com/auth")), "/auth/problems/not_found");
}

#[test]
fn subjects_that_are_switched_off_are_not_described() {
    let without_docs = HttpConfig { docs: false, ..HttpConfig::default() };
    let document = openapi_of(&subjects(&without_docs), "/");
    assert!(document.paths.paths.contains_key("/login"));
    for path in ["/docs", "/docs/{file}", "/openapi.json"] {
        assert!(!document.paths.paths.contains_key(path), "{path}");
    }
}

#[test]
fn every_operation_has_one_described_tag() {
    let document = document();
    let tags = document["tags"].as_array().unwrap();
    assert!(tags.iter().all(|tag| !tag["description"].as_str().unwrap().is_empty()));
    let described: BTreeSet<_> = tags.iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let used: Vec<_> =
        all(&document["paths"], "tags").into_iter().map(|tags| tags.as_array().unwrap()).collect();
    assert!(used.iter().all(|tags| tags.len() == 1));
    assert_eq!(used.iter().map(|tags| tags[0].as_str().unwrap()).collect::<BTreeSet<_>>(), described);
}

#[test]
fn integers_have_a_format() {
    let document = document();
    let check = |name: &str, schema: &Value| {
        if schema["type"] == "integer" {
            assert!(schema["format"].is_string(), "{name}: {schema}");
        }
    };
    for properties in all(&document, "properties") {
        properties.as_object().unwrap().iter().for_each(|(name, schema)| check(name, schema));
    }
    for schema in all(&document, "schema") {
        check("schema", schema);
    }
}

#[test]
fn scalar_members_have_examples() {
    // Without one, the documentation page makes a text up from the pattern.
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
            let is_scalar = schema["type"].is_string()
                && !matches!(schema["type"].as_str(), Some("array" | "boolean"))
                || schema["type"].is_array();
            let has_one = ["example", "examples", "const"].iter().any(|keyword| !schema[*keyword].is_null());
            assert!(!is_scalar || has_one, "{name} {member}: {schema}");
        }
    }
}

#[test]
fn every_operation_says_what_can_go_wrong() {
    let (document, routes) = (document(), routes());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses: BTreeSet<_> =
                operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = BTreeSet::from(["400", "500"]);
            if operation["requestBody"].is_object() {
                expected.extend(["408", "413", "415", "422", "503"]);
            }
            if operation["security"].is_array() {
                expected.extend(["401", "503"]);
            }
            let route = routes
                .iter()
                .find(|route| route.path() == path && route.method().as_str().eq_ignore_ascii_case(method));
            let (is_limited, is_throttled) =
                route.map(|route| (route.limit().is_some(), route.is_throttled())).unwrap();
            if is_limited || is_throttled {
                expected.insert("429");
            }
            assert!(statuses.is_superset(&expected), "{method} {path}: {statuses:?}");
            assert_eq!(statuses.contains("429"), is_limited || is_throttled, "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let has = |field| response["headers"][field].is_object();
                assert!(has("x-request-id") && has("Cache-Control"), "{method} {path} {status}");
                let has_limit = (has("RateLimit"), has("RateLimit-Policy"));
                assert_eq!(has_limit, (is_limited, is_limited), "{method} {path} {status}");
            }
        }
    }
}

#[test]
fn what_belongs_to_no_operation_is_documented_once() {
    let document = document();
    for (name, field) in [("MethodNotAllowed", "Allow"), ("PreflightRefused", "Cache-Control")] {
        let response = &document["components"]["responses"][name];
        assert!(response["headers"][field].is_object() && response["headers"]["x-request-id"].is_object());
        assert!(document["info"]["description"].as_str().unwrap().contains(&format!("`{name}`")));
    }
}

#[test]
fn all_fields_but_those_of_limits_are_required_and_come_where_they_mean_something() {
    let document = document();
    for (name, field) in document["components"]["headers"].as_object().unwrap() {
        assert_eq!(field["required"] == true, !name.starts_with("RateLimit"), "{name}");
    }
    let responses: Vec<_> =
        all(&document, "responses").into_iter().flat_map(|list| list.as_object().unwrap()).collect();
    for status in ["401", "429", "503"] {
        let of_status = responses.iter().filter(|(other, _)| *other == status);
        let field = if status == "401" { "WWW-Authenticate" } else { "Retry-After" };
        assert!(of_status.clone().count() >= 3, "{status}");
        assert!(of_status.clone().all(|(_, response)| response["headers"][field].is_object()), "{status}");
    }
}

#[test]
fn requests_are_bounded_as_the_domain_bounds_them() {
    let document = document();
    let field = |schema: &str, name: &str| {
        let field = &document["components"]["schemas"][schema]["properties"][name];
        assert!(field.is_object(), "{schema} {name}");
        (field["minLength"].as_u64(), field["maxLength"].as_u64())
    };
    let bounds = |min: Option<usize>, max: usize| (min.map(|min| min as u64), Some(max as u64));
    let password = bounds(None, PlaintextPassword::MAX_LENGTH);
    let new_password = bounds(Some(PasswordPolicy::LOWEST_MIN_LENGTH), PlaintextPassword::MAX_LENGTH);
    let new_name = bounds(Some(Username::MIN_LENGTH), Username::MAX_LENGTH);
    assert_eq!(field("RegisterRequest", "username"), new_name);
    assert_eq!(field("RegisterRequest", "password"), new_password);
    assert_eq!(field("LoginRequest", "username"), bounds(None, CanonicalName::MAX_LENGTH));
    assert_eq!(field("LoginRequest", "password"), password);
    assert_eq!(field("ChangePasswordRequest", "current_password"), password);
    assert_eq!(field("ChangePasswordRequest", "new_password"), new_password);
    assert_eq!(field("DeleteAccountRequest", "current_password"), password);
}

#[test]
fn logout_scopes_are_a_closed_list() {
    let document = document();
    let schema = &document["paths"]["/logout"]["post"]["parameters"][0]["schema"];
    assert_eq!(all(schema, "enum"), [&serde_json::json!(["current", "others", "all"])], "{schema}");
}

#[test]
fn every_violation_is_documented() {
    let document = document();
    let list = document["components"]["schemas"]["ViolationCode"]["description"].as_str().unwrap();
    let promised = [
        "required",
        "unknown_field",
        "wrong_type",
        "too_short",
        "too_long",
        "missing_upper",
        "missing_lower",
        "missing_digit",
        "missing_special",
        "contains_username",
        "common",
        "invalid_character",
        "invalid_start",
        "reserved",
        "incorrect",
        "unchanged",
        "other_session",
    ];
    let words: Vec<_> = ViolationCode::ALL.iter().map(|code| code.word()).collect();
    for word in promised {
        assert!(words.contains(&word) && list.contains(&format!("\n- `{word}`: ")), "{word}: {list}");
    }
    assert_eq!(list.matches("\n- `").count(), words.len());
}

#[test]
fn only_a_logout_may_come_without_its_body() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            if let Some(body) = operation.get("requestBody") {
                assert_eq!(body["required"], path != "/logout", "{path}");
            }
        }
    }
}

#[test]
fn requests_hold_nothing_else() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let requests: Vec<_> = schemas.iter().filter(|(name, _)| name.ends_with("Request")).collect();
    assert!(requests.len() >= 6, "the schemas of requests are found: {requests:?}");
    for (name, schema) in requests {
        assert_eq!(schema["additionalProperties"], false, "{name}");
    }
}
