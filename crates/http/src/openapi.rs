//! The OpenAPI document, gathered from the routes.
//!
//! Client generators read it, so it keeps these rules (`tests.rs` checks them):
//! - Every operation has an explicit, unique `operationId`.
//! - A response has no closed list: words are plain strings whose description lists them (`respond/vocabulary.rs`).
//! - A response member without a value is `null`. Only members listed in the tests may be left out.
//! - Every string and every number has an example, and the examples are valid.

#[cfg(test)]
mod tests;

use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, SchemaFormat};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Header, HeaderBuilder, ObjectBuilder, OpenApi as Document, Ref, RefOr, Response, Schema, ServerBuilder,
    Type,
};
use utoipa::{Modify, OpenApi};

use crate::config::HttpConfig;
use crate::respond::base_path;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::{self, ProblemBody};
use crate::respond::problem_responses::problem_response;
use crate::respond::violation::{Violation, ViolationCode};
use crate::routes::route::{Subject, operations};
use crate::routes::subjects;

/// Returns the OpenAPI document of a server at an unknown address: its one server is `/`, which is relative to the address
/// of the document.
pub fn openapi() -> Document {
    openapi_at(&subjects(&HttpConfig::default()), "/", "The server that has this document.")
}

/// Returns the OpenAPI document as the server with these subjects and this public URL serves it.
pub(crate) fn openapi_of(subjects: &[Subject], public_url: &str) -> Document {
    openapi_at(subjects, public_url, "The public URL of this server.")
}

fn openapi_at(subjects: &[Subject], url: &str, description: &str) -> Document {
    let mut document = Common::openapi();
    let base_path = base_path::of_url(url);
    add_problem_examples(&mut document, base_path.as_deref());
    document.servers = Some(vec![ServerBuilder::new().url(url).description(Some(description)).build()]);
    for subject in subjects {
        let (tag, description) = subject.tag;
        let tags = document.tags.get_or_insert_default();
        if tags.iter().all(|other| other.name != tag) {
            tags.push(TagBuilder::new().name(tag).description(Some(description)).build());
        }
        for route in &subject.routes {
            let mut part = route.document();
            for (_, operation) in part.paths.paths.values_mut().flat_map(operations) {
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response {
                        add_fields(response, status, route.limit().is_some());
                    }
                }
            }
            document.merge(part);
        }
    }
    forbid_unknown_members(&mut document);
    document
}

/// The parts that belong to no route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis",
        version = "1",
        description = "Registers users, logs them in and issues access tokens that other services can verify.\n\n\
            Every error is a problem document (RFC 9457); `GET /problems` lists the problem codes. Every response has an \
            `x-request-id`. A response member without a value is `null`.\n\n\
            HEAD is accepted like GET. Other methods than the listed ones return 405 (the response \
            `MethodNotAllowed`); a preflight request of an origin that is not allowed returns 403 \
            (`PreflightRefused`). Requests that the HTTP parser refuses get a bare 400, 408 or 431, and the connection \
            closes.\n\n\
            Within version 1, changes are additive: responses may get further members, and lists of words may grow.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemBody, ProblemCode, Violation, ViolationCode)),
    modifiers(&AccessTokens, &Fields),
)]
struct Common;

/// Adds the security scheme of access tokens.
struct AccessTokens;

impl Modify for AccessTokens {
    fn modify(&self, document: &mut Document) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        scheme.description =
            Some("The `access_token` of a login, a refresh or a password change.".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("access_token", SecurityScheme::Http(scheme));
    }
}

/// Forbids further members in requests.
fn forbid_unknown_members(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(object)) = schema
            && name.ends_with("Request")
        {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// Adds the header fields that responses refer to, and the responses that belong to no operation.
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
    }
}

/// Adds an example of every problem, as a service below `base_path` returns it.
fn add_problem_examples(document: &mut Document, base_path: Option<&str>) {
    let components = document.components.get_or_insert_default();
    for code in ProblemCode::ALL {
        let example = ExampleBuilder::new().value(Some(problem::example(*code, base_path))).build();
        components.examples.insert(code.word().to_owned(), RefOr::T(example));
    }
}

fn add_fields(response: &mut Response, status: &str, is_limited: bool) {
    for field in FIELDS.iter().filter(|field| field.comes_with.includes(status, is_limited)) {
        let reference = Ref::new(format!("#/components/headers/{}", field.name));
        response.headers.insert(field.name.to_owned(), RefOr::Ref(reference));
    }
}

/// The responses that belong to no operation.
const WITHOUT_OPERATION: &[(&str, ProblemCode)] =
    &[("MethodNotAllowed", ProblemCode::MethodNotAllowed), ("PreflightRefused", ProblemCode::Forbidden)];

/// A header field of responses.
struct Field {
    name: &'static str,
    meaning: &'static str,
    kind: Type,
    pattern: Option<&'static str>,
    comes_with: With,
}

/// The responses that have a header field.
enum With {
    Every,
    Status(&'static [&'static str]),
    /// The responses of routes with a limit, unless limits are switched off.
    Limited,
}

impl Field {
    fn header(&self) -> Header {
        // The one number is a time to wait.
        let is_integer = matches!(self.kind, Type::Integer);
        let format = is_integer.then_some(SchemaFormat::KnownFormat(KnownFormat::Int32));
        let minimum = is_integer.then_some(1);
        let schema = ObjectBuilder::new()
            .schema_type(self.kind.clone())
            .format(format)
            .pattern(self.pattern)
            .minimum(minimum);
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
        meaning: "The id of the request. A valid id sent by the client is kept.",
        kind: Type::String,
        pattern: Some("^[A-Za-z0-9._-]{1,64}$"),
        comes_with: With::Every,
    },
    Field {
        name: "Cache-Control",
        meaning: "`no-store` for tokens, accounts and errors; `public` with a `max-age` for documents.",
        kind: Type::String,
        pattern: Some("^(no-store|public, max-age=[0-9]+)$"),
        comes_with: With::Every,
    },
    Field {
        name: "WWW-Authenticate",
        meaning: "The authentication scheme, with `error` if a token was refused (RFC 6750).",
        kind: Type::String,
        pattern: Some("^Bearer"),
        comes_with: With::Status(&["401"]),
    },
    Field {
        name: "Allow",
        meaning: "The methods of the resource.",
        kind: Type::String,
        pattern: Some("^[A-Z]+(, [A-Z]+)*$"),
        comes_with: With::Status(&["405"]),
    },
    Field {
        name: "Retry-After",
        meaning: "The number of seconds after which to repeat the request.",
        kind: Type::Integer,
        pattern: None,
        comes_with: With::Status(&["429", "503"]),
    },
    // draft-ietf-httpapi-ratelimit-headers
    Field {
        name: "RateLimit",
        meaning: "The number of requests left to this address (`r`), and the seconds until all are available again (`t`).",
        kind: Type::String,
        pattern: None,
        comes_with: With::Limited,
    },
    Field {
        name: "RateLimit-Policy",
        meaning: "The number of requests allowed at once (`q`), and the seconds until all of them are available again (`w`).",
        kind: Type::String,
        pattern: None,
        comes_with: With::Limited,
    },
];
