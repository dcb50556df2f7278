//! The claims of tokens, and the proofs that they were verified.

use std::time::Duration;

use crate::id::{SessionId, TokenId, UserId};
use crate::session::revocation::{Revocations, SessionStatus};
use crate::session::{CLOCK_TOLERANCE, Generation, MAX_ACCESS_LIFETIME};
use crate::time::UnixTime;

/// What an access token says about its bearer. Plain data: only [`VerifiedClaims`] proves anything.
///
/// Cloned with every request, so a claim that does not fit into a few bytes belongs behind an
/// [`Arc`](std::sync::Arc).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user (`sub`).
    pub user: UserId,
    /// The session (`sid`).
    pub session: SessionId,
    /// The token's own id (`jti`).
    pub token: TokenId,
    /// When the session was opened (`auth_time`), in whole seconds on the wire.
    pub opened_at: UnixTime,
    /// When it was issued (`iat`), in whole seconds on the wire.
    pub issued_at: UnixTime,
    /// Before when it must not be used (`nbf`).
    pub not_before: UnixTime,
    /// From when on it must not be used (`exp`).
    pub expires_at: UnixTime,
}

/// Claims whose signature, issuer, audience and type were verified. The dates are not verified
/// yet: only [`SignedClaims::validate`] does that, by the domain's clock.
#[derive(Clone, Debug)]
pub struct SignedClaims(pub(super) Claims);

impl SignedClaims {
    /// Validates dates and revocation. `exp` has no leeway; `nbf` and `iat` may lie [`CLOCK_TOLERANCE`] ahead.
    ///
    /// `uptime` is [`Clock::uptime`](crate::ports::Clock::uptime), by which `revocations` knows how old it is.
    pub fn validate(self, now: UnixTime, uptime: Duration, revocations: &Revocations) -> Authentication {
        let Self(claims) = self;
        let lifetime_allowed = claims.expires_at <= claims.issued_at + MAX_ACCESS_LIFETIME;
        let begun = claims.issued_at.max(claims.not_before) <= now + CLOCK_TOLERANCE;
        if now >= claims.expires_at || !begun || !lifetime_allowed {
            return Authentication::Refused;
        }
        match revocations.status(claims.session, claims.opened_at, uptime) {
            SessionStatus::Live => Authentication::Live(VerifiedClaims(claims)),
            SessionStatus::Ended => Authentication::Refused,
            SessionStatus::Unknown => Authentication::NeedsLookup(UnconfirmedClaims(claims)),
            SessionStatus::NotReady => Authentication::NotReady,
        }
    }

    /// The session that the token was issued for, however long ago: enough to end it, and nothing else.
    pub const fn session_to_end(&self) -> SessionId {
        self.0.session
    }
}

/// What is known of a presented access token without asking the store.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// The token is good.
    Live(VerifiedClaims),
    /// It is not, for ever.
    Refused,
    /// It is genuine and in its time, but this instance cannot tell whether its session ended meanwhile: ask with
    /// [`AuthService::confirm_session`](crate::AuthService::confirm_session), which blocks.
    NeedsLookup(UnconfirmedClaims),
    /// It is genuine and in its time, but this instance does not know yet which sessions ended: it has just started.
    NotReady,
}

/// Claims proven genuine and in their time, of a session that still has to be looked up.
#[derive(Clone, Debug)]
pub struct UnconfirmedClaims(Claims);

impl UnconfirmedClaims {
    /// The session to look up.
    pub const fn session(&self) -> SessionId {
        self.0.session
    }

    /// Returns the claims as verified. The caller has looked up that the session is live.
    pub(crate) fn confirmed(self) -> VerifiedClaims {
        VerifiedClaims(self.0)
    }
}

/// Proof that the client holds a valid access token of a live session, as far as the codec that
/// [verified](super::danger::assume_verified) it is right.
#[derive(Clone, Debug)]
pub struct VerifiedClaims(Claims);

impl VerifiedClaims {
    /// What the token says.
    pub const fn claims(&self) -> &Claims {
        &self.0
    }
}

/// What a genuine refresh token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshClaims {
    /// The session it carries on.
    pub session: SessionId,
    /// Which of the session's refresh tokens it is.
    pub generation: Generation,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::session::SessionChanges;

    fn claims(issued_at: i64, expires_at: i64) -> Claims {
        Claims {
            user: UserId::from_uuid(Uuid::from_u128(1)),
            session: SessionId::from_uuid(Uuid::from_u128(2)),
            token: TokenId::from_uuid(Uuid::from_u128(3)),
            opened_at: UnixTime::from_secs(issued_at),
            issued_at: UnixTime::from_secs(issued_at),
            not_before: UnixTime::from_secs(issued_at),
            expires_at: UnixTime::from_secs(expires_at),
        }
    }

    #[test]
    fn dates_are_validated_to_the_microsecond() {
        let revocations = Revocations::default();
        let window = revocations.begin(UnixTime::from_secs(1_000), Duration::ZERO).unwrap();
        revocations.merge(&window, SessionChanges::default());
        let check = |claims: Claims, now: UnixTime, good: bool| {
            let outcome = crate::token::danger::assume_verified(claims.clone()).validate(
                now,
                Duration::ZERO,
                &revocations,
            );
            assert_eq!(
                matches!(outcome, Authentication::Live(_)),
                good,
                "{claims:?} at {now:?}: {outcome:?}"
            );
        };
        let at = UnixTime::from_secs;
        check(claims(1_000, 1_002), UnixTime::from_micros(1_001_999_999), true);
        check(claims(1_000, 1_002), at(1_002), false);
        check(claims(1_005, 1_900), at(1_000), true);
        check(claims(1_006, 1_900), at(1_000), false);
        check(Claims { not_before: at(1_006), ..claims(1_000, 1_900) }, at(1_000), false);
        check(claims(1_000, 4_600), at(1_000), true);
        check(claims(1_000, 4_601), at(1_000), false);
    }
}
