//! How often a client may call what costs most.

use std::num::NonZeroU32;
use std::time::Duration;

/// How often one address may call the routes that cost most, and one session be refreshed.
///
/// A build without the feature `governor` has no such limits, whatever is set here: its OpenAPI description promises none,
/// and a gateway in front must have them. What one account and one address may have under way in the password pool is
/// limited in any build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Whether there are limits at all; a gateway in front may have its own.
    pub enabled: bool,
    /// `POST /register`.
    pub register: Quota,
    /// `POST /login`.
    pub login: Quota,
    /// `POST /refresh`.
    pub refresh: Quota,
    /// `POST /refresh` with genuine tokens of one session, from wherever they come.
    pub session_refresh: Quota,
    /// `PUT /me/password`, `DELETE /me` and `POST /me/delete` together: what asks for the current password.
    pub password: Quota,
}

/// Registrations: 30 an hour, 10 at once. Logins: 30 a minute, 10 at once. Refreshes: 120 a minute, 60 at once.
/// Of one session: 60 a minute, 30 at once. Current passwords: 10 a minute, 10 at once.
impl Default for LimitsConfig {
    fn default() -> Self {
        let quota = |count, per, burst| Quota { count: at_least_one(count), per, burst: at_least_one(burst) };
        Self {
            enabled: true,
            register: quota(30, Duration::from_hours(1), 10),
            login: quota(30, Duration::from_mins(1), 10),
            refresh: quota(120, Duration::from_mins(1), 60),
            session_refresh: quota(60, Duration::from_mins(1), 30),
            password: quota(10, Duration::from_mins(1), 10),
        }
    }
}

/// A limit per client address, which one route has or several share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// [`LimitsConfig::register`].
    Register,
    /// [`LimitsConfig::login`].
    Login,
    /// [`LimitsConfig::refresh`].
    Refresh,
    /// [`LimitsConfig::password`].
    Password,
}

/// A token bucket: it holds `burst` calls, and `count` trickle in per `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many calls, in the long run.
    pub count: NonZeroU32,
    /// In which time.
    pub per: Duration,
    /// How many at once.
    pub burst: NonZeroU32,
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
