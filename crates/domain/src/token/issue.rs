use crate::core::Core;
use crate::id::{SessionId, TokenId, UserId};
use crate::session::{Generation, NewSession};
use crate::throttle::Admitted;
use crate::time::UnixTime;
use crate::token::{Claims, RefreshClaims, SignError, TokenSet};

impl Core {
    /// The first tokens of a session just opened, for somebody whom the gate let in.
    pub(crate) fn first_tokens(
        &self,
        _let_in: &Admitted,
        session: &NewSession,
    ) -> Result<TokenSet, SignError> {
        let request = IssueRequest {
            user: session.user,
            session: session.id,
            generation: Generation::FIRST,
            opened_at: session.opened_at,
            expires_at: session.expires_at,
        };
        self.issue(&request, session.opened_at)
    }

    /// The tokens of a session, issued at `now`: the time that the store was given. No token outlives its session.
    pub(crate) fn issue(&self, session: &IssueRequest, now: UnixTime) -> Result<TokenSet, SignError> {
        let refresh_expires_in = session.expires_at.since(now);
        let access_expires_in = self.config.lifetimes.access.min(refresh_expires_in);
        let claims = Claims {
            user: session.user,
            session: session.session,
            token: TokenId::new(now, self.ports.random.as_ref()),
            opened_at: session.opened_at,
            issued_at: now,
            not_before: now,
            expires_at: now + access_expires_in,
        };
        let refresh = RefreshClaims { session: session.session, generation: session.generation };
        Ok(TokenSet {
            access: self.ports.access_tokens.sign(&claims)?,
            access_expires_in,
            refresh: self.ports.refresh_tokens.issue(refresh),
            refresh_expires_in,
            session: session.session,
        })
    }
}

/// A session that gets tokens.
pub(crate) struct IssueRequest {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) generation: Generation,
    pub(crate) opened_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}
