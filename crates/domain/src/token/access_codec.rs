use std::error::Error;
use std::fmt;

use crate::time::UnixTime;
use crate::token::{AccessToken, Claims, SignedClaims};

/// Signs and verifies access tokens (JWT, RFC 9068).
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AccessTokenCodec: fmt::Debug + Send + Sync {
    /// Signs a token. Its dates are cut to whole seconds.
    ///
    /// # Errors
    /// [`SignError`] when there is no key for `claims.issued_at`.
    fn sign(&self, claims: &Claims) -> Result<AccessToken, SignError>;

    /// Verifies everything about a token but its dates and its session: form, header, signature, issuer, audience
    /// and type. Never blocks.
    ///
    /// - MUST refuse a token of which any character was changed. A signature scheme in which a second signature can be
    ///   computed from the first (ECDSA) is allowed: a token with it carries the same claims. [access-token-exact]
    /// - MUST refuse a token that is not from this issuer for this audience. [access-token-issuer-audience]
    /// - MUST NOT validate `exp` and `nbf`: [`SignedClaims::validate`] does, with the domain's clock. [access-token-dates]
    ///
    /// # Errors
    /// [`InvalidToken`], for any reason.
    fn verify(&self, token: &str, now: UnixTime) -> Result<SignedClaims, InvalidToken>;

    /// Returns the public keys that verify tokens at `now`: of the previous, the current and the next period. Keys of the
    /// signing algorithm come first, and keys of one algorithm are adjacent.
    fn verification_keys(&self, now: UnixTime) -> Vec<VerificationKey>;
}

/// A token is not valid here. Callers do not learn why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid token")]
pub struct InvalidToken;

/// A token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the access token could not be signed")]
pub struct SignError(#[source] pub Box<dyn Error + Send + Sync>);

/// A public key with which access tokens are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationKey {
    /// Its id: the RFC 7638 thumbprint (SHA-256, base64url), the `kid` of tokens signed with its private half.
    pub id: String,
    /// The key.
    pub material: PublicKey,
}

/// A public key by algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032); JWS algorithm `EdDSA`.
    Ed25519([u8; 32]),
    /// NIST P-256; JWS algorithm `ES256`.
    P256 {
        /// The x coordinate, big-endian.
        x: [u8; 32],
        /// The y coordinate, big-endian.
        y: [u8; 32],
    },
}
