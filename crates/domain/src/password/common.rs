//! Passwords that too many people use: the shipped list, and lists of an operator's.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use zeroize::Zeroizing;

use crate::password::PlaintextPassword;

/// Passwords that an operator refuses beside those of the shipped list. Cheap to clone.
///
/// ```
/// use portcullis_domain::password::common::PasswordList;
///
/// let list = PasswordList::parse("#! our own\nAcme-2026\n\nacme rocks\n").unwrap();
/// assert_eq!(list.len(), 2);
/// assert!(list.contains("ACME-2026"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PasswordList(Arc<HashSet<Box<str>>>);

impl PasswordList {
    /// The most passwords of a list; a million take some 60 MB of memory.
    pub const MOST: usize = 1_000_000;

    /// Reads a list: one password a line. Empty lines and those that start with `#!` are none, and what is longer than any
    /// password is left out.
    ///
    /// # Errors
    /// [`TooManyPasswords`].
    pub fn parse(text: &str) -> Result<Self, TooManyPasswords> {
        Self::parse_at_most(Self::MOST, text)
    }

    fn parse_at_most(most: usize, text: &str) -> Result<Self, TooManyPasswords> {
        let passwords = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#!"));
        let passwords = passwords.map(|line| PlaintextPassword::new(line.to_owned()));
        let passwords = passwords.filter(|password| {
            password.length().is_some_and(|length| length <= PlaintextPassword::MAX_LENGTH)
        });
        let mut all = HashSet::new();
        for password in passwords {
            all.insert(password.to_hashable().expose().to_ascii_lowercase().into_boxed_str());
            if all.len() > most {
                return Err(TooManyPasswords);
            }
        }
        Ok(Self(Arc::new(all)))
    }

    /// Whether `password`, as it is hashed, is one of them, without regard to ASCII case.
    pub fn contains(&self, password: &str) -> bool {
        self.0.contains(Zeroizing::new(password.to_ascii_lowercase()).as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for PasswordList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordList(of {})", self.len())
    }
}

/// There are more than [`PasswordList::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has more than {} passwords", PasswordList::MOST)]
pub struct TooManyPasswords;

/// Whether `password`, without regard to ASCII case, is one of the shipped common passwords.
pub fn contains(password: &str) -> bool {
    COMMON.contains(Zeroizing::new(password.to_ascii_lowercase()).as_str())
}

/// One lower-case password a line; lines that start with `#!` are comments. Its source is named at its top.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    include_str!("../../data/common_passwords.txt").lines().filter(|l| !l.starts_with("#!")).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_long_lower_case_and_at_least_eight_long() {
        assert!(COMMON.len() >= 3_000, "{}", COMMON.len());
        let odd = COMMON.iter().find(|p| p.chars().count() < 8 || p.chars().any(|c| c.is_ascii_uppercase()));
        assert_eq!(odd, None);
    }

    #[test]
    fn a_list_takes_lines_in_any_case_and_either_form_of_unicode() {
        let long = "x".repeat(PlaintextPassword::MAX_LENGTH + 1);
        let list =
            PasswordList::parse(&format!("#! ours\r\nAcme 1\r\n\r\ncafe\u{301}\n{long}\nacme 1")).unwrap();
        assert_eq!(list.len(), 2);
        assert!(list.contains("aCME 1") && list.contains("caf\u{e9}"));
        assert!(!list.contains("") && !list.contains("#! ours") && !list.contains(&long));
        assert_eq!(format!("{list:?}"), "PasswordList(of 2)");
    }

    #[test]
    fn a_list_has_its_end() {
        assert_eq!(PasswordList::parse_at_most(2, "a\nb\nA\n").unwrap().len(), 2);
        assert_eq!(PasswordList::parse_at_most(2, "a\nb\nc\n"), Err(TooManyPasswords));
    }

    #[test]
    fn case_does_not_matter() {
        assert!(contains("PassWord1"));
        assert!(!contains("a sentence nobody uses"));
    }
}
