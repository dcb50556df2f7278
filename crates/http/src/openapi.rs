//! The API described, gathered from the routes: what `/openapi.json` serves.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, SchemaFormat};
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
            `MethodNotAllowed`), and a preflight from an origin that may not call a 403 (`PreflightRefused`). What \
            the HTTP parser itself refuses gets a bare 400, 408 or 431, and the connection closes. Within version 1, \
            changes are additive only: lists of codes may grow.",
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
        delete_account::delete_account_by_post,
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
    modifiers(&AccessTokens, &StrictRequests, &OptionalBody, &Fields),
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

/// Says which header fields come with an answer, and what answers where no operation does.
struct Fields;

impl Modify for Fields {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        for (name, code) in WITHOUT_OPERATION {
            let status = code.status().as_u16();
            let mut response = problem_response([*code]);
            add_fields(&mut response, &status.to_string(), false);
            components.responses.insert((*name).to_owned(), RefOr::T(response));
        }
        for field in FIELDS {
            components.headers.insert(field.name.to_owned(), RefOr::T(field.header()));
        }
        let operations = document
            .paths
            .paths
            .values_mut()
            .flat_map(|item| [&mut item.get, &mut item.post, &mut item.put, &mut item.delete]);
        for operation in operations.flatten() {
            let responses = &mut operation.responses.responses;
            let is_limited = cfg!(feature = "governor") && responses.contains_key("429");
            for (status, response) in responses {
                if let RefOr::T(response) = response {
                    add_fields(response, status, is_limited);
                }
            }
        }
    }
}

fn add_fields(response: &mut Response, status: &str, is_limited: bool) {
    for field in FIELDS.iter().filter(|field| field.comes_with.includes(status, is_limited)) {
        let reference = Ref::new(format!("#/components/headers/{}", field.name));
        response.headers.insert(field.name.to_owned(), RefOr::Ref(reference));
    }
}

/// What is answered to methods that no operation has.
const WITHOUT_OPERATION: &[(&str, ProblemCode)] =
    &[("MethodNotAllowed", ProblemCode::MethodNotAllowed), ("PreflightRefused", ProblemCode::Forbidden)];

/// A header field of answers.
struct Field {
    name: &'static str,
    meaning: &'static str,
    kind: Type,
    pattern: Option<&'static str>,
    comes_with: With,
}

/// With which answers a header field comes.
enum With {
    Every,
    Status(&'static [&'static str]),
    /// Those of the routes that have a limit, unless limits are switched off.
    Limited,
}

impl Field {
    fn header(&self) -> Header {
        // The one number is a time to wait.
        let minimum = matches!(self.kind, Type::Integer).then_some(1);
        let schema =
            ObjectBuilder::new().schema_type(self.kind.clone()).pattern(self.pattern).minimum(minimum);
        let mut header = HeaderBuilder::new().schema(Some(schema)).description(Some(self.meaning)).build();
        if !matches!(self.comes_with, With::Limited) {
            // A member of the Header Object that utoipa does not know.
            header.extensions = Some([("required", true)].into_iter().collect());
        }
        header
    }
}

impl With {
    fn includes(&self, status: &str, is_limited: bool) -> bool {
        match self {
            Self::Every => true,
            Self::Status(statuses) => statuses.contains(&status),
            Self::Limited => is_limited,
        }
    }
}

const FIELDS: &[Field] = &[
    Field {
        name: "x-request-id",
        meaning: "Names the request: the client's own id where it sent a good one.",
        kind: Type::String,
        pattern: Some("^[A-Za-z0-9._-]{1,64}$"),
        comes_with: With::Every,
    },
    Field {
        name: "Cache-Control",
        meaning: "`no-store` for tokens, accounts and errors; what anybody may keep says for how long.",
        kind: Type::String,
        pattern: Some("^(no-store|public, max-age=[0-9]+)$"),
        comes_with: With::Every,
    },
    Field {
        name: "WWW-Authenticate",
        meaning: "How to authenticate (RFC 6750).",
        kind: Type::String,
        pattern: Some("^Bearer"),
        comes_with: With::Status(&["401"]),
    },
    Field {
        name: "Allow",
        meaning: "The methods that are there.",
        kind: Type::String,
        pattern: Some("^[A-Z]+(, [A-Z]+)*$"),
        comes_with: With::Status(&["405"]),
    },
    Field {
        name: "Retry-After",
        meaning: "After how many seconds to try again.",
        kind: Type::Integer,
        pattern: None,
        comes_with: With::Status(&["429", "503"]),
    },
    // draft-ietf-httpapi-ratelimit-headers
    Field {
        name: "RateLimit",
        meaning: "How many calls are left to this address (`r`), and in how many seconds all are back (`t`).",
        kind: Type::String,
        pattern: None,
        comes_with: With::Limited,
    },
    Field {
        name: "RateLimit-Policy",
        meaning: "How many calls may come at once (`q`), and in how many seconds so many are back (`w`).",
        kind: Type::String,
        pattern: None,
        comes_with: With::Limited,
    },
];

