//! The commands of the program, except `serve`.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod health;
pub(crate) mod key;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod user;
