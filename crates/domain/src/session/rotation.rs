use std::time::Duration;

use crate::id::{SessionId, UserId};
use crate::session::CLOCK_TOLERANCE;
use crate::time::UnixTime;

/// Which of a session's refresh tokens one is: each rotation adds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u32);

impl Generation {
    /// The generation of a session just opened.
    pub const FIRST: Self = Self(0);

    /// A generation read from a store or a token.
    pub const fn new(generation: u32) -> Self {
        Self(generation)
    }

    /// The number that stores and tokens carry.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The generation that replaces this one. (At a rotation a second, 2³² last 136 years.)
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The newest generation that a session gave out, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentGeneration {
    /// The newest generation.
    pub generation: Generation,
    /// When it became the newest.
    pub at: UnixTime,
}

/// What it means when a live session's refresh token of some generation is presented.
///
/// A client whose reply was lost, or whose second tab refreshes too, presents the generation before the newest: for
/// a short grace it gets the same successor again. A client that presents it later, or any older one, holds a copy:
/// the session was stolen (RFC 9700, section 4.14.2).
///
/// ```
/// use portcullis_domain::session::{Generation, ReuseCheck, CurrentGeneration};
/// use portcullis_domain::time::UnixTime;
/// use std::time::Duration;
///
/// let stored = CurrentGeneration { generation: Generation::new(7), at: UnixTime::from_secs(100) };
/// let grace = Duration::from_secs(30);
/// let meaning = |generation, now| {
///     ReuseCheck::of(Generation::new(generation), stored, UnixTime::from_secs(now), grace)
/// };
/// assert_eq!(meaning(7, 500), ReuseCheck::Current);
/// assert_eq!(meaning(6, 130), ReuseCheck::Repeated);
/// assert_eq!(meaning(6, 131), ReuseCheck::Reused);
/// assert_eq!(meaning(5, 101), ReuseCheck::Reused);
/// assert_eq!(meaning(8, 101), ReuseCheck::Ahead);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseCheck {
    /// The newest: rotate.
    Current,
    /// The one before, within the grace: the same successor again.
    Repeated,
    /// A copy: the session ends.
    Reused,
    /// Newer than the newest: the store was restored from a backup. Rejected, but no theft.
    Ahead,
}

impl ReuseCheck {
    /// Checks a presented generation. The grace runs from [`CLOCK_TOLERANCE`] before the rotation, since the
    /// instance that rotated may have a clock a little ahead, to `grace` after it, both included.
    pub fn of(presented: Generation, newest: CurrentGeneration, now: UnixTime, grace: Duration) -> Self {
        let in_grace = now >= newest.at - CLOCK_TOLERANCE && now <= newest.at + grace;
        match presented {
            p if p > newest.generation => Self::Ahead,
            p if p == newest.generation => Self::Current,
            p if p.next() == newest.generation && in_grace => Self::Repeated,
            _ => Self::Reused,
        }
    }
}

/// A refresh token on its way to the store: verified, and not yet checked for reuse.
#[derive(Clone, Copy, Debug)]
pub struct RotateRequest {
    /// The session it names.
    pub session: SessionId,
    /// The generation it carries.
    pub generation: Generation,
    /// When it is presented; a rotation's `rotated_at` and the `iat` of the new access token.
    pub now: UnixTime,
    /// How long after a rotation the generation before is answered with the same successor.
    pub grace: Duration,
    /// How long after its last rotation a session ends.
    pub idle: Duration,
}

/// What became of a presented refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotateOutcome {
    /// The session continues: this call rotated it, or repeated the answer of an earlier rotation within the grace.
    Rotated(SessionGrant),
    /// A copy was presented: this call ended the session.
    Reused,
    /// The store is behind the token; nothing changed.
    Ahead,
    /// There is no live session of that id; nothing changed.
    Gone,
}

