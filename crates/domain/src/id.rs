//! Identifiers: UUID version 7 (RFC 9562), so that rows made together lie together in an index.

use std::fmt;

use uuid::Builder;
/// The type of which every ID is made, so that a store needs no dependency on the same version of `uuid`.
pub use uuid::Uuid;

use crate::ports::SecureRandom;
use crate::time::UnixTime;

/// Makes a UUIDv7 from a time and 74 random bits.
///
/// Unique, not secret: nothing is ever granted to whoever knows an id.
pub fn uuid_v7(now: UnixTime, random: &dyn SecureRandom) -> Uuid {
    let mut bits = [0; 10];
    random.fill(&mut bits);
    uuid_v7_of(now, bits)
}

/// Makes a UUIDv7 from a time and 74 of these bits, for who makes many and counts instead of asking for randomness each
/// time (RFC 9562, section 6.2).
pub fn uuid_v7_of(now: UnixTime, bits: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_micros().div_euclid(1_000)).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
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
            pub fn new(now: UnixTime, random: &dyn SecureRandom) -> Self {
                Self(uuid_v7(now, random))
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

impl EventId {
    /// The id of the same event of one of several things: the time of this one, and the random bits of both mixed, so
    /// that it is as unique as they are.
    #[must_use]
    pub(crate) const fn derived(self, one: Uuid) -> Self {
        /// The bits that are neither time, version nor variant.
        const RANDOM: u128 = 0x0fff_3fff_ffff_ffff_ffff;
        Self(Uuid::from_u128(self.0.as_u128() ^ (one.as_u128() & RANDOM)))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_keep_time_version_and_variant() {
        let event = EventId(Uuid::from_u128(0x0190_0000_0001_7abc_8def_0123_4567_89ab));
        let [one, other] =
            [0x0198_7654_3210_7fed_bcba_9876_5432_10fe, 0x0198_7654_3210_7fed_bcba_9876_5432_10ff]
                .map(|bits| event.derived(Uuid::from_u128(bits)).0);
        for id in [one, other] {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            assert_eq!(id.as_u128() >> 80, event.0.as_u128() >> 80);
        }
        assert!(one != other && one != event.0);
    }
}
