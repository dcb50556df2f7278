//! The problems that operations return, as responses.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::ToSchema;
use utoipa::openapi::example::Example;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::ProblemBody;

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

pub(crate) fn problem_response(codes: impl IntoIterator<Item = ProblemCode>) -> Response {
    let codes: Vec<_> = codes.into_iter().collect();
    let meanings: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.word(), code.title())).collect();
    let examples = codes.iter().map(|code| {
        let reference = Ref::new(format!("#/components/examples/{}", code.word()));
        (code.word(), RefOr::<Example>::Ref(reference))
    });
    let schema = Ref::from_schema_name(ProblemBody::name());
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    ResponseBuilder::new()
        .description(meanings.join(" "))
        .content("application/problem+json", content)
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

/// What a route with a limit may answer.
pub(crate) const LIMITED: &[ProblemCode] = &[ProblemCode::RateLimited];

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
