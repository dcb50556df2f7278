use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, Signature,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{PublicKey, VerificationKey};
use zeroize::Zeroizing;

use super::epoch::Epoch;
use super::{KeyUse, ListedKey, RootKey};

/// The algorithm that signs access tokens. HS256 is not offered: every verifier of such tokens could also forge them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256; JWS algorithm `ES256` (RFC 7518, section 3.4).
    ///
    /// The default, because nearly every JOSE library verifies it.
    #[default]
    Es256,
    /// Ed25519 (RFC 8032); JWS algorithm `EdDSA` (RFC 8037).
    EdDsa,
}

impl SigningAlgorithm {
    /// Every algorithm, the default first.
    pub const ALL: [Self; 2] = [Self::Es256, Self::EdDsa];

    /// Returns every algorithm, `self` first.
    pub(super) const fn then_other(self) -> [Self; 2] {
        match self {
            Self::Es256 => [self, Self::EdDsa],
            Self::EdDsa => [self, Self::Es256],
        }
    }

    /// Returns the name in JOSE headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn in_jwt_crate(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// Signs the access tokens of one epoch.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pair: SigningPair,
    header: String,
}

impl SigningKey {
    /// The JWS in compact form (RFC 7515, section 7.1) of `payload`.
    pub(crate) fn sign(&self, payload: &[u8]) -> Result<String, Unspecified> {
        let message = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A key pair, parsed once: the JWT crate would parse it for every signature, which for Ed25519 costs as much again.
enum SigningPair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl SigningPair {
    /// The signature over `message`, in the form of JWS (RFC 7518, section 3.4; RFC 8037, section 3.1).
    fn sign(&self, message: &[u8]) -> Result<Signature, Unspecified> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message)),
            // AWS-LC ignores the argument. Its nonce is random and also depends on the private key and the message, so
            // a generator that repeats itself does not reveal the key.
            Self::P256(pair) => pair.sign(&SystemRandom::new(), message),
        }
    }
}

impl fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningPair(redacted)")
    }
}

/// Verifies the access tokens that one secret signs in one epoch with one algorithm.
#[derive(Debug)]
pub(crate) struct VerifyingKey {
    key: DecodingKey,
    header: String,
    epoch: Epoch,
    listed: ListedKey,
}

