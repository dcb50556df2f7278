use std::hash::{DefaultHasher, Hash, Hasher};

use portcullis_domain::id::{SessionId, TokenId, UserId, Uuid};
use portcullis_domain::session::Generation;
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{
    AccessToken, AccessTokenCodec, Claims, InvalidToken, PublicKey, RefreshClaims, RefreshToken,
    RefreshTokenCodec, SignError, SignedClaims, VerificationKey, danger,
};

/// Access tokens in clear text with a checksum: `access.<user>.<session>.<token>.<auth_time>.<iat>.<nbf>.<exp>.<sum>`.
#[derive(Debug)]
pub struct PlainAccessTokens {
    issuer: String,
}

impl PlainAccessTokens {
    /// A codec that knows only the tokens of its own issuer.
    pub fn new(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned() }
    }
}

impl AccessTokenCodec for PlainAccessTokens {
    fn sign(&self, claims: &Claims) -> Result<AccessToken, SignError> {
        let Claims { user, session, token, opened_at, issued_at, not_before, expires_at } = claims;
        let dates =
            [opened_at, issued_at, not_before, expires_at].map(|date| date.as_secs().to_string()).join(".");
        let text = format!("access.{user}.{session}.{token}.{dates}");
        Ok(AccessToken::new(with_checksum(&self.issuer, &text)))
    }

    fn verify(&self, token: &str, _now: UnixTime) -> Result<SignedClaims, InvalidToken> {
        let fields =
            without_checksum(&self.issuer, token).ok_or(InvalidToken)?.split('.').collect::<Vec<_>>();
        let &["access", user, session, token, opened_at, issued_at, not_before, expires_at] =
            fields.as_slice()
        else {
            return Err(InvalidToken);
        };
        Ok(danger::assume_verified(Claims {
            user: UserId::from_uuid(uuid(user)?),
            session: SessionId::from_uuid(uuid(session)?),
            token: TokenId::from_uuid(uuid(token)?),
            opened_at: UnixTime::from_secs(number(opened_at)?),
            issued_at: UnixTime::from_secs(number(issued_at)?),
            not_before: UnixTime::from_secs(number(not_before)?),
            expires_at: UnixTime::from_secs(number(expires_at)?),
        }))
    }

    fn verification_keys(&self, _now: UnixTime) -> Vec<VerificationKey> {
        vec![VerificationKey { id: "fake".to_owned(), material: PublicKey::Ed25519([7; 32]) }]
    }
}

/// Refresh tokens in clear text with a checksum: `refresh.<session>.<generation>.<sum>`.
#[derive(Debug)]
pub struct PlainRefreshTokens {
    key: String,
}

impl PlainRefreshTokens {
    /// A codec that knows only the tokens of its own key.
    pub fn new(key: &str) -> Self {
        Self { key: key.to_owned() }
    }
}

impl RefreshTokenCodec for PlainRefreshTokens {
    fn issue(&self, claims: RefreshClaims) -> RefreshToken {
        let text = format!("refresh.{}.{}", claims.session, claims.generation.get());
        RefreshToken::new(with_checksum(&self.key, &text))
    }

    fn verify(&self, token: &RefreshToken) -> Result<RefreshClaims, InvalidToken> {
        let fields =
            without_checksum(&self.key, token.expose()).ok_or(InvalidToken)?.split('.').collect::<Vec<_>>();
        let &["refresh", session, generation] = fields.as_slice() else {
            return Err(InvalidToken);
        };
        Ok(RefreshClaims {
            session: SessionId::from_uuid(uuid(session)?),
            generation: Generation::new(number(generation)?),
        })
    }
}

fn with_checksum(key: &str, text: &str) -> String {
    format!("{text}.{}", checksum(key, text))
}

fn without_checksum<'a>(key: &str, token: &'a str) -> Option<&'a str> {
    let (text, sum) = token.rsplit_once('.')?;
    (sum == checksum(key, text)).then_some(text)
}

/// The same in every run and good against typing errors: all that a fake needs.
pub(crate) fn checksum(key: &str, text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (key, text).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn uuid(text: &str) -> Result<Uuid, InvalidToken> {
    Uuid::parse_str(text).map_err(|_error| InvalidToken)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, InvalidToken> {
    text.parse().map_err(|_error: T::Err| InvalidToken)
}
