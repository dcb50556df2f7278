//! The API in process: the whole stack of [`portcullis_http::app`] over ports in memory, one file per route and one
//! per rule that holds for all.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that uses them")]

mod access_log;
mod contract;
mod cors;
mod discovery;
mod docs;
mod faults;
mod headers;
mod health;
mod holdable_hasher;
#[cfg(feature = "governor")]
mod limits;
mod login;
mod logout;
mod me;
mod me_activity;
mod me_password;
mod me_sessions;
mod mounted;
mod overload;
mod password_policy;
mod problems;
mod protected;
mod refresh;
mod register;
mod routes;
mod routing;
mod strict_json;
mod test_app;
mod throttle;
