//! The table of routes. The tests of rules that hold for every route take their cases from here.

use std::sync::LazyLock;

use actix_web::http::Method;
use portcullis_http::{Access, Route, routes};
use serde_json::Value;

use crate::contract::DOCUMENT;

/// The rows that a build with limits has. A changed row is a changed API: the difference belongs into the changelog.
#[cfg(feature = "governor")]
#[test]
fn table_is_the_one_in_routes_txt() {
    let lines = routes().iter().map(line).collect::<Vec<_>>().join("\n");
    assert_eq!(
        lines,
        include_str!("routes.txt").trim_end(),
        "write this into tests/api/routes.txt:\n{lines}\n"
    );
}

#[cfg(feature = "governor")]
fn line(route: &Route) -> String {
    let access = match route.access() {
        Access::Public => "public",
        Access::Token => "token",
        Access::OptionalToken => "optional token",
    };
    let limit = route.limit().map(|limit| format!(", limit {limit:?}")).unwrap_or_default();
    let throttle = if route.is_throttled() { ", throttled" } else { "" };
    format!("{} {} {}: {access}{limit}{throttle}", route.method(), route.path(), route.operation_id())
}

#[test]
fn every_route_has_a_row_in_the_readme() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for route in routes() {
        // The files belong to the page of `/docs`.
        if route.path() != "/docs/{file}" {
            let call = format!("`{} {}`", route.method(), route.path());
            assert!(readme.contains(&call), "add a row for {call} to the table of the API in README.md");
        }
    }
}

#[test]
fn routes_and_openapi_document_agree() {
    let mut described = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let has_limit = operation["responses"]["400"]["headers"]["RateLimit"].is_object();
            described.push((path.clone(), method.to_uppercase(), operation["security"].clone(), has_limit));
        }
    }
    let mut served: Vec<_> = routes()
        .iter()
        .map(|route| {
            let security = match route.access() {
                Access::Public => Value::Null,
                Access::Token => serde_json::json!([{"access_token": []}]),
                Access::OptionalToken => serde_json::json!([{}, {"access_token": []}]),
            };
            let limited = route.limit().is_some();
            (route.path().to_owned(), route.method().to_string(), security, limited)
        })
        .collect();
    let key = |row: &(String, String, Value, bool)| (row.0.clone(), row.1.clone());
    described.sort_by_key(key);
    served.sort_by_key(key);
    assert_eq!(served, described);
}

/// A path that the API serves, with examples for its parameters.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) path: String,
    /// The methods, as `Allow` lists them.
    pub(crate) allow: String,
}

impl Resource {
    pub(crate) fn has_get(&self) -> bool {
        self.allow.starts_with("GET, HEAD")
    }
}

/// Every path that the API serves.
pub(crate) static RESOURCES: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let mut resources: Vec<Resource> = Vec::new();
    for route in routes() {
        let (path, method) = (example_path(&route), allow_of(route.method()));
        match resources.iter_mut().find(|resource| resource.path == path) {
            Some(resource) => resource.allow = format!("{}, {method}", resource.allow),
            None => resources.push(Resource { path, allow: method.to_owned() }),
        }
    }
    resources
});

/// Returns the path of a route, with the examples of the OpenAPI document for its parameters.
pub(crate) fn example_path(route: &Route) -> String {
    let operation = &DOCUMENT["paths"][route.path()][route.method().as_str().to_lowercase()];
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let in_path = parameters.filter(|parameter| parameter["in"] == "path");
    in_path.fold(route.path().to_owned(), |path, parameter| {
        let name = parameter["name"].as_str().unwrap();
        path.replace(&format!("{{{name}}}"), parameter["example"].as_str().unwrap())
    })
}

/// HEAD works where GET does.
fn allow_of(method: &Method) -> &str {
    match method {
        &Method::GET => "GET, HEAD",
        other => other.as_str(),
    }
}
