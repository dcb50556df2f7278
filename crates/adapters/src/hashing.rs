//! Password hashing: one scheme for new hashes, all known schemes to verify.

mod argon2;
mod bcrypt;
#[cfg(any(test, fuzzing))]
pub mod invariants;
mod pool;
mod werkzeug;

use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::password::{
    AcceptedPassword, HashError, PasswordHash, PasswordHasher, PlaintextPassword, Verdict,
};
use portcullis_domain::ports::SecureRandom;

use self::argon2::Argon2id;
pub use self::bcrypt::BcryptCost;
use self::bcrypt::{Bcrypt, BcryptSha256};
pub use self::pool::{HashCounts, HashPool};
use self::werkzeug::Werkzeug;

/// Hashes passwords with one scheme, and verifies what any of these made:
///
/// | hash | made by | of |
/// |---|---|---|
/// | `$bcrypt-sha256$v=2,..` | this crate, passlib | the password in NFC |
/// | `$argon2id$v=19$..` | this crate, many others | the password in NFC |
/// | `$2a$`, `$2b$`, `$2y$` | many others | the bytes as received, the first 72 of them |
/// | `scrypt:N:r:p$..`, `pbkdf2:<sha1, sha256 or sha512>:n$..` | Werkzeug | the bytes as received |
///
/// A hash that asks for more work than its scheme's bounds allow is unusable, and so is one that does not parse:
/// stored hashes come from imports and from databases that somebody else wrote to.
#[derive(Debug)]
pub struct SchemeHasher {
    scheme: HashScheme,
    random: Arc<dyn SecureRandom>,
}

impl SchemeHasher {
    /// A hasher that makes hashes of `scheme` with salts from `random`.
    pub fn new(scheme: HashScheme, random: Arc<dyn SecureRandom>) -> Self {
        Self { scheme, random }
    }

    /// What a match against `stored` means.
    fn verdict(&self, stored: &StoredHash, password_bytes: usize) -> Verdict {
        let up_to_date = match (stored, self.scheme) {
            (StoredHash::BcryptSha256(hash), HashScheme::BcryptSha256 { cost }) => hash.cost() >= cost,
            (StoredHash::Argon2id(hash), HashScheme::Argon2id) => hash.is_up_to_date(),
            // Only the first 72 bytes were verified. To hash all of them would make the rest, which nobody ever
            // checked, part of the password.
            (StoredHash::Bcrypt(_), _) => password_bytes > Bcrypt::LOOKED_AT,
            _ => false,
        };
        if up_to_date { Verdict::Match } else { Verdict::MatchOutdated }
    }
}

impl PasswordHasher for SchemeHasher {
    fn hash(&self, password: &AcceptedPassword) -> Result<PasswordHash, HashError> {
        let password = password.expose().as_bytes();
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt);
        let encoded = match self.scheme {
            HashScheme::BcryptSha256 { cost } => BcryptSha256::make(password, cost, salt),
            HashScheme::Argon2id => Argon2id::make(password, &salt)?,
        };
        Ok(PasswordHash::new(encoded))
    }

    fn verify(&self, attempt: &PlaintextPassword, hash: &PasswordHash) -> Result<Verdict, HashError> {
        let stored = StoredHash::parse(hash.expose())?;
        let received = attempt.expose().as_bytes();
        let matches = match &stored {
            StoredHash::BcryptSha256(hash) => hash.matches(attempt.expose_nfc().as_bytes()),
            StoredHash::Argon2id(hash) => hash.matches(attempt.expose_nfc().as_bytes())?,
            StoredHash::Bcrypt(hash) => hash.matches(received),
            StoredHash::Werkzeug(hash) => hash.matches(received)?,
        };
        Ok(if matches { self.verdict(&stored, received.len()) } else { Verdict::Mismatch })
    }
}

