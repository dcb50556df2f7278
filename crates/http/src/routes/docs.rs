//! The description of the API, for programs and for people.

pub(crate) mod page;

use crate::routes::discovery;
use crate::routes::route::Subject;

pub(crate) fn subject() -> Subject {
    Subject { tag: discovery::TAG, routes: page::routes() }
}
