//! `GET /problems` and `GET /problems/{code}`: the catalogue of errors, where their `type` points to.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data};
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::path::PathParameters;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json::{self, JSON};
use crate::respond::problem::{HandlerResult, type_uri};
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Lists all problem codes
#[utoipa::path(
    get, path = "/problems", tag = "discovery", operation_id = "listProblems",
    responses((status = 200, description = "The catalogue.", body = Catalogue)),
)]
pub(crate) async fn problems(catalogue: Data<CatalogueDocument>) -> HttpResponse {
    json::cacheable(JSON, catalogue.0.clone())
}

/// Explains a problem code
#[utoipa::path(
    get, path = "/problems/{code}", tag = "discovery", operation_id = "getProblem",
    params(("code" = ProblemCode, Path, example = "not_found", description = "The `code` of the problem.")),
    responses((status = 200, description = "The explanation.", body = Explanation)),
)]
pub(crate) async fn problem(api: Data<ApiState>, path: PathParameters) -> HandlerResult {
    let code = path.get("code")?;
    let code = ProblemCode::ALL.iter().find(|known| known.word() == code).ok_or(ProblemCode::NotFound)?;
    Ok(json::cacheable(JSON, json::to_json(&Explanation::new(*code, api.base_path.as_deref())).into()))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(problems).public().problems(&[ProblemCode::NotFound]),
        route!(problem).public().problems(&[ProblemCode::NotFound]),
    ]
}

/// The response to `GET /problems`, the same for every request.
#[derive(Debug)]
pub(crate) struct CatalogueDocument(Bytes);

impl CatalogueDocument {
    /// Creates the catalogue of an API below `base_path`.
    pub(crate) fn new(base_path: Option<&str>) -> Self {
        let problems = ProblemCode::ALL.iter().map(|code| Explanation::new(*code, base_path)).collect();
        Self(json::to_json(&Catalogue { problems }).into())
    }
}

/// All problem codes.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemCatalogue)]
pub(crate) struct Catalogue {
    problems: Vec<Explanation>,
}

/// The explanation of a problem code.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemExplanation)]
pub(crate) struct Explanation {
    /// The `type` of problems with this code.
    #[serde(rename = "type")]
    #[schema(value_type = String, format = "uri-reference", example = "/problems/not_found")]
    uri: Cow<'static, str>,
    code: ProblemCode,
    /// The status of responses with this code.
    #[schema(format = Int32, minimum = 400, maximum = 599, example = 404)]
    status: u16,
    /// A short sentence for people.
    #[schema(example = "There is nothing here")]
    title: &'static str,
    /// The meaning of the code and what a client can do.
    #[schema(
        example = "No resource has this path. Paths are exact: no trailing slash, no percent-encoding."
    )]
    detail: &'static str,
}

impl Explanation {
    fn new(code: ProblemCode, base_path: Option<&str>) -> Self {
        Self {
            uri: type_uri(code, base_path),
            code,
            status: code.status().as_u16(),
            title: code.title(),
            detail: code.detail(),
        }
    }
}
