//! Usernames: what may be registered, and how names are told apart.

#[cfg(any(test, fuzzing))]
pub mod invariants;

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// A username as its owner registered it, with the form by which it is unique.
///
/// ```
/// use portcullis_domain::account::{Username, UsernameViolation};
///
/// let name = Username::parse("Alice.W").unwrap();
/// assert_eq!(name.as_str(), "Alice.W", "shown as registered");
/// assert_eq!(name.canonical().as_str(), "alice.w", "unique without regard to case");
///
/// assert_eq!(Username::parse("al"), Err(vec![UsernameViolation::TooShort]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    shown: String,
    canonical: CanonicalName,
}

impl Username {
    /// The fewest code points a registered name has.
    pub const MIN_LENGTH: usize = 3;
    /// The most code points a registered name has.
    pub const MAX_LENGTH: usize = 32;

    /// Parses a name by the rules of registration: 3 to 32 of `[A-Za-z0-9._-]`, the first a letter or a digit,
    /// no reserved word.
    ///
    /// # Errors
    /// Every rule that the name breaks.
    pub fn parse(raw: &str) -> Result<Self, Vec<UsernameViolation>> {
        Self::parse_for_operator(raw).and_then(|name| match RESERVED.contains(&name.canonical.as_str()) {
            true => Err(vec![UsernameViolation::Reserved]),
            false => Ok(name),
        })
    }

    /// Parses a name that an operator gives: the rules of registration, but reserved words are allowed.
    ///
    /// # Errors
    /// Every rule that the name breaks.
    pub fn parse_for_operator(raw: &str) -> Result<Self, Vec<UsernameViolation>> {
        if SHAPE.is_match(raw) {
            return Ok(Self { shown: raw.to_owned(), canonical: CanonicalName::of(raw) });
        }
        let length = raw.chars().count();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let broken = [
            (length < Self::MIN_LENGTH, UsernameViolation::TooShort),
            (length > Self::MAX_LENGTH, UsernameViolation::TooLong { max: Self::MAX_LENGTH }),
            (!raw.chars().all(allowed), UsernameViolation::InvalidCharacter),
            (raw.starts_with(['.', '_', '-']), UsernameViolation::InvalidStart),
        ];
        Err(broken.into_iter().filter_map(|(is_broken, violation)| is_broken.then_some(violation)).collect())
    }

    /// Takes a name out of a store. The rule is wider than registration's, for users imported from elsewhere
    /// (`bob@example.com`): 1 to [`CanonicalName::MAX_LENGTH`] code points without control characters.
    ///
    /// `None` when the stored text cannot be a name.
    pub fn from_stored(shown: String) -> Option<Self> {
        let length = shown.chars().count();
        let plausible =
            (1..=CanonicalName::MAX_LENGTH).contains(&length) && !shown.contains(char::is_control);
        plausible.then(|| Self { canonical: CanonicalName::of(&shown), shown })
    }

    /// The name as registered.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The form by which it is unique.
    pub fn canonical(&self) -> &CanonicalName {
        &self.canonical
    }
}

/// The form of a name by which users are found and told apart: Unicode NFC of the lower-cased NFC.
///
/// Any text has one, so that a login can ask for any name; only [`Username`] says which names may exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalName(String);

impl CanonicalName {
    /// The longest name a login looks at, in code points.
    pub const MAX_LENGTH: usize = 256;

    /// The canonical form of `raw`.
    pub fn of(raw: &str) -> Self {
        if raw.is_ascii() {
            return Self(raw.to_ascii_lowercase());
        }
        let lower = Zeroizing::new(nfc(raw).to_lowercase());
        Self(std::mem::take(&mut *nfc(&lower)))
    }

    /// The canonical form of a password, to look for a name in it. No copy on the way to it stays behind.
    pub(crate) fn of_secret(secret: &str) -> Zeroizing<String> {
        Zeroizing::new(Self::of(secret).0)
    }

