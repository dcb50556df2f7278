use std::fmt;

use crate::token::{InvalidToken, RefreshClaims, RefreshToken};

/// Makes and recognises refresh tokens. A token is a function of what it says and a key, so nothing of it is
/// stored, and the same successor can be made twice.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait RefreshTokenCodec: fmt::Debug + Send + Sync {
    /// Makes the token that says `claims`: the same one each time.
    fn issue(&self, claims: RefreshClaims) -> RefreshToken;

    /// Reads a token that [`Self::issue`] made.
    ///
    /// - MUST refuse a token of which any character was changed, added or removed. [refresh-token-exact]
    ///
    /// # Errors
    /// [`InvalidToken`] for anything else.
    fn verify(&self, token: &RefreshToken) -> Result<RefreshClaims, InvalidToken>;
}
