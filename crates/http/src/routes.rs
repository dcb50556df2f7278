//! The routes, by subject. Each handler has its row beside it; this is only the list of subjects.

pub(crate) mod account;
pub(crate) mod discovery;
pub(crate) mod docs;
pub(crate) mod ops;
pub(crate) mod route;
pub(crate) mod router;
pub(crate) mod session;

use self::route::{Route, Subject};
use crate::config::HttpConfig;

/// Returns every route of a service that has its documentation switched on.
pub fn routes() -> Vec<Route> {
    subjects(&HttpConfig::default()).into_iter().flat_map(|subject| subject.routes).collect()
}

/// Returns the subjects of a service with this configuration. What a service does not have is neither routed nor described.
pub(crate) fn subjects(config: &HttpConfig) -> Vec<Subject> {
    let mut subjects = vec![account::subject(), session::subject(), discovery::subject(), ops::subject()];
    subjects.extend(config.docs.then(docs::subject));
    subjects
}
