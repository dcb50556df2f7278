use std::time::Duration;

use crate::core::Core;
use crate::id::{SessionId, TokenId};
use crate::session::SessionGrant;
use crate::time::UnixTime;
use crate::token::{AccessToken, Claims, RefreshClaims, RefreshToken, SignError};

/// What a login or a refresh gives out.
#[derive(Debug)]
pub struct TokenSet {
    /// Proves who calls, for a short time.
    pub access: AccessToken,
    /// How long the access token lasts from now.
    pub access_expires_in: Duration,
    /// Gets the next set.
    pub refresh: RefreshToken,
    /// How long the refresh token lasts from now, unless it is used before.
    pub refresh_expires_in: Duration,
    /// The session that both belong to.
    pub session: SessionId,
}

impl Core {
    /// Issues the tokens of a session that a store just opened or rotated, at `now`, the time that the store was given. No
    /// token outlives its session.
    pub(crate) fn issue(&self, grant: &SessionGrant, now: UnixTime) -> Result<TokenSet, SignError> {
        let refresh_expires_in = grant.expires_at.since(now);
        let access_expires_in = self.config.lifetimes.access.min(refresh_expires_in);
        let claims = Claims {
            user: grant.user,
            session: grant.session,
            token: TokenId::new(now, self.ports.random.as_ref()),
            opened_at: grant.opened_at,
            issued_at: now,
            not_before: now,
            expires_at: now + access_expires_in,
        };
        let refresh = RefreshClaims { session: grant.session, generation: grant.generation };
        Ok(TokenSet {
            access: self.ports.access_tokens.sign(&claims)?,
            access_expires_in,
            refresh: self.ports.refresh_tokens.issue(refresh),
            refresh_expires_in,
            session: grant.session,
        })
    }
}