/// Checks that a stored hash is of a known scheme and within its bounds, without hashing anything.
///
/// # Errors
/// The reason, which contains nothing of the hash.
pub fn check(hash: &PasswordHash) -> Result<(), &'static str> {
    match StoredHash::parse(hash.expose()) {
        Ok(_) => Ok(()),
        Err(Unusable(reason)) => Err(reason),
    }
}

/// How new hashes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashScheme {
    /// `bcrypt-sha256` version 2, as passlib defines it: bcrypt of an HMAC, so that every character of a password
    /// counts and not the first 72 bytes alone.
    BcryptSha256 {
        /// The work it takes.
        cost: BcryptCost,
    },
    /// Argon2id (RFC 9106) with 19 MiB, two passes and one lane, the least that OWASP recommends.
    Argon2id,
}

impl HashScheme {
    /// How long one hash takes on one core of a usual server, to reckon with: on this one it may be twice or half as
    /// long.
    pub fn usual_time(self) -> Duration {
        match self {
            Self::BcryptSha256 { cost } => Duration::from_micros(73) * (1 << cost.get()),
            Self::Argon2id => Duration::from_millis(16),
        }
    }
}

/// `bcrypt-sha256` at cost 12.
impl Default for HashScheme {
    fn default() -> Self {
        Self::BcryptSha256 { cost: BcryptCost::default() }
    }
}

/// A stored hash of a known scheme, within the bounds of that scheme.
enum StoredHash<'a> {
    BcryptSha256(BcryptSha256<'a>),
    Bcrypt(Bcrypt),
    Argon2id(Argon2id),
    Werkzeug(Werkzeug<'a>),
}

impl<'a> StoredHash<'a> {
    fn parse(encoded: &'a str) -> Result<Self, Unusable> {
        let starts_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| encoded.starts_with(prefix));
        match () {
            () if starts_with(&["$bcrypt-sha256$"]) => BcryptSha256::parse(encoded).map(Self::BcryptSha256),
            () if starts_with(&["$argon2id$"]) => Argon2id::parse(encoded).map(Self::Argon2id),
            () if starts_with(&["$2a$", "$2b$", "$2y$"]) => Bcrypt::parse(encoded).map(Self::Bcrypt),
            () if starts_with(&["scrypt:", "pbkdf2:"]) => Werkzeug::parse(encoded).map(Self::Werkzeug),
            () => Err(Unusable("unknown scheme")),
        }
    }
}

/// Why a stored hash cannot be used: words that show nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unusable(&'static str);

impl From<Unusable> for HashError {
    fn from(Unusable(reason): Unusable) -> Self {
        Self::Unusable(reason)
    }
}

/// 128 bits: what bcrypt takes, and what RFC 9106 recommends.
const SALT_BYTES: usize = 16;

/// The most memory that one verification may take, in bytes: what most libraries for Argon2 ask for by default, and
/// twice what Werkzeug's scrypt does.
const MAX_MEMORY: u64 = 64 * 1024 * 1024;

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> HashError {
    HashError::Failed(Box::new(error))
}

