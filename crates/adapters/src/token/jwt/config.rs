use portcullis_domain::time::UnixTime;

use super::{JwtCodec, TokenName};
use crate::keys::{KeyRing, KeyRotation, PublishedKeys, SigningAlgorithm};
use crate::secret::Secrets;

/// The names in access tokens, and the keys that sign them. All instances of a deployment need the same.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    /// The issuer (`iss`), normally the service's public URL.
    pub issuer: TokenName,
    /// The audience (`aud`).
    pub audience: TokenName,
    /// The algorithm that signs.
    pub algorithm: SigningAlgorithm,
    /// How long each key signs.
    pub key_rotation: KeyRotation,
    /// The keys that the key set lists.
    pub published_keys: PublishedKeys,
    /// How many verified access tokens are remembered, some 128 bytes each, instead of verified again.
    pub cache: usize,
}

impl JwtConfig {
    /// Derives the key ring of a deployment with these secrets.
    pub fn key_ring(&self, secrets: &Secrets, now: UnixTime) -> KeyRing {
        KeyRing::new(secrets, self.algorithm, self.key_rotation, now).publishing(self.published_keys)
    }

    /// Creates the codec of a deployment with these secrets.
    pub fn codec(&self, secrets: &Secrets, now: UnixTime) -> JwtCodec {
        JwtCodec::new(self.key_ring(secrets, now), self.issuer.clone(), self.audience.clone())
            .remembering(self.cache)
    }
}

/// ES256 with keys of seven days, and `portcullis` as both names. Set the names if other services verify the tokens.
impl Default for JwtConfig {
    fn default() -> Self {
        let name = TokenName("portcullis".to_owned());
        Self {
            issuer: name.clone(),
            audience: name,
            algorithm: SigningAlgorithm::default(),
            key_rotation: KeyRotation::default(),
            published_keys: PublishedKeys::default(),
            cache: CACHED_TOKENS,
        }
    }
}

/// 2 MiB.
const CACHED_TOKENS: usize = 16_384;
