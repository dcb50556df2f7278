use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What the keys of one secret are derived from with HKDF-SHA-256 (RFC 5869): no salt, the bytes of the secret's
/// text as keying material, `portcullis/1/` and a label as info. Every purpose has a label of its own:
///
/// | label | 32 bytes for |
/// |---|---|
/// | `<alg>/<epoch start>/<epoch length>` | the private key of an epoch; both numbers in seconds |
/// | `ES256/<epoch start>/<epoch length>/<n>` | the same, `n` from 1 on, where those before are no keys of P-256 |
/// | `refresh` | the MAC of refresh tokens |
/// | `pseudonyms` | the MAC that makes account keys |
/// | `check` | [`SecretFingerprint`] |
/// | `audit` | the private key of [`AuditKey`](crate::audit::AuditKey) |
#[derive(Clone)]
pub(crate) struct RootKey(Prk);

impl RootKey {
    pub(crate) fn of(secret: &Secret) -> Self {
        Self(Salt::none(HKDF_SHA256).extract(secret.expose().as_bytes()))
    }

    /// The 32 bytes that belong to `label`.
    #[expect(
        clippy::expect_used,
        reason = "HKDF refuses nothing but more than 255 hashes of output; this is one"
    )]
    pub(crate) fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let info = [b"portcullis/1/", label.as_bytes()];
        let okm = self.0.expand(&info, Bytes32).expect("the length is allowed");
        okm.fill(key.as_mut()).expect("the length is the one asked for");
        key
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// A one-way fingerprint of a secret, by which a store recognises the secret without knowing it.
///
/// ```
/// use portcullis_adapters::{keys::SecretFingerprint, secret::Secret, system::OsRandom};
///
/// let secret = Secret::generate(&OsRandom);
/// let kept = SecretFingerprint::of(&secret);
/// assert_eq!(SecretFingerprint::of(&Secret::parse(secret.expose())?), kept);
/// assert_ne!(SecretFingerprint::of(&Secret::generate(&OsRandom)), kept);
/// # Ok::<(), portcullis_adapters::secret::InvalidSecret>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretFingerprint([u8; 32]);

impl SecretFingerprint {
    /// Derives the fingerprint of `secret`.
    pub fn of(secret: &Secret) -> Self {
        Self(*RootKey::of(secret).derive("check"))
    }

    /// A fingerprint read from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// HKDF's way to say 32 bytes.
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use base16ct::lower::encode_string;

    use super::*;

    /// Checked against Python's `hmac`.
    // ASVS 11.6.1
    #[test]
    fn derivations_are_what_they_were_in_every_version() {
        let secret =
            Secret::parse_for_development("pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let root = RootKey::of(&secret);
        let check = |label, expected: &str| {
            assert_eq!(encode_string(root.derive(label).as_ref()), expected, "{label}");
        };
        check("check", "84be783818e61a6f9a9a1d3ec7b5c335d6ef54d5c937da6d462cf9b1c9af3413");
        check("refresh", "af53aeb3df35855ce225030f42ae62049b706081104b827152c8717d29945b60");
        check("pseudonyms", "f1b709aba3b8a8493611acc864bba97c7b876ef249643933bceaae68c7e9038f");
        check("EdDSA/1799884800/604800", "0bdcb36266ebfa735947c7f2d5b863f706682ed0302ba8e52e7c3e114d2886a1");
        check("ES256/1799884800/604800", "ce376d556e64fc78c04cc8e56dbd677ae67e38cc3ed388115cec90257cf204b2");
        check(
            "ES256/1799884800/604800/1",
            "f27fb056001298fb9ccd03a58fc0ce2befa48e0074edf0a52ea1b494322ee5cf",
        );
        assert_eq!(SecretFingerprint::of(&secret).as_bytes()[..], root.derive("check")[..]);
    }

    #[test]
    fn debug_shows_no_key() {
        let root = RootKey::of(&Secret::parse_for_development("hunter2").unwrap());
        assert_eq!(format!("{root:?}"), "RootKey(..)");
    }
}
