//! Query strings.

/// Whether a query parameter was added by a library, which happens for cache busting and statistics. Any other unknown
/// name may be misspelt, and is refused on routes with parameters.
pub(crate) fn is_foreign(parameter: &str) -> bool {
    parameter.starts_with('_') || parameter.starts_with("utm_")
}
