//! The one secret of a deployment, from which every key is derived.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::ports::SecureRandom;
use zeroize::Zeroizing;

/// A secret good enough to derive keys from. It cannot be printed or compared, and is wiped on drop.
///
/// White space around it is not part of it, so that a file that ends with a newline holds the same secret as an
/// environment variable. Everything else is: keys are derived from the bytes of the text as it stands, the prefix
/// `pcs_` included.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// What generated secrets start with, so that scanners find them where they should not be.
    pub const PREFIX: &str = "pcs_";

    /// Makes a secret: `pcs_` and 32 random bytes in base64url (43 characters).
    ///
    /// ```
    /// use portcullis_adapters::secret::Secret;
    /// use portcullis_adapters::system::OsRandom;
    ///
    /// let secret = Secret::generate(&OsRandom);
    /// assert!(Secret::parse(secret.expose()).is_ok());
    /// assert_eq!(format!("{secret:?}"), "Secret(..)");
    /// ```
    pub fn generate(random: &dyn SecureRandom) -> Self {
        let mut bytes = Zeroizing::new([0; GENERATED_BYTES]);
        random.fill(bytes.as_mut());
        let mut text = Zeroizing::new(String::with_capacity(Self::PREFIX.len() + GENERATED_CHARS));
        text.push_str(Self::PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_ref(), &mut text);
        Self(text)
    }

    /// Takes a secret that tokens may hang on in production: one in the form of [`Self::generate`], or any text of
    /// at least 32 bytes, 16 of them different, that was never published as a sample. Whoever holds one token can try
    /// secrets at home, so a guessable one is no secret.
    ///
    /// # Errors
    /// [`InvalidSecret`], which never shows the text.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let secret = Self::parse_for_development(text)?;
        let bytes = secret.expose().as_bytes();
        match () {
            () if is_sample(secret.expose()) => Err(InvalidSecret::Sample),
            () if bytes.len() < MIN_BYTES => Err(InvalidSecret::TooShort),
            () if different(bytes) < MIN_DIFFERENT => Err(InvalidSecret::Repetitive),
            () => Ok(secret),
        }
    }

    /// Takes any secret that is not empty, which only development may. A generated secret that was cut, mistyped or has
    /// something around it is refused here too.
    ///
    /// # Errors
    /// [`InvalidSecret::Empty`] and [`InvalidSecret::Damaged`].
    pub fn parse_for_development(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        match text.split_once(Self::PREFIX) {
            _ if text.is_empty() => Err(InvalidSecret::Empty),
            Some((before, encoded)) if !before.is_empty() || !is_generated(encoded) => {
                Err(InvalidSecret::Damaged)
            }
            _ => Ok(Self(Zeroizing::new(text.to_owned()))),
        }
    }

    /// The secret itself: for whoever prints a new one or writes it to its file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secrets that a deployment goes by. During a replacement there are two.
#[derive(Debug)]
pub struct Secrets {
    current: Secret,
    accepted: Vec<Secret>,
}

impl Secrets {
    /// `current` signs and verifies; `accepted`, the secret to come or the one before, verify and never sign. One
    /// that is there already adds nothing.
    pub fn new(current: Secret, accepted: impl IntoIterator<Item = Secret>) -> Self {
        let mut secrets = Self { current, accepted: Vec::new() };
        for secret in accepted {
            if secrets.iter().all(|known| known.expose() != secret.expose()) {
                secrets.accepted.push(secret);
            }
        }
        secrets
    }

    /// The one that signs.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// The others.
    pub fn accepted(&self) -> &[Secret] {
        &self.accepted
    }

    /// All of them, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.accepted)
    }
}

/// Why a text cannot be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// It contains the prefix of a generated one and is none.
    #[error(
        "contains pcs_ but is not pcs_ and 43 base64url characters: was it cut or mistyped, or is something around it?"
    )]
    Damaged,
    /// Fewer than 32 bytes.
    #[error("is shorter than 32 bytes and can be guessed")]
    TooShort,
    /// Fewer than 16 different bytes.
    #[error("has fewer than 16 different bytes and can be guessed")]
    Repetitive,
    /// It can be read in some documentation.
    #[error("is a published sample that anybody can try")]
    Sample,
}

/// Whether `encoded` is what [`Secret::generate`] puts after the prefix.
fn is_generated(encoded: &str) -> bool {
    let mut bytes = Zeroizing::new([0; GENERATED_BYTES]);
    encoded.len() == GENERATED_CHARS && URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut()).is_ok()
}

fn is_sample(text: &str) -> bool {
    SAMPLES.iter().any(|sample| text.eq_ignore_ascii_case(sample))
}

