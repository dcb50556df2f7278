//! The API described, gathered from the routes: what `/openapi.json` serves.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, ObjectBuilder, OpenApi as Document, Ref, RefOr, Required,
    Response, ResponseBuilder, Schema, Type,
};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::problem::{ProblemBody, ProblemCode, Violation, ViolationCode};
use crate::routes;
use crate::routes::{
    activity, change_password, delete_account, docs, end_session, health, login, logout, me, password_policy,
    protected, refresh, register, sessions, well_known,
};

/// The description of the whole API, as `/openapi.json` serves it.
pub fn openapi() -> Document {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis",
        version = "1",
        description = "Registers users, logs them in, and gives out tokens that others verify.\n\n\
            Every error is a problem document (RFC 9457); `GET /problems` explains them all. Every answer carries \
            `x-request-id`. HEAD works where GET does; another method than those listed is a 405 (the response \
            `MethodNotAllowed`). Within version 1, changes are additive only: lists of codes may grow.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "public", description = "Without a token."),
        (name = "bearer", description = "With an access token."),
        (name = "discovery", description = "What others need to know."),
        (name = "operation", description = "For operators."),
    ),
    paths(
        register::register,
        login::login,
        refresh::refresh,
        logout::logout,
        protected::protected,
        me::me,
        delete_account::delete_account,
        change_password::change_password,
        activity::activity,
        sessions::sessions,
        end_session::end_session,
        password_policy::password_policy,
        health::health,
        health::ready,
        well_known::jwks,
        well_known::metadata,
        well_known::openid_configuration,
        routes::problems::problems,
        routes::problems::problem,
        docs::openapi_json,
        docs::page,
        docs::file,
    ),
    components(schemas(ProblemBody, ProblemCode, Violation, ViolationCode)),
    modifiers(&AccessTokens, &StrictRequests, &OptionalBody, &CommonFields),
)]
struct Description;

/// Says how access tokens are sent.
struct AccessTokens;

impl Modify for AccessTokens {
    fn modify(&self, document: &mut Document) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("access_token", SecurityScheme::Http(scheme));
    }
}

/// Says that requests may hold nothing but what is described.
struct StrictRequests;

impl Modify for StrictRequests {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        for (name, schema) in &mut components.schemas {
            if let RefOr::T(Schema::Object(object)) = schema
                && name.ends_with("Request")
            {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
}

/// Says that a logout may come without a body.
struct OptionalBody;

impl Modify for OptionalBody {
    fn modify(&self, document: &mut Document) {
        let logout = document.paths.paths.get_mut("/logout").and_then(|item| item.post.as_mut());
        if let Some(RefOr::T(body)) = logout.and_then(|logout| logout.request_body.as_mut()) {
            body.required = Some(Required::False);
        }
    }
}

/// Says which header fields come with every answer, and what answers a method that is not there.
struct CommonFields;

impl Modify for CommonFields {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let code = ProblemCode::MethodNotAllowed;
        let response = problem_response(code.status().as_u16(), [code]);
        components.responses.insert("MethodNotAllowed".to_owned(), RefOr::T(response));
        for (name, meaning) in COMMON_FIELDS.iter().chain(LIMIT_FIELDS) {
            components.headers.insert((*name).to_owned(), RefOr::T(header(Type::String, meaning)));
        }
        for response in components.responses.values_mut() {
            add_fields(response, COMMON_FIELDS);
        }
        let operations = document
            .paths
            .paths
            .values_mut()
            .flat_map(|item| [&mut item.get, &mut item.post, &mut item.put, &mut item.delete]);
        for operation in operations.flatten() {
            let responses = &mut operation.responses.responses;
            let is_limited = cfg!(feature = "governor") && responses.contains_key("429");
            for response in responses.values_mut() {
                add_fields(response, COMMON_FIELDS);
                if is_limited {
                    add_fields(response, LIMIT_FIELDS);
                }
            }
        }
    }
}

fn add_fields(response: &mut RefOr<Response>, fields: &[(&str, &str)]) {
    let RefOr::T(response) = response else { return };
    for (name, _) in fields {
        let reference = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert((*name).to_owned(), RefOr::Ref(reference));
    }
}

fn header(kind: Type, meaning: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(kind);
    HeaderBuilder::new().schema(Some(schema)).description(Some(meaning)).build()
}

/// What every answer carries.
const COMMON_FIELDS: &[(&str, &str)] = &[
    ("x-request-id", "Names the request: the client's own id where it sent a good one."),
    ("Cache-Control", "`no-store` for tokens, accounts and errors; what anybody may keep says for how long."),
];

/// What the answers of a limited route carry (draft-ietf-httpapi-ratelimit-headers).
const LIMIT_FIELDS: &[(&str, &str)] = &[
    (
        "RateLimit",
        "How many calls are left to this address (`r`), and in how many seconds all are back (`t`).",
    ),
    (
        "RateLimit-Policy",
        "How many calls may come at once (`q`), and in how many seconds so many are back (`w`).",
    ),
];

/// Declares the problems with which the routes of a file answer, as `Problems` among their responses.
macro_rules! problems {
    ($($codes:expr),* $(,)?) => {
        pub(crate) struct Problems;

        impl utoipa::IntoResponses for Problems {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::openapi::problem_responses(&[$crate::openapi::ANY_ROUTE, $($codes),*])
            }
        }
    };
}
pub(crate) use problems;

