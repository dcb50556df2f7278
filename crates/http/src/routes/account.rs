//! The account of a user and its password.

pub(crate) mod activity;
pub(crate) mod change_password;
pub(crate) mod delete;
pub(crate) mod password_policy;
pub(crate) mod profile;
pub(crate) mod register;

use crate::routes::route::Subject;

pub(crate) fn subject() -> Subject {
    let routes = [
        register::routes(),
        profile::routes(),
        delete::routes(),
        change_password::routes(),
        activity::routes(),
        password_policy::routes(),
    ];
    Subject { tag: TAG, routes: routes.into_iter().flatten().collect() }
}

/// The tag of the operations, and its description.
const TAG: (&str, &str) = ("account", "Registration, the user's account and its password.");