/// How many different bytes there are in `bytes`.
fn different(bytes: &[u8]) -> usize {
    let mut seen = [false; 256];
    for &byte in bytes {
        seen[usize::from(byte)] = true;
    }
    seen.iter().filter(|&&seen| seen).count()
}

/// As many random bytes as the strongest key that is derived from them has.
const GENERATED_BYTES: usize = 32;

/// 32 bytes in base64 without padding.
const GENERATED_CHARS: usize = 43;

/// The least for HMAC-SHA256 (RFC 7518, section 3.2).
const MIN_BYTES: usize = 32;

/// Random hexadecimal digits have up to 16 different ones; a word written again and again has fewer.
const MIN_DIFFERENT: usize = 16;

/// Long enough and varied enough, but printed in this project's files, at jwt.io, or on every keyboard.
const SAMPLES: [&str; 8] = [
    "change-me-to-what-portcullis-secret-generate-prints",
    "pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    "a-string-secret-at-least-256-bits-long",
    "0123456789abcdef0123456789abcdef",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "abcdefghijklmnopqrstuvwxyz012345",
    "abcdefghijklmnopqrstuvwxyz123456",
];

#[cfg(test)]
mod tests {
    use portcullis_testkit::SeededRandom;
    use zeroize::ZeroizeOnDrop;

    use super::*;

    fn check(text: &str, expected: Result<(), InvalidSecret>) {
        assert_eq!(Secret::parse(text).map(drop), expected, "{text:?}");
    }

    // ASVS 13.2.3
    #[test]
    fn production_wants_a_secret_that_nobody_guesses() {
        check("pcs_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8", Ok(()));
        check("7d9f1c0b5a3e8642d7f9c1b0e5a38264", Ok(()));
        check("correct horse battery staple, and then some", Ok(()));
        check("", Err(InvalidSecret::Empty));
        check(" \n", Err(InvalidSecret::Empty));
        check("7d9f1c0b5a3e8642d7f9c1b0e5a3826", Err(InvalidSecret::TooShort));
        check("passwordpasswordpasswordpassword", Err(InvalidSecret::Repetitive));
        check("pcs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Err(InvalidSecret::Repetitive));
        for sample in SAMPLES {
            check(sample, Err(InvalidSecret::Sample));
            check(&sample.to_uppercase().replace("PCS_", "pcs_"), Err(InvalidSecret::Sample));
        }
    }

    #[test]
    fn a_generated_secret_that_lost_a_character_is_refused_everywhere() {
        let whole = "pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        for damaged in [
            &whole[..whole.len() - 1],
            &format!("{whole}A"),
            &whole.replace('A', "+"),
            &whole.replace("Hh8", "Hh9"), // bits that encode nothing
            "pcs_",
            &format!("\"{whole}\""),
            &format!("secret={whole}"),
        ] {
            check(damaged, Err(InvalidSecret::Damaged));
            assert_eq!(Secret::parse_for_development(damaged).map(drop), Err(InvalidSecret::Damaged));
        }
    }

    #[test]
    fn development_takes_what_is_not_empty() {
        assert!(Secret::parse_for_development("dev").is_ok());
        assert_eq!(Secret::parse_for_development("\t").map(drop), Err(InvalidSecret::Empty));
    }

    #[test]
    fn white_space_around_a_secret_is_not_part_of_it() {
        let secret = Secret::parse_for_development(" a secret\r\n").unwrap();
        assert_eq!(secret.expose(), "a secret");
    }

    #[test]
    fn generated_secrets_are_accepted_and_differ() {
        let random = SeededRandom::new(1);
        let (one, other) = (Secret::generate(&random), Secret::generate(&random));
        assert_eq!(one.expose().len(), 47);
        assert_ne!(one.expose(), other.expose());
        assert!(Secret::parse(one.expose()).is_ok());
    }

    // ASVS 11.7.2
    #[test]
    fn secrets_are_wiped_on_drop() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let Secret(text) = Secret::generate(&SeededRandom::new(1));
        is_wiped(&text);
    }

    #[test]
    fn a_secret_counts_once() {
        let secrets = ["a", "b", "a", "b", "c"].map(|text| Secret::parse_for_development(text).unwrap());
        let current = Secret::parse_for_development("a").unwrap();
        let secrets = Secrets::new(current, secrets);
        assert_eq!(secrets.iter().map(Secret::expose).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn neither_the_secret_nor_its_errors_show_it() {
        let text = "hunter2 hunter2 hunter2";
        let secret = Secret::parse_for_development(text).unwrap();
        let shown = format!("{:?}", Secrets::new(secret, []));
        assert_eq!(shown, "Secrets { current: Secret(..), accepted: [] }");
        let error = Secret::parse(text).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
