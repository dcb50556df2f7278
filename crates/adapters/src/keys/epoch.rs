use std::time::Duration;

use portcullis_domain::session::CLOCK_TOLERANCE;
use portcullis_domain::time::UnixTime;

/// How long each signing key signs: the length of an epoch, in whole seconds.
///
/// ```
/// use portcullis_adapters::keys::{InvalidKeyRotation, KeyRotation};
/// use std::time::Duration;
///
/// let access_lifetime = Duration::from_mins(15);
/// assert!(KeyRotation::new(Duration::from_hours(6), access_lifetime).is_ok());
/// assert_eq!(
///     KeyRotation::new(Duration::from_hours(5), access_lifetime),
///     Err(InvalidKeyRotation::TooShort { min: Duration::from_hours(6) }),
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    seconds: i64,
}

impl KeyRotation {
    /// Takes a length of at least 24 lifetimes of an access token and at most a year. Keys outlive their epoch by one
    /// epoch, so every token they signed expires long before they go.
    ///
    /// # Errors
    /// [`InvalidKeyRotation`].
    pub fn new(length: Duration, access_lifetime: Duration) -> Result<Self, InvalidKeyRotation> {
        let min = access_lifetime.max(Duration::from_secs(1)).saturating_mul(24);
        match i64::try_from(length.as_secs()) {
            _ if length < min => Err(InvalidKeyRotation::TooShort { min }),
            _ if length > LONGEST => Err(InvalidKeyRotation::TooLong),
            Ok(seconds) if length.subsec_nanos() == 0 => Ok(Self { seconds }),
            _ => Err(InvalidKeyRotation::NotWholeSeconds),
        }
    }
}

/// Seven days.
impl Default for KeyRotation {
    fn default() -> Self {
        Self { seconds: 7 * 86_400 }
    }
}

/// Why keys cannot be replaced that often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyRotation {
    /// Less than 24 lifetimes of an access token.
    #[error("must be at least 24 access lifetimes, {} s", min.as_secs())]
    TooShort {
        /// The shortest for that lifetime.
        min: Duration,
    },
    /// More than a year.
    #[error("must be at most 366 days")]
    TooLong,
    /// A fraction of a second.
    #[error("must be whole seconds")]
    NotWholeSeconds,
}

/// A stretch of time with a signing key of its own. Its first second is a multiple of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch {
    /// Seconds since 1970.
    start: i64,
    /// Seconds.
    length: i64,
}

impl Epoch {
    pub(crate) fn containing(time: UnixTime, rotation: KeyRotation) -> Self {
        let length = rotation.seconds;
        Self { start: time.as_secs().div_euclid(length) * length, length }
    }

    /// The epochs before, this and next.
    pub(crate) fn with_neighbours(self) -> [Self; 3] {
        [-self.length, 0, self.length].map(|offset| Self { start: self.start + offset, ..self })
    }

    pub(super) fn from(self) -> UnixTime {
        UnixTime::from_secs(self.start)
    }

    pub(super) fn until(self) -> UnixTime {
        UnixTime::from_secs(self.start + self.length)
    }

    pub(super) fn contains(self, time: UnixTime) -> bool {
        self.from() <= time && time < self.until()
    }

    /// Whether a token issued at `time` may carry this epoch's key: the issuer's clock may be a little off.
    pub(super) fn may_sign_at(self, time: UnixTime) -> bool {
        self.from() - CLOCK_TOLERANCE <= time && time < self.until() + CLOCK_TOLERANCE
    }

    /// What stands in the label of this epoch's keys.
    pub(super) fn label(self) -> String {
        format!("{}/{}", self.start, self.length)
    }
}

/// A key that stays for years is not replaced.
const LONGEST: Duration = Duration::from_hours(366 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_have_bounds() {
        const DAY: u64 = 86_400;
        let check = |length, access, expected: Result<i64, InvalidKeyRotation>| {
            let rotation = KeyRotation::new(Duration::from_millis(length), Duration::from_secs(access));
            assert_eq!(rotation.map(|rotation| rotation.seconds), expected, "{length} ms, {access} s");
        };
        let too_short = |secs| Err(InvalidKeyRotation::TooShort { min: Duration::from_secs(secs) });
        check(7 * DAY * 1_000, 900, Ok(KeyRotation::default().seconds));
        check(DAY * 1_000, DAY / 24, Ok(86_400));
        check(DAY * 1_000 - 1, DAY / 24, too_short(DAY));
        check(0, 0, too_short(24));
        check(366 * DAY * 1_000, 1, Ok(366 * 86_400));
        check(366 * DAY * 1_000 + 1, 1, Err(InvalidKeyRotation::TooLong));
        check(u64::MAX, 1, Err(InvalidKeyRotation::TooLong));
        check(DAY * 1_000 + 500, 1, Err(InvalidKeyRotation::NotWholeSeconds));
    }

    #[test]
    fn epochs_tile_time() {
        let rotation = KeyRotation { seconds: 100 };
        let at = |secs| Epoch::containing(UnixTime::from_secs(secs), rotation);
        assert_eq!((at(200), at(299)), (Epoch { start: 200, length: 100 }, at(200)));
        assert_eq!(at(-1).label(), "-100/100");
        assert_eq!(at(250).with_neighbours(), [at(150), at(250), at(350)]);
        let edge = UnixTime::from_micros(300_000_000);
        assert!(!at(200).contains(edge) && at(300).contains(edge));
        assert!(at(200).contains(UnixTime::from_micros(edge.as_micros() - 1)));
        for extreme in [i64::MIN, i64::MAX] {
            let time = UnixTime::from_micros(extreme);
            let _does_not_overflow = Epoch::containing(time, rotation).with_neighbours().map(Epoch::until);
        }
    }

    #[test]
    fn a_key_may_sign_five_seconds_around_its_epoch() {
        let epoch = Epoch { start: 200, length: 100 };
        for (secs, expected) in [(194, false), (195, true), (250, true), (304, true), (305, false)] {
            assert_eq!(epoch.may_sign_at(UnixTime::from_secs(secs)), expected, "{secs}");
        }
    }
}