/// A response for each status among the codes, which says what they mean.
pub(crate) fn problem_responses(groups: &[&[ProblemCode]]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, BTreeSet<ProblemCode>> = BTreeMap::new();
    for code in groups.iter().copied().flatten() {
        by_status.entry(code.status().as_u16()).or_default().insert(*code);
    }
    let responses = by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), RefOr::T(problem_response(status, codes))));
    responses.collect()
}

fn problem_response(status: u16, codes: impl IntoIterator<Item = ProblemCode>) -> Response {
    let meanings: Vec<_> =
        codes.into_iter().map(|code| format!("`{}`: {}.", code.word(), code.title())).collect();
    let schema = Ref::from_schema_name(ProblemBody::name());
    let response = ResponseBuilder::new()
        .description(meanings.join(" "))
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build());
    let response = match status {
        401 => response.header("WWW-Authenticate", header(Type::String, "How to authenticate (RFC 6750).")),
        405 => response.header("Allow", header(Type::String, "The methods that are there.")),
        429 | 503 => {
            response.header("Retry-After", header(Type::Integer, "After how many seconds to try again."))
        }
        _ => response,
    };
    response.build()
}

/// What any route may answer.
pub(crate) const ANY_ROUTE: &[ProblemCode] = &[ProblemCode::MalformedRequest, ProblemCode::InternalError];

/// What a route with a body may answer.
pub(crate) const WITH_BODY: &[ProblemCode] = &[
    ProblemCode::MalformedJson,
    ProblemCode::RequestTimeout,
    ProblemCode::PayloadTooLarge,
    ProblemCode::UnsupportedMediaType,
    ProblemCode::InvalidRequest,
];

/// What a route with a limit may answer, in a build that has limits.
pub(crate) const LIMITED: &[ProblemCode] =
    if cfg!(feature = "governor") { &[ProblemCode::RateLimited] } else { &[] };

/// What a route that asks for a password may answer.
pub(crate) const THROTTLED: &[ProblemCode] = &[ProblemCode::RateLimited];

/// What a route that writes may answer.
pub(crate) const STORE: &[ProblemCode] =
    &[ProblemCode::Overloaded, ProblemCode::StorageUnavailable, ProblemCode::StorageFull];

/// What a route that gives out tokens may answer.
pub(crate) const TOKENS: &[ProblemCode] = &[ProblemCode::NotReady];

/// What a route behind an access token may answer.
pub(crate) const BEARER: &[ProblemCode] = &[
    ProblemCode::MissingToken,
    ProblemCode::InvalidToken,
    ProblemCode::Overloaded,
    ProblemCode::StorageUnavailable,
    ProblemCode::NotReady,
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

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
        let listed = &document["components"]["schemas"]["ProblemCode"]["enum"];
        let words: Vec<_> = ProblemCode::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(listed, &serde_json::json!(words));

        let descriptions: Vec<_> = all(&document, "responses").into_iter().map(Value::to_string).collect();
        // The rest comes from what surrounds the routes: CORS.
        for word in words.iter().filter(|word| **word != "forbidden") {
            let marked = format!("`{word}`: ");
            assert!(descriptions.iter().any(|text| text.contains(&marked)), "{word}");
        }
    }

    const LIMITED_ROUTES: [(&str, &str); 5] = [
        ("post", "/register"),
        ("post", "/login"),
        ("post", "/refresh"),
        ("put", "/me/password"),
        ("delete", "/me"),
    ];

    /// Those that ask for a password.
    const THROTTLED_ROUTES: [(&str, &str); 3] =
        [("post", "/login"), ("put", "/me/password"), ("delete", "/me")];

    #[test]
    fn every_operation_says_what_can_go_wrong() {
        let document = document();
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
                let is_limited =
                    cfg!(feature = "governor") && LIMITED_ROUTES.contains(&(method.as_str(), path.as_str()));
                let is_throttled = THROTTLED_ROUTES.contains(&(method.as_str(), path.as_str()));
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
    fn a_method_that_is_not_there_is_documented_once() {
        let document = document();
        let response = &document["components"]["responses"]["MethodNotAllowed"];
        assert!(response["headers"]["Allow"].is_object() && response["headers"]["x-request-id"].is_object());
        assert!(document["info"]["description"].as_str().unwrap().contains("`MethodNotAllowed`"));
    }

    #[test]
    fn what_a_logout_ends_is_a_list_of_three() {
        let document = document();
        let schema = &document["paths"]["/logout"]["post"]["parameters"][0]["schema"];
        assert_eq!(all(schema, "enum"), [&serde_json::json!(["current", "others", "all"])], "{schema}");
    }

    #[test]
    fn every_violation_is_documented() {
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
        ];
        assert_eq!(document()["components"]["schemas"]["ViolationCode"]["enum"], serde_json::json!(promised));
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
        assert_eq!(requests.len(), 6);
        for (name, schema) in requests {
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}