    /// The text, as stores index it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text in NFC, in one allocation: growing would leave copies behind, and it may be a password. NFC is at most three
/// times as long in UTF-8 (UAX #15).
pub(crate) fn nfc(text: &str) -> Zeroizing<String> {
    let mut nfc = Zeroizing::new(String::with_capacity(text.len() * 3));
    nfc.extend(text.nfc());
    nfc
}

/// A rule that a username breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameViolation {
    /// Fewer than [`Username::MIN_LENGTH`] code points.
    #[error("must be at least {} characters long", Username::MIN_LENGTH)]
    TooShort,
    /// More code points than may be registered, or than a login looks at.
    #[error("must be at most {max} characters long")]
    TooLong {
        /// How many they may be.
        max: usize,
    },
    /// A character outside `[A-Za-z0-9._-]`.
    #[error("may contain only letters, digits, '.', '_' and '-'")]
    InvalidCharacter,
    /// A first character that is neither a letter nor a digit.
    #[error("must start with a letter or a digit")]
    InvalidStart,
    /// A word that would pass for the service itself or its staff.
    #[error("is reserved")]
    Reserved,
}

/// The shape that registration asks for. `regex` runs in time linear in its input.
static SHAPE: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant pattern, compiled by every test of this file")]
    Regex::new("^[A-Za-z0-9][A-Za-z0-9._-]{2,31}$").expect("the pattern is valid")
});

/// Names that readers would take for the service, its staff or "nobody".
const RESERVED: &[&str] = &[
    "admin",
    "administrator",
    "anonymous",
    "everyone",
    "guest",
    "moderator",
    "nobody",
    "null",
    "official",
    "operator",
    "owner",
    "portcullis",
    "root",
    "security",
    "staff",
    "superuser",
    "support",
    "system",
    "undefined",
    "unknown",
];

#[cfg(test)]
mod tests {
    use super::UsernameViolation::{InvalidCharacter, InvalidStart, Reserved, TooLong, TooShort};
    use super::*;

    #[test]
    fn registration_lists_every_broken_rule() {
        let long = "x".repeat(33);
        let cases: &[(&str, &[UsernameViolation])] = &[
            ("bob", &[]),
            ("0x.y_z-", &[]),
            (&"x".repeat(32), &[]),
            ("", &[TooShort]),
            ("ab", &[TooShort]),
            (&long, &[TooLong { max: 32 }]),
            ("-é", &[TooShort, InvalidCharacter, InvalidStart]),
            (".bob", &[InvalidStart]),
            ("bob\n", &[InvalidCharacter]),
            ("bo b", &[InvalidCharacter]),
            ("bob\u{200b}", &[InvalidCharacter]),
            ("аdmin", &[InvalidCharacter]), // a Cyrillic first letter
            ("\u{212a}elvin", &[InvalidCharacter]),
            ("bob\0", &[InvalidCharacter]),
            ("Admin", &[Reserved]),
            ("ROOT", &[Reserved]),
        ];
        for (raw, expected) in cases {
            let violations = Username::parse(raw).err().unwrap_or_default();
            assert_eq!(&violations, expected, "{raw:?}");
        }
    }

    #[test]
    fn reserved_words_are_the_operators_to_give() {
        assert!(Username::parse_for_operator("admin").is_ok());
        assert!(Username::parse_for_operator("a").is_err());
    }

    #[test]
    fn reserved_words_are_canonical_and_sorted() {
        assert!(RESERVED.is_sorted());
        assert!(RESERVED.iter().all(|word| CanonicalName::of(word).as_str() == *word));
    }

    #[test]
    fn names_differ_by_more_than_case_and_composition() {
        let same = [("Bob", "bOB"), ("É", "e\u{301}"), ("ÀB", "a\u{300}b")];
        for (a, b) in same {
            assert_eq!(CanonicalName::of(a), CanonicalName::of(b), "{a:?} {b:?}");
        }
        let different = [("bob", "bob "), ("fi", "\u{fb01}"), ("s", "\u{17f}"), ("i", "\u{131}")];
        for (a, b) in different {
            assert_ne!(CanonicalName::of(a), CanonicalName::of(b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn stored_names_may_be_what_registration_refuses() {
        assert!(Username::from_stored("bob@example.com".into()).is_some());
        assert!(Username::from_stored("é".into()).is_some());
        assert!(Username::from_stored(String::new()).is_none());
        assert!(Username::from_stored("a\0".into()).is_none());
        assert!(Username::from_stored("x".repeat(257)).is_none());
    }
}
