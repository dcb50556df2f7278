use crate::core::Core;
use crate::id::TokenId;
use crate::session::SessionGrant;
use crate::time::UnixTime;
use crate::token::{Claims, RefreshClaims, SignError, TokenSet};

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