impl VerifyingKey {
    /// Creates the key of a public half, whose kind decides the algorithm.
    pub(crate) fn of(material: PublicKey, epoch: Epoch, key_use: KeyUse) -> Self {
        let (algorithm, key) = match material {
            PublicKey::Ed25519(key) => (SigningAlgorithm::EdDsa, DecodingKey::from_ed_der(&key)),
            PublicKey::P256 { x, y } => {
                (SigningAlgorithm::Es256, DecodingKey::from_ec_der(&uncompressed(&x, &y)))
            }
        };
        let id = thumbprint(&material);
        let header = URL_SAFE_NO_PAD
            .encode(format!(r#"{{"alg":"{}","kid":"{id}","typ":"at+jwt"}}"#, algorithm.name()));
        let published = VerificationKey { id, material };
        let listed =
            ListedKey { key: published, algorithm, from: epoch.from(), until: epoch.until(), key_use };
        Self { key, header, epoch, listed }
    }

    /// The first segment of every token that this key signed, and of no other: the encoded header.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    /// Whether a token issued at `time` may be signed with it.
    pub(crate) fn may_sign_at(&self, time: UnixTime) -> bool {
        self.epoch.may_sign_at(time)
    }

    /// Returns whether the private half made `signature` (encoded) over `message`.
    ///
    /// An ECDSA signature `(r, s)` has a twin `(r, n - s)` that anyone can compute and that is as good (RFC 7518 does
    /// not exclude it), so a genuine ES256 token has two spellings. Both carry the same claims.
    pub(crate) fn signed(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = self.listed.algorithm.in_jwt_crate();
        crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    pub(super) fn listed(&self) -> &ListedKey {
        &self.listed
    }
}

/// Derives the key pair of `epoch`.
pub(super) fn derive(
    algorithm: SigningAlgorithm,
    root: &RootKey,
    epoch: Epoch,
    key_use: KeyUse,
) -> (SigningKey, VerifyingKey) {
    let label = format!("{}/{}", algorithm.name(), epoch.label());
    let (pair, material) = match algorithm {
        SigningAlgorithm::EdDsa => ed25519(&root.derive(&label)),
        SigningAlgorithm::Es256 => {
            p256(&first_scalar(root.derive(&label), |n| root.derive(&format!("{label}/{n}"))))
        }
    };
    let verifying = VerifyingKey::of(material, epoch, key_use);
    (SigningKey { pair, header: verifying.header.clone() }, verifying)
}

#[expect(clippy::expect_used, reason = "any 32 bytes are a seed (RFC 8032, section 5.1.5)")]
fn ed25519(seed: &[u8; 32]) -> (SigningPair, PublicKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed");
    let public = *pair.public_key().as_ref().first_chunk().expect("32 bytes");
    (SigningPair::Ed25519(pair), PublicKey::Ed25519(public))
}

#[expect(clippy::expect_used, reason = "the scalar is in range")]
fn p256(scalar: &[u8; 32]) -> (SigningPair, PublicKey) {
    let pkcs8 = Zeroizing::new([&P256_PKCS8[..], scalar].concat());
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).expect("a scalar in range");
    let point = pair.public_key().as_ref().first_chunk::<65>().expect("an uncompressed point");
    let (mut x, mut y) = ([0; 32], [0; 32]);
    x.copy_from_slice(&point[1..33]);
    y.copy_from_slice(&point[33..]);
    (SigningPair::P256(pair), PublicKey::P256 { x, y })
}

/// The first of `first`, `next(1)`, `next(2)`.. that is a private key of P-256 (FIPS 186-5, A.2.2): not zero and below
/// the order of the curve. All but one in 2³² are.
fn first_scalar(
    first: Zeroizing<[u8; 32]>,
    next: impl Fn(u32) -> Zeroizing<[u8; 32]>,
) -> Zeroizing<[u8; 32]> {
    let mut candidate = first;
    let mut tried = 0;
    while *candidate == [0; 32] || *candidate >= P256_ORDER {
        tried += 1;
        candidate = next(tried);
    }
    candidate
}

/// SHA-256 of the JWK's required members in their canonical form (RFC 7638), in base64url.
fn thumbprint(key: &PublicKey) -> String {
    let encode = |bytes: &[u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
    let canonical = match key {
        PublicKey::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        PublicKey::P256 { x, y } => {
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
        }
    };
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

/// A point in the form that needs no square root (SEC 1, section 2.3.3).
fn uncompressed(x: &[u8; 32], y: &[u8; 32]) -> Vec<u8> {
    [&[4], &x[..], y].concat()
}

/// What stands before the 32 bytes of a P-256 scalar in PKCS#8 (RFC 5915 in RFC 5958), without the public key.
const P256_PKCS8: [u8; 35] = [
    0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
];

/// The order of P-256, big-endian (SP 800-186, section 3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[cfg(test)]
mod tests {
    use base16ct::lower::encode_string;

    use super::super::KeyRotation;
    use super::*;
    use crate::secret::Secret;

    /// RFC 8037, appendix A.3.
    #[test]
    fn thumbprints_are_those_of_the_rfc() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = PublicKey::Ed25519(x.try_into().unwrap());
        assert_eq!(thumbprint(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn ed25519_seeds_sign_as_in_the_rfc() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let (pair, public) = ed25519(&base16ct::lower::decode_vec(seed).unwrap().try_into().unwrap());
        let PublicKey::Ed25519(public) = public else { panic!("{public:?}") };
        assert_eq!(
            encode_string(&public),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            encode_string(pair.sign(&[0x72]).unwrap().as_ref()),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    // ASVS 11.6.1
    #[test]
    fn scalars_out_of_range_are_passed_over() {
        let below = |last| {
            let mut scalar = P256_ORDER;
            scalar[31] = last;
            Zeroizing::new(scalar)
        };
        let zero = || Zeroizing::new([0; 32]);
        let first = |first, rest: &[Zeroizing<[u8; 32]>]| {
            *first_scalar(first, |n| rest[usize::try_from(n).unwrap() - 1].clone())
        };
        assert_eq!(first(below(0x50), &[]), *below(0x50), "one below the order is in range");
        assert_eq!(first(below(0x51), &[zero(), Zeroizing::new([0xff; 32]), below(7)]), *below(7));
        let _is_a_key = p256(&below(0x50));
    }

    #[test]
    fn debug_shows_no_key() {
        let root = RootKey::of(&Secret::parse_for_development("dev").unwrap());
        let epoch = Epoch::containing(UnixTime::EPOCH, KeyRotation::default());
        let label = format!("EdDSA/{}", epoch.label());
        let private = root.derive(&label);
        let (signing, _) = derive(SigningAlgorithm::EdDsa, &root, epoch, KeyUse::Signs);
        let shown = format!("{signing:?}");
        assert!(!shown.contains(&encode_string(private.as_ref())) && shown.contains("redacted"), "{shown}");
    }
}
