use aws_lc_rs::hmac;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD};
use base64::{Engine, alphabet};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{SALT_BYTES, Unusable, parse_number};

/// The work that a bcrypt hash takes: two to the power of it, 4 to 15.
///
/// ```
/// use portcullis_adapters::hashing::BcryptCost;
///
/// assert_eq!(BcryptCost::new(12), Some(BcryptCost::default()));
/// assert_eq!(BcryptCost::new(16), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BcryptCost(u32);

impl BcryptCost {
    /// bcrypt knows no lower cost; production wants at least 10.
    pub const MIN: u32 = 4;

    /// Two to three seconds a hash; more would keep a thread busy for longer than anybody waits.
    pub const MAX: u32 = 15;

    /// A cost within the bounds.
    pub fn new(cost: u32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&cost).then_some(Self(cost))
    }

    /// The power of two.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// 12: about a fifth of a second.
impl Default for BcryptCost {
    fn default() -> Self {
        Self(12)
    }
}

/// A hash `$bcrypt-sha256$v=2,t=2b,r=<cost>$<salt>$<digest>`: bcrypt of the base64 of HMAC-SHA-256 of the password,
/// keyed with the 22 characters of the salt (passlib's `bcrypt_sha256`, version 2).
pub(super) struct BcryptSha256<'a> {
    spelled_salt: &'a str,
    bcrypt: Bcrypt,
}

impl<'a> BcryptSha256<'a> {
    /// Hashes `password`.
    pub(super) fn make(password: &[u8], cost: BcryptCost, salt: [u8; SALT_BYTES]) -> String {
        let spelled_salt = BASE64.encode(salt);
        let digest = Bcrypt::digest(prehash(password, &spelled_salt).as_bytes(), cost, salt);
        format!("{PREFIX}{}${spelled_salt}${}", cost.0, BASE64.encode(digest))
    }

    pub(super) fn parse(encoded: &'a str) -> Result<Self, Unusable> {
        let fields = encoded.strip_prefix(PREFIX).ok_or(Unusable("bcrypt-sha256 of another version"))?;
        let malformed = Unusable("malformed bcrypt-sha256 hash");
        let (cost, rest) = fields.split_once('$').ok_or(malformed)?;
        let (spelled_salt, digest) = rest.split_once('$').ok_or(malformed)?;
        let cost = parse_number(cost).ok_or(malformed)?;
        // The spelling of the salt is the key of the HMAC, so that only one spelling is right.
        Ok(Self { spelled_salt, bcrypt: Bcrypt::from_parts(cost, spelled_salt, digest, &BASE64)? })
    }

    pub(super) fn cost(&self) -> BcryptCost {
        self.bcrypt.cost
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        self.bcrypt.matches(prehash(password, self.spelled_salt).as_bytes())
    }
}

/// A hash `$2b$<cost>$<salt><digest>` of bcrypt alone. `$2a$` and `$2y$` mean the same, since their bugs are gone.
///
/// The last characters of the salt and of the digest have bits that encode nothing. passlib before 1.5.3 set them at
/// random, and implementations of bcrypt ignore them, so they are ignored here too.
pub(super) struct Bcrypt {
    cost: BcryptCost,
    salt: [u8; SALT_BYTES],
    digest: [u8; DIGEST_BYTES],
}

impl Bcrypt {
    /// How many bytes of a password bcrypt looks at.
    pub(super) const LOOKED_AT: usize = 72;

