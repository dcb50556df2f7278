//! Health checks for operators and load balancers.

pub(crate) mod health;

use crate::routes::route::Subject;

pub(crate) fn subject() -> Subject {
    let routes = [health::routes()];
    Subject { tag: TAG, routes: routes.into_iter().flatten().collect() }
}

/// The tag of the operations, and its description.
const TAG: (&str, &str) = ("operation", "Health checks for operators and load balancers.");
