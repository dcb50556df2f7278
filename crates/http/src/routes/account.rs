//! The account of a user and its password.

pub(crate) mod activity;
pub(crate) mod change_password;
pub(crate) mod delete;
pub(crate) mod password_policy;
pub(crate) mod profile;
pub(crate) mod register;