/// What the next tokens of a session are issued from, returned by the statement that opens or rotates the session. A claim
/// that comes from the user is a field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionGrant {
    /// The session.
    pub session: SessionId,
    /// The user of the session.
    pub user: UserId,
    /// The generation to issue.
    pub generation: Generation,
    /// When the session was opened.
    pub opened_at: UnixTime,
    /// When the session expires unless it is refreshed before.
    pub expires_at: UnixTime,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every small case against a table written the other way round: by what is allowed.
    #[test]
    fn reuse_check_matches_every_small_case() {
        let rotated_at = UnixTime::from_secs(1_000);
        for newest in 0..6_u32 {
            for presented in 0..8_u32 {
                for now in 980..1_050_i64 {
                    for grace in [0, 1, 30] {
                        let got = ReuseCheck::of(
                            Generation::new(presented),
                            CurrentGeneration { generation: Generation::new(newest), at: rotated_at },
                            UnixTime::from_secs(now),
                            Duration::from_secs(grace),
                        );
                        let one_behind = presented + 1 == newest;
                        let in_time = now >= 995 && now <= 1_000 + i64::try_from(grace).unwrap_or(0);
                        let expected = match () {
                            () if presented == newest => ReuseCheck::Current,
                            () if presented > newest => ReuseCheck::Ahead,
                            () if one_behind && in_time => ReuseCheck::Repeated,
                            () => ReuseCheck::Reused,
                        };
                        assert_eq!(got, expected, "{presented} of {newest} at {now}, grace {grace}");
                    }
                }
            }
        }
    }

    fn reuse_check(presented: u32, newest: u32, at: i64, now: i64, grace: u64) -> ReuseCheck {
        ReuseCheck::of(
            Generation::new(presented),
            CurrentGeneration { generation: Generation::new(newest), at: UnixTime::from_micros(at) },
            UnixTime::from_micros(now),
            Duration::from_micros(grace),
        )
    }

    /// Near zero, near the end, and in between.
    fn any_generation() -> impl Strategy<Value = u32> {
        prop_oneof![0..4_u32, u32::MAX - 3..=u32::MAX, any::<u32>()]
    }

    fn any_time() -> impl Strategy<Value = i64> {
        prop_oneof![
            Just(i64::MIN),
            Just(i64::MAX),
            1_790_000_000_000_000..1_900_000_000_000_000_i64,
            any::<i64>()
        ]
    }

    proptest! {
        /// Whatever the clocks show: only the generation before the newest is a matter of time.
        #[test]
        fn time_turns_no_copy_into_the_newest(
            presented in any_generation(),
            newest in any_generation(),
            at in any_time(),
            now in any_time(),
            grace in any::<u64>(),
        ) {
            let got = reuse_check(presented, newest, at, now, grace);
            prop_assert_eq!(got == ReuseCheck::Ahead, presented > newest);
            prop_assert_eq!(got == ReuseCheck::Current, presented == newest);
            if presented < newest && newest - presented > 1 {
                prop_assert_eq!(got, ReuseCheck::Reused);
            }
        }

        /// The one before the newest, to the microsecond, in arithmetic that cannot overflow.
        #[test]
        fn the_grace_is_one_stretch_of_time(
            newest in any_generation().prop_filter("has one before", |&newest| newest > 0),
            at in any_time(),
            offset in prop_oneof![
                Just(-5_000_001), Just(-5_000_000), Just(30_000_000), Just(30_000_001),
                -6_000_000..61_000_000_i64, any::<i64>(),
            ],
            grace in prop_oneof![Just(0), Just(30_000_000), 0..60_000_000_u64, any::<u64>()],
        ) {
            let now = at.saturating_add(offset);
            let since = i128::from(now) - i128::from(at);
            let in_grace = since >= -5_000_000 && since <= i128::from(grace);
            let expected = if in_grace { ReuseCheck::Repeated } else { ReuseCheck::Reused };
            prop_assert_eq!(reuse_check(newest - 1, newest, at, now, grace), expected);
        }
    }
}
