//! Access tokens: JWTs (RFC 7519) in the profile of RFC 9068.
//!
//! The header names algorithm (`alg`), key (`kid`) and type (`typ`, `at+jwt`) and nothing else, so the tokens of one
//! key all begin with the same characters, and no header is ever parsed: a token whose first segment is not that of
//! a known key, byte for byte, is refused. What attacks on JWT live on (other algorithms, keys named or carried by
//! the token, duplicate members, unknown ones) stops there. Each key belongs to one algorithm, so the key of an ES256
//! token under an `EdDSA` header, or the reverse, matches no header.

mod cache;
mod config;
#[cfg(any(test, fuzzing))]
pub mod invariants;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{
    AccessToken, AccessTokenCodec, Claims, InvalidToken, SignError, SignedClaims, VerificationKey, danger,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use self::cache::VerifiedTokens;
pub use self::config::JwtConfig;
use crate::keys::{KeyRing, VerifyingKey};

/// Signs and verifies access tokens with the keys of a [`KeyRing`].
#[derive(Debug)]
pub struct JwtCodec {
    keys: KeyRing,
    issuer: TokenName,
    audience: TokenName,
    verified: VerifiedTokens,
}

impl JwtCodec {
    /// The longest token looked at, in bytes.
    pub const MAX_TOKEN: usize = 4096;

    /// A codec for tokens from `issuer` (the service's public URL) for `audience`.
    pub fn new(keys: KeyRing, issuer: TokenName, audience: TokenName) -> Self {
        Self { keys, issuer, audience, verified: VerifiedTokens::with_capacity(0) }
    }

    /// The same, but so many tokens that it verified are remembered, some 128 bytes each, instead of verified again.
    #[must_use]
    pub fn remembering(self, tokens: usize) -> Self {
        Self { verified: VerifiedTokens::with_capacity(tokens), ..self }
    }
}

impl AccessTokenCodec for JwtCodec {
    fn sign(&self, claims: &Claims) -> Result<AccessToken, SignError> {
        let payload =
            Payload::new(claims, self.issuer.as_str(), self.audience.as_str()).map_err(sign_error)?;
        let json = serde_json::to_vec(&payload).map_err(sign_error)?;
        let token = self.keys.at(claims.issued_at).signing.sign(&json).map_err(sign_error)?;
        Ok(AccessToken::new(token))
    }

    fn verify(&self, token: &str, now: UnixTime) -> Result<SignedClaims, InvalidToken> {
        self.read(token, now).map(danger::assume_verified).ok_or(InvalidToken)
    }

    fn verification_keys(&self, now: UnixTime) -> Vec<VerificationKey> {
        let listed = self.keys.list(now).into_iter();
        listed.filter(|listed| self.keys.publishes(listed)).map(|listed| listed.key).collect()
    }
}

impl JwtCodec {
    /// What a genuine token says; `None` for anything else.
    fn read(&self, token: &str, now: UnixTime) -> Option<Claims> {
        if token.len() > Self::MAX_TOKEN {
            return None;
        }
        let keys = self.keys.at(now);
        let is_headed = |header| token.strip_prefix(header).is_some_and(|rest| rest.starts_with('.'));
        let key = keys.verifying.iter().find(|key| is_headed(key.header()))?;
        self.verified.recall_or(token, keys.epoch, || self.prove(token, key))
    }

    /// What a token says, if it was signed with `key` and is from here and for here.
    fn prove(&self, token: &str, key: &VerifyingKey) -> Option<Claims> {
        let (message, signature) = token.rsplit_once('.')?;
        let (_, payload) = message.split_once('.')?;
        if !key.signed(message.as_bytes(), signature) {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let payload = Payload::parse(&json)?;
        let claims = payload.claims()?;
        let meant = payload.iss == self.issuer.as_str() && payload.aud == self.audience.as_str();
        (meant && key.may_sign_at(claims.issued_at)).then_some(claims)
    }
}

/// The name of an issuer or an audience, as it stands in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName(String);

impl TokenName {
    /// The longest name, in bytes: with two such, however JSON spells them, a token stays below
    /// [`JwtCodec::MAX_TOKEN`].
    pub const MAX_LENGTH: usize = 512;

    /// Takes a name of 1 to [`Self::MAX_LENGTH`] bytes without control characters.
    ///
    /// # Errors
    /// [`InvalidTokenName`].
    pub fn parse(name: &str) -> Result<Self, InvalidTokenName> {
        let good = (1..=Self::MAX_LENGTH).contains(&name.len()) && !name.contains(char::is_control);
        if good { Ok(Self(name.to_owned())) } else { Err(InvalidTokenName) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text cannot be the name of an issuer or an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {} bytes and no control characters", TokenName::MAX_LENGTH)]
pub struct InvalidTokenName;

/// The claims on the wire. Members that it does not know are skipped (RFC 7519, section 4), for a newer version may
/// write more; the known ones stand there once and have exactly these types.
#[derive(Deserialize, Serialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    sub: Id,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    sid: Id,
    jti: Id,
    auth_time: u64,
    iat: u64,
    nbf: u64,
    exp: u64,
}

impl<'a> Payload<'a> {
    /// Fails on dates before 1970.
    fn new(claims: &Claims, issuer: &'a str, audience: &'a str) -> Result<Self, std::num::TryFromIntError> {
        let seconds = |time: UnixTime| u64::try_from(time.as_secs());
        Ok(Self {
            iss: issuer.into(),
            aud: audience.into(),
            sub: Id(claims.user.as_uuid()),
            client_id: CLIENT_ID.into(),
            sid: Id(claims.session.as_uuid()),
            jti: Id(claims.token.as_uuid()),
            auth_time: seconds(claims.opened_at)?,
            iat: seconds(claims.issued_at)?,
            nbf: seconds(claims.not_before)?,
            exp: seconds(claims.expires_at)?,
        })
    }

    /// Reads a JSON object in UTF-8 (RFC 7519, section 7.2); serde would take an array of the values too, and whatever bytes
    /// in members that it skips.
    fn parse(json: &'a [u8]) -> Option<Self> {
        let json = str::from_utf8(json).ok()?;
        json.starts_with('{').then(|| serde_json::from_str(json).ok())?
    }

    fn claims(&self) -> Option<Claims> {
        let time = |seconds| i64::try_from(seconds).ok().map(UnixTime::from_secs);
        Some(Claims {
            user: UserId::from_uuid(self.sub.0),
            session: SessionId::from_uuid(self.sid.0),
            token: TokenId::from_uuid(self.jti.0),
            opened_at: time(self.auth_time)?,
            issued_at: time(self.iat)?,
            not_before: time(self.nbf)?,
            expires_at: time(self.exp)?,
        })
    }
}

/// A UUID in its one canonical spelling: 36 characters, hyphenated, lower case (RFC 9562, section 4).
struct Id(Uuid);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        let uuid = Uuid::try_parse(text).map_err(de::Error::custom)?;
        if uuid.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]) == text {
            Ok(Self(uuid))
        } else {
            Err(de::Error::custom("not in canonical form"))
        }
    }
}

fn sign_error(error: impl std::error::Error + Send + Sync + 'static) -> SignError {
    SignError(Box::new(error))
}

/// RFC 9068 wants the client that asked for the token; the service's own login is the only one.
const CLIENT_ID: &str = "portcullis";

#[cfg(test)]
mod tests;
