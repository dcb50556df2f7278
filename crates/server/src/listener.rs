//! The server: its listening socket, and the connections of its clients.

mod announce;
pub(crate) mod serve;
mod slow_client;
mod socket;
