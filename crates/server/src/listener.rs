//! The server: its listening socket, and the connections of its clients.

mod announce;
mod connection;
pub(crate) mod serve;
mod socket;
mod turn;
