//! The server: its listening socket, and the connections of its clients.

pub(crate) mod connection;
pub(crate) mod serve;
pub(crate) mod turn;
