//! The path below which clients find the API: it precedes the links in responses.

use std::future::Future;
use std::pin::Pin;
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

/// Runs `future` for a request below `base_path`, if there is one.
pub(crate) fn scope<F: Future + 'static>(
    base_path: Option<Arc<str>>,
    future: F,
) -> Pin<Box<dyn Future<Output = F::Output>>> {
    match base_path {
        Some(base_path) => Box::pin(BASE_PATH.scope(base_path, future)),
        None => Box::pin(future),
    }
}

/// Runs `work` for a request below `base_path`, if there is one.
pub(crate) fn scope_blocking<T>(base_path: Option<Arc<str>>, work: impl FnOnce() -> T) -> T {
    match base_path {
        Some(base_path) => BASE_PATH.sync_scope(base_path, work),
        None => work(),
    }
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
