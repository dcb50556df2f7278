//! Identifiers: UUID version 7 (RFC 9562), so that rows made together lie together in an index.

use std::fmt;

use uuid::{Builder, Uuid};

use crate::ports::Entropy;
use crate::time::UnixTime;

/// Makes a UUIDv7 from a time and 74 random bits.
///
/// Unique, not secret: nothing is ever granted to whoever knows an id.
pub fn uuid_v7(now: UnixTime, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(now.as_micros().div_euclid(1_000)).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID read from a store or a token.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Makes a new id (UUIDv7).
            pub fn new(now: UnixTime, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(now, entropy))
            }

            /// The UUID itself.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

id! {
    /// Names a user for ever, whatever becomes of the username.
    UserId;
    /// Names a session: one login on one device.
    SessionId;
    /// Names an access token (its `jti`).
    TokenId;
    /// Names a security event.
    EventId;
}
