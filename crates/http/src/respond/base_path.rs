//! The path below which clients find the API: it precedes the links in responses.

use std::future::Future;
use std::sync::Arc;

use actix_web::http::Uri;

/// Returns the path of a public URL, without a slash at the end; `None` if it has none.
pub(crate) fn of_url(public_url: &str) -> Option<Arc<str>> {
    let uri: Uri = public_url.parse().ok()?;
    let path = uri.path().trim_end_matches('/');
    (!path.is_empty()).then(|| Arc::from(path))
}

/// Returns the base path of the request being served.
pub(crate) fn current() -> Option<Arc<str>> {
    BASE_PATH.try_with(Arc::clone).ok()
}

/// Runs `future` for a request below `base_path`.
pub(crate) fn scope<F: Future>(base_path: Arc<str>, future: F) -> impl Future<Output = F::Output> {
    BASE_PATH.scope(base_path, future)
}

tokio::task_local! {
    static BASE_PATH: Arc<str>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_path_is_the_path_of_the_public_url() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(of_url(url).as_deref(), expected, "{url}");
        check("https://example.com", None);
        check("http://127.0.0.1:8080/", None);
        check("https://example.com/auth", Some("/auth"));
        check("https://example.com/a/b/", Some("/a/b"));
    }
}
