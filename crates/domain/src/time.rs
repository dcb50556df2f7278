//! Time as the domain knows it: a number handed in, never read from a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Arithmetic saturates at the ends of the range (about ±292,000 years), so that no lifetime from the settings
/// can overflow.
///
/// ```
/// use portcullis_domain::time::UnixTime;
/// use std::time::Duration;
///
/// let t = UnixTime::from_secs(10) + Duration::from_millis(1_500);
/// assert_eq!(t.as_micros(), 11_500_000);
/// assert_eq!(t.as_secs(), 11, "dates of tokens round down");
/// assert_eq!(UnixTime::from_micros(-1).as_secs(), -1, "also before 1970");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The moment this many microseconds after 1970 (before it, when negative).
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment this many whole seconds after 1970.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down: the `NumericDate` of RFC 7519.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The first whole second after this moment.
    #[must_use]
    pub const fn next_second(self) -> Self {
        Self::from_secs(self.as_secs().saturating_add(1))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixTime({}.{:06})", self.as_secs(), self.0.rem_euclid(1_000_000))
    }
}

/// What time it is for a store that many instances share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTime {
    /// What its clock shows.
    pub now: UnixTime,
    /// The newest moment that an instance left in it as a mark: no time before this comes back.
    pub high_water_mark: UnixTime,
}

/// A duration in microseconds, as databases and the arithmetic above count; saturates.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let end = UnixTime::from_micros(i64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(UnixTime::from_secs(i64::MAX), end);
        assert_eq!(UnixTime::EPOCH + Duration::MAX, end);
    }

    #[test]
    fn the_next_second_lies_ahead() {
        let check = |micros, secs| {
            assert_eq!(UnixTime::from_micros(micros).next_second(), UnixTime::from_secs(secs), "{micros}");
        };
        check(0, 1);
        check(999_999, 1);
        check(1_000_000, 2);
        check(-1, 0);
        check(-1_000_000, 0);
        check(-1_000_001, -1);
    }

    #[test]
    fn since_is_zero_for_the_future() {
        let (early, late) = (UnixTime::from_secs(1), UnixTime::from_secs(3));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