/// Reads a number as the schemes write them: decimal digits without leading zeros.
fn parse_number(digits: &str) -> Option<u32> {
    let canonical = digits == "0" || !digits.starts_with('0');
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && all_digits).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use portcullis_domain::password::policy::PasswordPolicy;
    use portcullis_testkit::SeededRandom;
    use proptest::prelude::*;

    use super::*;

    const WERKZEUG: &str = include_str!("../tests/data/werkzeug.tsv");
    const PASSLIB: &str = include_str!("../tests/data/passlib.tsv");

    fn hasher(scheme: HashScheme) -> SchemeHasher {
        SchemeHasher::new(scheme, Arc::new(SeededRandom::new(1)))
    }

    fn bcrypt(cost: u32) -> HashScheme {
        HashScheme::BcryptSha256 { cost: BcryptCost::new(cost).unwrap() }
    }

    fn verify(scheme: HashScheme, password: &str, hash: &str) -> Result<Verdict, HashError> {
        hasher(scheme)
            .verify(&PlaintextPassword::new(password.to_owned()), &PasswordHash::new(hash.to_owned()))
    }

    fn made(scheme: HashScheme, password: &str) -> String {
        let anything = PasswordPolicy { min_length: 0, forbid_common: false, ..PasswordPolicy::nist() };
        let password = anything.accept(&PlaintextPassword::new(password.to_owned()), "").unwrap();
        hasher(scheme).hash(&password).unwrap().expose().to_owned()
    }

    #[track_caller]
    fn check(scheme: HashScheme, password: &str, hash: &str, expected: Verdict) {
        assert_eq!(verify(scheme, password, hash).unwrap(), expected, "{scheme:?} {password:?} {hash}");
    }

    /// The passwords and hashes of a data file.
    fn vectors(file: &str) -> Vec<(String, &str)> {
        let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split_once('\t').unwrap()).map(|(hex, hash)| (from_hex(hex), hash)).collect()
    }

    fn from_hex(hex: &str) -> String {
        String::from_utf8(base16ct::mixed::decode_vec(hex).unwrap()).unwrap()
    }

    #[test]
    fn hashes_of_the_real_werkzeug_verify_and_are_outdated() {
        for (password, hash) in vectors(WERKZEUG) {
            check(bcrypt(4), &password, hash, Verdict::MatchOutdated);
            check(HashScheme::Argon2id, &format!("{password}x"), hash, Verdict::Mismatch);
        }
    }

    #[test]
    fn hashes_of_the_real_passlib_verify() {
        for (password, hash) in vectors(PASSLIB) {
            let own = hash.starts_with("$bcrypt-sha256$");
            let cut = !own && hash.starts_with("$2") && password.len() > 72;
            let expected = if own || cut { Verdict::Match } else { Verdict::MatchOutdated };
            check(bcrypt(4), &password, hash, expected);
            let whole = own || hash.starts_with("$argon2id$") || password.len() < 72;
            let longer = if whole { Verdict::Mismatch } else { Verdict::Match };
            check(bcrypt(4), &format!("{password}x"), hash, longer);
        }
    }

    #[test]
    fn weaker_hashes_are_outdated_and_stronger_ones_are_not() {
        let (weak, strong) = (made(bcrypt(4), "password"), made(bcrypt(5), "password"));
        check(bcrypt(4), "password", &strong, Verdict::Match);
        check(bcrypt(5), "password", &strong, Verdict::Match);
        check(bcrypt(5), "password", &weak, Verdict::MatchOutdated);
        check(bcrypt(5), "passwore", &weak, Verdict::Mismatch);
        let argon2 = made(HashScheme::Argon2id, "password");
        check(HashScheme::Argon2id, "password", &argon2, Verdict::Match);
        check(HashScheme::Argon2id, "password", &argon2.replace("t=2", "t=1"), Verdict::Mismatch);
        check(bcrypt(5), "password", &argon2, Verdict::MatchOutdated);
        check(HashScheme::Argon2id, "password", &strong, Verdict::MatchOutdated);
        let default_argon2 = vectors(PASSLIB).into_iter().find(|(_, hash)| hash.contains("m=65536")).unwrap();
        check(HashScheme::Argon2id, &default_argon2.0, default_argon2.1, Verdict::Match);
    }

    #[test]
    fn own_hashes_are_of_the_password_in_nfc() {
        for scheme in [bcrypt(4), HashScheme::Argon2id] {
            let hash = made(scheme, "e\u{301}te\u{301} 2027");
            check(scheme, "\u{e9}t\u{e9} 2027", &hash, Verdict::Match);
            check(scheme, "e\u{301}te\u{301} 2027", &hash, Verdict::Match);
            check(scheme, "ete 2027", &hash, Verdict::Mismatch);
        }
    }

    #[test]
    fn imported_hashes_are_of_the_bytes_as_received() {
        let (decomposed, hash) =
            vectors(WERKZEUG).into_iter().find(|(password, _)| password.contains('\u{301}')).unwrap();
        check(bcrypt(4), &decomposed, hash, Verdict::MatchOutdated);
        check(bcrypt(4), &decomposed.replace("e\u{301}", "\u{e9}"), hash, Verdict::Mismatch);
    }

    /// PW-01, for imported hashes: what was never checked does not become part of the password.
    #[test]
    fn plain_bcrypt_beyond_72_bytes_is_not_upgraded() {
        let long = "x".repeat(72);
        let (_, hash) = vectors(PASSLIB)
            .into_iter()
            .find(|(password, hash)| *password == long && hash.starts_with("$2b$"))
            .unwrap();
        check(bcrypt(4), &long, hash, Verdict::MatchOutdated);
        check(bcrypt(4), &format!("{long}A"), hash, Verdict::Match);
        check(HashScheme::Argon2id, &format!("{long}B"), hash, Verdict::Match);
        check(bcrypt(4), &long[1..], hash, Verdict::Mismatch);
    }

    #[test]
    fn pw_10_what_would_cost_too_much_is_refused_before_any_work() {
        for hash in [
            "$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
            "$2b$31$n79VH.0Q2TMWmt3Oqt9ukuKq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
            "$argon2id$v=19$m=8388608,t=1,p=1$0eEP0Fftx5IHiYL7E8QgkA$U/52qGcWqqZi7syb2Hvokl0I2jgq6BPIv73Qe5X1a00",
            "$argon2id$v=19$m=65536,t=1000,p=1$0eEP0Fftx5IHiYL7E8QgkA$U/52qGcWqqZi7syb2Hvokl0I2jgq6BPIv73Qe5X1a00",
            &format!("scrypt:1073741824:8:1$salt${}", "ab".repeat(64)),
            &format!("pbkdf2:sha256:4294967295$salt${}", "ab".repeat(32)),
        ] {
            let refused = verify(bcrypt(4), "password", hash);
            assert!(
                matches!(refused, Err(HashError::Unusable(reason)) if reason.contains("out of bounds")),
                "{hash}"
            );
        }
    }

    /// docs/importing.md promises operators which hashes can be imported.
    #[test]
    fn documented_hashes_are_accepted_and_refused() {
        const DOCUMENT: &str = include_str!("../../../docs/importing.md");
        let blocks = |kind: &str| -> Vec<&str> {
            let blocks = DOCUMENT.split(kind).skip(1).map(|rest| rest.split("```").next().unwrap());
            blocks.flat_map(str::lines).filter(|line| !line.is_empty()).collect()
        };
        let (accepted, refused) = (blocks("```accepted\n"), blocks("```refused\n"));
        assert_eq!((accepted.len(), refused.len()), (9, 5));
        for hash in accepted {
            assert!(verify(bcrypt(4), "password", hash).unwrap() != Verdict::Mismatch, "{hash}");
            assert_eq!(check_text(hash), Ok(()));
        }
        for hash in refused {
            assert!(check_text(hash).is_err(), "{hash}");
            assert!(matches!(verify(bcrypt(4), "password", hash), Err(HashError::Unusable(_))), "{hash}");
        }
        for bounds in [
            format!("| cost {} to {} |", BcryptCost::MIN, BcryptCost::MAX),
            format!("`m` at most {}; `m` times `t` at most {} |", MAX_MEMORY / 1024, argon2::MAX_WORK / 1024),
            format!(
                "| 1 to {} iterations; salt of at most {} bytes |",
                werkzeug::MAX_ITERATIONS,
                werkzeug::MAX_SALT
            ),
            format!(
                "| `128 * N * r` at most {MAX_MEMORY}; `N * r * p` at most {};",
                werkzeug::MAX_SCRYPT_BLOCKS
            ),
        ] {
            assert!(DOCUMENT.contains(&bounds), "{bounds}");
        }
    }

    fn check_text(hash: &str) -> Result<(), &'static str> {
        super::check(&PasswordHash::new(hash.to_owned()))
    }

    #[test]
    fn unknown_schemes_are_unusable() {
        let sixty_bytes = "\u{e9}".repeat(30);
        for hash in
            ["", "!", "plaintext", "$1$salt$digest", "$2$04$", "$2x$04$", "$6$..", "sha1$x$y", &sixty_bytes]
        {
            assert!(matches!(verify(bcrypt(4), hash, hash), Err(HashError::Unusable(_))), "{hash}");
        }
    }

    /// Cheap hashes of every scheme.
    const CHEAP: [&str; 6] = [
        "$bcrypt-sha256$v=2,t=2b,r=4$xewYdcgTC2KZZURWpllQ7e$WIujmEBJqy8xZQs44z.8KHuaVpCX9RW",
        "$2y$04$DJgMxwiRHuq8ubq.GajeyeITeNMOkehUFxZ4yqIZdRKEe86tTEqRe",
        "$argon2id$v=19$m=8,t=1,p=1$+z2nqBrN6xeE4XbJDHdKpQ$Eg6WATuc8HQF0TElcvp1xGNa8aqzB4M4pitXemQviVU",
        "pbkdf2:sha1:1$lR7SjRPLvmfWlFsu$1523b26e34f4bac63c59e7e46f0d573ebd07ba51",
        "pbkdf2:sha256:1000$nTlySDKEtS5lbwtv$f6300e6e88cb6804aa846dc1d7a1e741485800e2da53e9722fc8afef8ca68234",
        "scrypt:2:1:1$salt$00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\
         00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    ];

    /// How far a parser may get before nonsense begins.
    const PREFIXES: [&str; 7] = [
        "",
        "$bcrypt-sha256$",
        "$bcrypt-sha256$v=2,t=2b,r=",
        "$2b$",
        "$argon2id$v=19$",
        "scrypt:",
        "pbkdf2:sha1:",
    ];

    proptest! {
        /// RUSTSEC-2026-0199 was a panic on a hash of 60 bytes that were not ASCII. Whatever a row holds, the answer
        /// is a verdict or an error. (Parsing only: a mutation may well ask for a second of work.)
        #[test]
        fn no_stored_text_panics(
            index in 0..CHEAP.len(),
            at in any::<prop::sample::Index>(),
            length in 0_usize..12,
            replacement in "\\PC{0,12}|[0-9$:=,.a-z\0\u{e9}]{0,12}",
        ) {
            let hash: Vec<char> = CHEAP[index].chars().collect();
            let start = at.index(hash.len());
            let end = (start + length).min(hash.len());
            let mutated: String =
                hash[..start].iter().copied().chain(replacement.chars()).chain(hash[end..].iter().copied()).collect();
            let _any_answer = StoredHash::parse(&mutated);
        }

        /// The same through the whole of `verify`, where digits stay so that the work does.
        #[test]
        fn no_stored_text_panics_when_verified(
            index in 0..CHEAP.len(),
            at in any::<prop::sample::Index>(),
            replacement in any::<char>(),
            password in "\\PC{0,100}",
        ) {
            let mut hash: Vec<char> = CHEAP[index].chars().collect();
            let at = at.index(hash.len());
            if !hash[at].is_ascii_digit() && !replacement.is_ascii_digit() {
                hash[at] = replacement;
            }
            let mutated: String = hash.into_iter().collect();
            let verdict = verify(bcrypt(4), &password, &mutated);
            prop_assert!(!matches!(verdict, Err(HashError::Failed(_))), "{mutated}: {verdict:?}");
        }

        #[test]
        fn no_text_at_all_panics(text in "\\PC*", prefix in prop::sample::select(&PREFIXES[..])) {
            let _any_answer = StoredHash::parse(&format!("{prefix}{text}"));
        }
    }
}
