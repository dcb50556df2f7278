//! Tokens: what they say, who makes and verifies them, and the proofs that somebody did.

mod access_codec;
mod authenticate;
mod claims;
pub mod danger;
mod issue;
mod refresh_codec;
mod text;

#[cfg(feature = "mocks")]
pub use self::access_codec::MockAccessTokenCodec;
pub use self::access_codec::{AccessTokenCodec, InvalidToken, PublicKey, SignError, VerificationKey};
pub use self::authenticate::ConfirmSessionError;
pub use self::claims::{
    Authentication, Claims, RefreshClaims, SignedClaims, UnconfirmedClaims, VerifiedClaims,
};
pub use self::issue::TokenSet;
#[cfg(feature = "mocks")]
pub use self::refresh_codec::MockRefreshTokenCodec;
pub use self::refresh_codec::RefreshTokenCodec;
pub use self::text::{AccessToken, RefreshToken};
