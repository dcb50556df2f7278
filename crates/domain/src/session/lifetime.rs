use std::time::Duration;

/// The longest lifetime an access token may have. Ended sessions are remembered that long, so a token that claims
/// more is refused whoever signed it.
pub const MAX_ACCESS_LIFETIME: Duration = Duration::from_hours(1);

/// How far apart two instances' clocks may be before a grace or a date is misjudged.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// How long tokens last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An access token's lifetime; at most [`MAX_ACCESS_LIFETIME`].
    pub access: Duration,
    /// How long after its last refresh a session ends.
    pub refresh_idle: Duration,
    /// How long after its opening a session ends in any case.
    pub refresh_absolute: Duration,
    /// How long after a rotation a repeated refresh gets the same successor; at most a minute.
    pub refresh_grace: Duration,
}

/// 15 minutes of access, 30 days idle, 90 days in all, 30 seconds of grace.
impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            access: Duration::from_mins(15),
            refresh_idle: Duration::from_secs(30 * DAY),
            refresh_absolute: Duration::from_secs(90 * DAY),
            refresh_grace: Duration::from_secs(30),
        }
    }
}