/// A network address, as text.
pub(crate) fn ip(meaning: &str, example: &str, is_nullable: bool) -> RefOr<Schema> {
    let format =
        |name| ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom(name)));
    let schema = AnyOfBuilder::new()
        .item(format("ipv4".to_owned()))
        .item(format("ipv6".to_owned()))
        .description(Some(meaning))
        .examples([example]);
    let schema = match is_nullable {
        true => schema.item(ObjectBuilder::new().schema_type(Type::Null)),
        false => schema,
    };
    Schema::AnyOf(schema.build()).into()
}

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
    let responses =
        by_status.into_iter().map(|(status, codes)| (status.to_string(), RefOr::T(problem_response(codes))));
    responses.collect()
}

fn problem_response(codes: impl IntoIterator<Item = ProblemCode>) -> Response {
    let meanings: Vec<_> =
        codes.into_iter().map(|code| format!("`{}`: {}.", code.word(), code.title())).collect();
    let schema = Ref::from_schema_name(ProblemBody::name());
    ResponseBuilder::new()
        .description(meanings.join(" "))
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build())
        .build()
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

/// What a route that asks the store may answer. A full disk refuses reads too where they need room, as sorting may.
pub(crate) const STORE: &[ProblemCode] =
    &[ProblemCode::Overloaded, ProblemCode::StorageUnavailable, ProblemCode::StorageFull];

/// What a route that gives out tokens may answer.
pub(crate) const TOKENS: &[ProblemCode] = &[ProblemCode::NotReady];

/// What a route behind an access token may answer, besides [`STORE`].
pub(crate) const BEARER: &[ProblemCode] =
    &[ProblemCode::MissingToken, ProblemCode::InvalidToken, ProblemCode::NotReady];

#[cfg(test)]
mod tests {
    use portcullis_domain::password::PasswordAttempt;
    use portcullis_domain::password::policy::PasswordPolicy;
    use portcullis_domain::username::{CanonicalName, Username};
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
        for word in words {
            let marked = format!("`{word}`: ");
            assert!(descriptions.iter().any(|text| text.contains(&marked)), "{word}");
        }
    }

    const LIMITED_ROUTES: [(&str, &str); 6] = [
        ("post", "/register"),
        ("post", "/login"),
        ("post", "/refresh"),
        ("put", "/me/password"),
        ("delete", "/me"),
        ("post", "/me/delete"),
    ];

    /// Those that ask for a password.
    const THROTTLED_ROUTES: [(&str, &str); 4] =
        [("post", "/login"), ("put", "/me/password"), ("delete", "/me"), ("post", "/me/delete")];

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
    fn what_belongs_to_no_operation_is_documented_once() {
        let document = document();
        for (name, field) in [("MethodNotAllowed", "Allow"), ("PreflightRefused", "Cache-Control")] {
            let response = &document["components"]["responses"][name];
            assert!(
                response["headers"][field].is_object() && response["headers"]["x-request-id"].is_object()
            );
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
            assert!(
                of_status.clone().all(|(_, response)| response["headers"][field].is_object()),
                "{status}"
            );
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
        let password = bounds(None, PasswordAttempt::MAX_LENGTH);
        let new_password = bounds(Some(PasswordPolicy::LOWEST_MIN_LENGTH), PasswordAttempt::MAX_LENGTH);
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
            "unchanged",
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
