use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base16ct::HexDisplay;

use crate::keys::{RootKey, SecretFingerprint};
use crate::secret::{Secret, Secrets};

/// Signs the heads of the audit chain: Ed25519, derived from a secret with a label of its own.
///
/// ```
/// use portcullis_adapters::{audit::AuditKey, secret::Secret, system::OsRandom};
///
/// let secret = Secret::generate(&OsRandom);
/// assert_eq!(AuditKey::of(&secret).to_string(), AuditKey::of(&secret).to_string());
/// ```
pub struct AuditKey {
    pair: Ed25519KeyPair,
    public: PublicAuditKey,
}

impl AuditKey {
    /// The key of `secret`.
    pub fn of(secret: &Secret) -> Self {
        let (pair, public) = pair(&RootKey::of(secret).derive("audit"));
        Self { pair, public }
    }

    pub(crate) fn public(&self) -> PublicAuditKey {
        self.public
    }

    #[expect(clippy::expect_used, reason = "a signature of Ed25519 has 64 bytes")]
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.pair.sign(message).as_ref().first_chunk().expect("64 bytes")
    }
}

#[expect(clippy::expect_used, reason = "any 32 bytes are a seed (RFC 8032, section 5.1.5)")]
fn pair(seed: &[u8; 32]) -> (Ed25519KeyPair, PublicAuditKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed");
    let public = *pair.public_key().as_ref().first_chunk().expect("32 bytes");
    (pair, PublicAuditKey(public))
}

/// Shows the public half: what a head that was kept elsewhere was signed with.
impl fmt::Display for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public.fmt(f)
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({self}, ..)")
    }
}

/// The public half, which is also the name of the key. Printed, it is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicAuditKey([u8; 32]);

impl PublicAuditKey {
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicAuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&HexDisplay(&self.0), f)
    }
}

impl fmt::Debug for PublicAuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicAuditKey({self})")
    }
}

/// The audit keys of an instance's secrets, and the fingerprints by which a database knows the secrets.
#[derive(Debug)]
pub struct AuditKeys {
    pub(crate) current: AuditKey,
    pub(crate) fingerprint: SecretFingerprint,
    pub(crate) accepted: Vec<(SecretFingerprint, AuditKey)>,
}

impl AuditKeys {
    /// Those of these secrets.
    pub fn of(secrets: &Secrets) -> Self {
        let accepted = secrets.accepted().iter();
        Self {
            current: AuditKey::of(secrets.current()),
            fingerprint: SecretFingerprint::of(secrets.current()),
            accepted: accepted.map(|secret| (SecretFingerprint::of(secret), AuditKey::of(secret))).collect(),
        }
    }

    /// The key of the secret in use, which signs.
    pub fn current(&self) -> &AuditKey {
        &self.current
    }

    /// The key of the accepted secret with this fingerprint.
    pub(crate) fn accepted(&self, fingerprint: &[u8]) -> Option<&AuditKey> {
        self.accepted.iter().find(|(known, _)| known.as_bytes() == fingerprint).map(|(_, key)| key)
    }

    /// The public halves.
    pub(crate) fn public(&self) -> Vec<PublicAuditKey> {
        let accepted = self.accepted.iter().map(|(_, key)| key.public());
        std::iter::once(self.current.public()).chain(accepted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked against the Python package `cryptography`.
    #[test]
    fn the_key_is_what_it_was_in_every_version() {
        let secret =
            Secret::parse_for_development("pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let key = AuditKey::of(&secret);
        assert_eq!(key.to_string(), "ebd7156357e2dfdf14a3ea2bfa54c8b96ab88dd10d1d6b66a5f152c770849d34");
        let signature = key.sign(b"x");
        assert!(key.public().signed(b"x", &signature));
        assert!(!key.public().signed(b"y", &signature));
        let other = AuditKey::of(&Secret::parse_for_development("other").unwrap());
        assert!(!other.public().signed(b"x", &signature));
    }
}
