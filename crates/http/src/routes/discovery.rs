//! What clients and resource servers look up.

pub(crate) mod problems;
pub(crate) mod well_known;

use crate::routes::route::Subject;

pub(crate) fn subject() -> Subject {
    let routes = [well_known::routes(), problems::routes()];
    Subject { tag: TAG, routes: routes.into_iter().flatten().collect() }
}

/// The tag of the operations, and its description.
pub(crate) const TAG: (&str, &str) =
    ("discovery", "Verification keys, metadata, problem codes and this document.");
