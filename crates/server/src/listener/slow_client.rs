//! Connections of clients that send or read slowly, too much, or not at all.

mod connection;
mod framing;
mod turn;

pub(super) use self::connection::Connection;
pub(super) use self::turn::answer;
