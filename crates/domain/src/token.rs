//! Tokens: what they say, who makes and verifies them, and the proofs that somebody did.

mod access_codec;
mod authenticate;
mod claims;
pub mod danger;
mod issue;
mod refresh_codec;

#[cfg(feature = "mocks")]
pub use self::access_codec::MockAccessTokenCodec;
pub use self::access_codec::{AccessTokenCodec, InvalidToken, SignError};
pub use self::authenticate::ConfirmSessionError;
pub use self::claims::{
    AccessToken, Authentication, Claims, PublicKey, RefreshClaims, RefreshToken, SignedClaims, TokenSet,
    UnconfirmedClaims, VerificationKey, VerifiedClaims,
};
#[cfg(feature = "mocks")]
pub use self::refresh_codec::MockRefreshTokenCodec;
pub use self::refresh_codec::RefreshTokenCodec;
