//! Sessions: login, refresh, logout, and the sessions of a user.

pub(crate) mod end;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod protected;
pub(crate) mod refresh;

use crate::routes::route::Subject;

pub(crate) fn subject() -> Subject {
    let routes = [
        login::routes(),
        refresh::routes(),
        logout::routes(),
        protected::routes(),
        list::routes(),
        end::routes(),
    ];
    Subject { tag: TAG, routes: routes.into_iter().flatten().collect() }
}

/// The tag of the operations, and its description.
const TAG: (&str, &str) = ("session", "Login, token refresh, logout and the user's sessions.");