    pub(super) fn parse(encoded: &str) -> Result<Self, Unusable> {
        let malformed = Unusable("malformed bcrypt hash");
        let fields = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| encoded.strip_prefix(prefix));
        let (cost, rest) = fields.and_then(|fields| fields.split_once('$')).ok_or(malformed)?;
        let (salt, digest) = rest.split_at_checked(SALT_CHARS).ok_or(malformed)?;
        let cost = match cost.len() {
            2 => parse_number(cost.strip_prefix('0').unwrap_or(cost)),
            _ => None,
        };
        Self::from_parts(cost.ok_or(malformed)?, salt, digest, &LENIENT_BASE64)
    }

    fn from_parts(cost: u32, salt: &str, digest: &str, base64: &GeneralPurpose) -> Result<Self, Unusable> {
        let cost = BcryptCost::new(cost).ok_or(Unusable("bcrypt cost out of bounds"))?;
        let decoded = decode(salt, base64).zip(decode(digest, base64));
        let decoded = decoded.ok_or(Unusable("malformed bcrypt salt or digest"));
        decoded.map(|(salt, digest)| Self { cost, salt, digest })
    }

    /// A password that contains NUL never matches: bcrypt takes `a\0a` for `a`.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let digest = Self::digest(password, self.cost, self.salt);
        !password.contains(&0) && bool::from(digest.ct_eq(&self.digest))
    }

    /// What bcrypt makes of the first 72 bytes of `password` and, where it fits, the NUL that ends it.
    fn digest(password: &[u8], cost: BcryptCost, salt: [u8; SALT_BYTES]) -> [u8; DIGEST_BYTES] {
        let used = password.len().min(Self::LOOKED_AT);
        let mut key = Zeroizing::new([0; Self::LOOKED_AT]);
        key[..used].copy_from_slice(&password[..used]);
        let output = ::bcrypt::bcrypt(cost.0, salt, &key[..(used + 1).min(Self::LOOKED_AT)]);
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&output[..DIGEST_BYTES]);
        digest
    }
}

/// What bcrypt gets to see of a password: 44 characters without NUL, whatever the password is.
fn prehash(password: &[u8], spelled_salt: &str) -> Zeroizing<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, spelled_salt.as_bytes());
    Zeroizing::new(STANDARD.encode(hmac::sign(&key, password)))
}

