//! Sessions: login, refresh, logout, and the sessions of a user.

pub(crate) mod end;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod protected;
pub(crate) mod refresh;
