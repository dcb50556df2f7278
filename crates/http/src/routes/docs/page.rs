//! `GET /openapi.json` and `GET /docs`: the API described, for programs and for people.
//!
//! The page is Swagger UI out of the binary: it loads nothing from elsewhere, so it works offline.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Bytes, Data};
use utoipa::openapi::OpenApi;

use crate::extract::path::PathParameters;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json::{self, JSON};
use crate::respond::problem::HandlerResult;
use crate::routes::route::{Route, route};

/// Returns the OpenAPI document of this API
#[utoipa::path(
    get, path = "/openapi.json", tag = "discovery", operation_id = "getOpenapiDocument",
    responses(
        (status = 200, description = "The document.", body = Object, content_type = "application/json"),
    ),
)]
pub(crate) async fn openapi_json(docs: Data<Docs>) -> HttpResponse {
    json::cacheable(JSON, docs.openapi.clone())
}

/// Returns the documentation page of this API
#[utoipa::path(
    get, path = "/docs", tag = "discovery", operation_id = "getDocsPage",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub(crate) async fn page() -> HttpResponse {
    let mut page = json::cacheable(HTML, Bytes::from_static(PAGE.as_bytes()));
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    page
}

/// Returns a file of the documentation page
#[utoipa::path(
    get, path = "/docs/{file}", tag = "discovery", operation_id = "getDocsFile",
    params(("file" = String, Path, example = "index.css", description = "The name of the file.")),
    responses(
        (
            status = 200, description = "The file.",
            content((String = "text/css"), (String = "text/javascript"), (String = "image/png")),
        ),
    ),
)]
pub(crate) async fn file(docs: Data<Docs>, path: PathParameters) -> HandlerResult {
    let file = docs.files.get(path.get("file")?).ok_or(ProblemCode::NotFound)?;
    let mut response = json::cacheable(file.content_type.clone(), file.content.clone());
    if file.is_compressed {
        response.headers_mut().insert(header::CONTENT_ENCODING, GZIP);
    }
    Ok(response)
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(openapi_json).public().problems(&[ProblemCode::NotFound]),
        route!(page).public().problems(&[ProblemCode::NotFound]),
        route!(file).public().problems(&[ProblemCode::NotFound]),
    ]
}

/// The description of the API and the parts of its page.
pub(crate) struct Docs {
    openapi: Bytes,
    files: BTreeMap<&'static str, File>,
}

/// A part of the page. Most are compressed at build time and sent as they are, for every browser takes them so.
struct File {
    content_type: HeaderValue,
    content: Bytes,
    is_compressed: bool,
}

impl Docs {
    pub(crate) fn new(openapi: &OpenApi) -> Self {
        let config = Arc::new(utoipa_swagger_ui::Config::default());
        let files = FILES.iter().filter_map(|(name, content_type)| {
            let (content, is_compressed) = match *name {
                INITIALIZER => (Bytes::from_static(include_bytes!("initializer.js")), false),
                _ => {
                    let file = utoipa_swagger_ui::serve(name, Arc::clone(&config)).ok().flatten()?;
                    let content = match file.bytes {
                        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                        Cow::Owned(bytes) => Bytes::from(bytes),
                    };
                    (content, file.gzpipped)
                }
            };
            let content_type = HeaderValue::from_static(content_type);
            Some((*name, File { content_type, content, is_compressed }))
        });
        Self { openapi: json::to_json(openapi).into(), files: files.collect() }
    }
}

/// Half a megabyte of compressed JavaScript is nothing to print.
impl fmt::Debug for Docs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docs").finish_non_exhaustive()
    }
}

/// The parts that the page asks for.
const FILES: [(&str, &str); 5] = [
    ("favicon-32x32.png", "image/png"),
    ("index.css", "text/css; charset=utf-8"),
    (INITIALIZER, "text/javascript; charset=utf-8"),
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("swagger-ui.css", "text/css; charset=utf-8"),
];

/// Ours: the one that comes along brings a bar in which any other description could be loaded.
const INITIALIZER: &str = "swagger-initializer.js";

const PAGE: &str = include_str!("page.html");

const GZIP: HeaderValue = HeaderValue::from_static("gzip");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Everything from here and nothing from elsewhere. Swagger UI styles its elements one by one.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_all_its_parts_and_no_others() {
        let docs = Docs::new(&OpenApi::default());
        assert_eq!(docs.files.len(), FILES.len());
        for (name, file) in &docs.files {
            assert!(!file.content.is_empty(), "{name}");
            assert_eq!(file.is_compressed, file.content.starts_with(b"\x1f\x8b"), "{name}");
            assert_eq!(file.is_compressed, *name != INITIALIZER, "{name}");
        }
        let asked_for = PAGE.split("\"docs/").skip(1).filter_map(|rest| rest.split('"').next());
        let asked_for: std::collections::BTreeSet<_> = asked_for.collect();
        assert_eq!(asked_for, docs.files.keys().copied().collect());
    }

    // ASVS 14.2.3
    #[test]
    fn the_page_asks_nobody_else() {
        let docs = Docs::new(&OpenApi::default());
        let initializer = String::from_utf8_lossy(&docs.files[INITIALIZER].content).into_owned();
        assert!(initializer.contains(r#"validatorUrl: "none""#), "{initializer}");
        assert!(initializer.contains(r#"fetch("openapi.json")"#), "{initializer}");
        assert!(!PAGE.contains("http"));
    }
}