/// Exactly `N` bytes in bcrypt's base64.
fn decode<const N: usize>(encoded: &str, base64: &GeneralPurpose) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let length = base64.decode_slice(encoded, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

const PREFIX: &str = "$bcrypt-sha256$v=2,t=2b,r=";

/// 16 bytes in bcrypt's base64.
const SALT_CHARS: usize = 22;

/// bcrypt drops the last of the 24 bytes it computes.
const DIGEST_BYTES: usize = 23;

/// bcrypt's own alphabet, without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

/// The same, without regard to the bits of the last character that encode nothing.
const LENIENT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = *b"0123456789abcdef";
    const SHA256: &str =
        "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2";
    const PLAIN: &str = "$2b$12$n79VH.0Q2TMWmt3Oqt9ukuKq4Noyk3094Y2QlB8NdRT8SvGiI4ft2";

    fn cost(cost: u32) -> BcryptCost {
        BcryptCost::new(cost).unwrap()
    }

    #[test]
    fn what_is_made_parses_and_matches() {
        for password in ["", "x", &"x".repeat(1_024)] {
            let made = BcryptSha256::make(password.as_bytes(), cost(5), SALT);
            assert!(made.starts_with("$bcrypt-sha256$v=2,t=2b,r=5$"), "{made}");
            let hash = BcryptSha256::parse(&made).unwrap();
            assert_eq!((hash.cost(), hash.bcrypt.salt), (cost(5), SALT));
            assert!(hash.matches(password.as_bytes()));
            assert!(!hash.matches(format!("{password}x").as_bytes()));
        }
    }

    #[test]
    fn costs_have_bounds() {
        let costs = [3, 4, 15, 16].map(|cost| BcryptCost::new(cost).map(BcryptCost::get));
        assert_eq!(costs, [None, Some(4), Some(15), None]);
        for (cost, usable) in [("4", true), ("15", true), ("3", false), ("16", false), ("31", false)] {
            let sha256 = SHA256.replace("r=12", &format!("r={cost}"));
            assert_eq!(BcryptSha256::parse(&sha256).is_ok(), usable, "{sha256}");
            let plain = PLAIN.replace("$12$", &format!("${cost:0>2}$"));
            assert_eq!(Bcrypt::parse(&plain).is_ok(), usable, "{plain}");
        }
    }

    #[test]
    fn what_is_damaged_does_not_parse() {
        assert!(BcryptSha256::parse(SHA256).is_ok());
        for (what, by) in [
            ("v=2", "v=1"),
            ("t=2b", "t=2x"),
            ("r=12", "r=012"),
            ("r=12", "r=+12"),
            ("r=12", "r="),
            ("r=12", "r=4294967308"),
            ("uku$", "uk$"),
            ("uku$", "ukuu$"),
            ("uku$", "ukv$"), // bits that encode nothing
            ("uku$", "uk\u{e9}$"),
            ("ft2", "ft"),
            ("ft2", "ft2$"),
            ("ft2", "ft22"),
            ("$Kq", "Kq"),
        ] {
            let damaged = SHA256.replace(what, by);
            assert!(damaged != SHA256 && BcryptSha256::parse(&damaged).is_err(), "{damaged}");
        }
        assert!(Bcrypt::parse(PLAIN).is_ok());
        for (what, by) in [
            ("$2b$", "$2x$"),
            ("$12$", "$5$"),
            ("$12$", "$012$"),
            ("$12$", "$+5$"),
            ("$12$", "$$"),
            ("$n7", "n7"),
            ("ft2", "ft"),
            ("ft2", "ft22"),
            ("uku", "uk\u{e9}"),
            (&PLAIN[7..], "\u{e9}"),
        ] {
            let damaged = PLAIN.replace(what, by);
            assert!(damaged != PLAIN && Bcrypt::parse(&damaged).is_err(), "{damaged}");
        }
    }

    /// Hashes of passlib before 1.5.3, from passlib's own tests, each beside the repaired hash.
    #[test]
    fn unused_bits_of_plain_bcrypt_are_ignored() {
        for (stored, repaired) in [
            (
                "$2a$04$oaQbBqq8JnSM1NHRPQGXORY4Vw3bdHKLIXTecPDRAcJ98cz1ilveO",
                "$2a$04$oaQbBqq8JnSM1NHRPQGXOOY4Vw3bdHKLIXTecPDRAcJ98cz1ilveO",
            ),
            (
                "$2a$04$yjDgE74RJkeqC0/1NheSScrvKeu9IbKDpcQf/Ox3qsrRS/Kw42qIS",
                "$2a$04$yjDgE74RJkeqC0/1NheSSOrvKeu9IbKDpcQf/Ox3qsrRS/Kw42qIS",
            ),
            (
                "$2a$04$yjDgE74RJkeqC0/1NheSSOrvKeu9IbKDpcQf/Ox3qsrRS/Kw42qIV",
                "$2a$04$yjDgE74RJkeqC0/1NheSSOrvKeu9IbKDpcQf/Ox3qsrRS/Kw42qIS",
            ),
        ] {
            let [stored, repaired] = [stored, repaired].map(|hash| Bcrypt::parse(hash).unwrap());
            assert_eq!((stored.salt, stored.digest), (repaired.salt, repaired.digest));
            assert!(stored.matches(b"test"));
            assert!(!stored.matches(b"Test"));
        }
    }

    /// bcrypt repeats its key and the NUL after it until it has 72 bytes.
    #[test]
    fn a_password_with_nul_never_matches_plain_bcrypt() {
        let digest = Bcrypt::digest(b"a", cost(4), SALT);
        assert_eq!(Bcrypt::digest(b"a\0a\0a", cost(4), SALT), digest, "the trap is there");
        let hash = Bcrypt { cost: cost(4), salt: SALT, digest };
        assert!(hash.matches(b"a"));
        assert!(!hash.matches(b"a\0a\0a"));
    }
}
