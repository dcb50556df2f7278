//! `GET /problems` and `GET /problems/{code}`: the catalogue of errors, where their `type` points to.

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path};
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::Api;
use crate::answer::{self, JSON};
use crate::openapi;
use crate::problem::ProblemCode;

/// Lists every error there is
#[utoipa::path(
    get, path = "/problems", tag = "discovery",
    responses((status = 200, description = "The catalogue.", body = Catalogue), Problems),
)]
pub(crate) async fn problems(api: Data<Api>) -> HttpResponse {
    answer::cacheable(JSON, api.documents.problems.clone())
}

/// Explains one error
#[utoipa::path(
    get, path = "/problems/{code}", tag = "discovery",
    params(("code" = ProblemCode, Path, description = "The `code` of the error.")),
    responses((status = 200, description = "The explanation.", body = Explanation), Problems),
)]
pub(crate) async fn problem(code: Path<String>) -> Answer {
    let code = ProblemCode::ALL.iter().find(|known| known.word() == *code).ok_or(ProblemCode::NotFound)?;
    Ok(answer::cacheable(JSON, answer::to_json(&Explanation::from(*code)).into()))
}

pub(super) fn all() -> Bytes {
    let problems = ProblemCode::ALL.iter().map(|code| Explanation::from(*code)).collect();
    answer::to_json(&Catalogue { problems }).into()
}

/// Every error there is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Catalogue {
    problems: Vec<Explanation>,
}

/// What an error means.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// The `type` of such problems.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/problems/not_found")]
    uri: &'static str,
    code: ProblemCode,
    /// The status of such answers.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    status: u16,
    title: &'static str,
    /// What it means and what to do.
    detail: &'static str,
}

impl From<ProblemCode> for Explanation {
    fn from(code: ProblemCode) -> Self {
        Self {
            uri: code.uri(),
            code,
            status: code.status().as_u16(),
            title: code.title(),
            detail: code.detail(),
        }
    }
}

openapi::problems!(&[ProblemCode::NotFound]);
