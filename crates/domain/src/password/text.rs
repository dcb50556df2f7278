use std::fmt;

use zeroize::Zeroizing;

use crate::account::nfc;

/// A password as somebody typed it; nothing is known about it yet. Wiped from memory on drop, and so is each clone.
///
/// ```
/// use portcullis_domain::password::PlaintextPassword;
///
/// let attempt = PlaintextPassword::new("correct horse".to_owned());
/// assert_eq!(format!("{attempt:?}"), "PlaintextPassword(..)");
/// ```
///
/// Secrets have no `==`:
///
/// ```compile_fail
/// # use portcullis_domain::password::PlaintextPassword;
/// let (a, b) = (PlaintextPassword::new("x".to_owned()), PlaintextPassword::new("x".to_owned()));
/// let _ = a == b;
/// ```
#[derive(Clone)]
pub struct PlaintextPassword(Zeroizing<String>);

impl PlaintextPassword {
    /// The longest password looked at, in code points after NFC.
    pub const MAX_LENGTH: usize = 256;

    /// More bytes than any password of [`Self::MAX_LENGTH`] has: a code point takes at most four bytes and comes from at
    /// most four (UAX #15, canonical decomposition). Beyond it nothing is normalised.
    const MAX_BYTES: usize = Self::MAX_LENGTH * 4 * 4;

    /// Takes the password as received.
    pub fn new(raw: String) -> Self {
        Self(Zeroizing::new(raw))
    }

    /// The bytes exactly as received: what imported hashes were made of.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The password in Unicode NFC: what this service's own hashes are made of, so that the same password typed on
    /// another keyboard is the same password. Compatibility variants stay different.
    pub fn expose_nfc(&self) -> Zeroizing<String> {
        nfc(&self.0)
    }

    /// Its length in code points after NFC; `None` when it has so many bytes that it is too long in any case.
    pub(crate) fn length(&self) -> Option<usize> {
        (self.0.len() <= Self::MAX_BYTES).then(|| self.expose_nfc().chars().count())
    }

    /// The password as it would be hashed, without a look at any policy: for a rehash of what just verified, and
    /// for the hash that a name without an account costs.
    pub(crate) fn to_hashable(&self) -> AcceptedPassword {
        AcceptedPassword(self.expose_nfc())
    }
}

/// Takes the password from an owner that wipes it, without a copy.
impl From<Zeroizing<String>> for PlaintextPassword {
    fn from(raw: Zeroizing<String>) -> Self {
        Self(raw)
    }
}

impl fmt::Debug for PlaintextPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaintextPassword(..)")
    }
}

/// A password that may be stored: only [`PasswordPolicy::accept`](super::policy::PasswordPolicy::accept) makes one. Wiped
/// from memory on drop, and so is each clone.
#[derive(Clone)]
pub struct AcceptedPassword(Zeroizing<String>);

impl AcceptedPassword {
    /// The password in Unicode NFC.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether both are one password, after NFC. Takes a time that depends on them, so the caller must know both.
    pub(crate) fn is_same_as(&self, attempt: &PlaintextPassword) -> bool {
        *self.0 == *attempt.expose_nfc()
    }
}

impl fmt::Debug for AcceptedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptedPassword(..)")
    }
}

/// A stored password hash in its own text format (`$bcrypt-sha256$..`, `$argon2id$..`, `scrypt:..`). Wiped from memory on
/// drop, and so is each clone.
#[derive(Clone)]
pub struct PasswordHash(Zeroizing<String>);

impl PasswordHash {
    /// Takes what a hasher made or a store holds; whether it parses is the hasher's business.
    pub fn new(encoded: String) -> Self {
        Self(Zeroizing::new(encoded))
    }

    /// The encoded hash, for stores and hashers.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    #[test]
    fn nfc_joins_what_keyboards_tell_apart_and_nothing_else() {
        let nfc = |raw: &str| PlaintextPassword::new(raw.to_owned()).expose_nfc().to_string();
        assert_eq!(nfc("e\u{301}"), nfc("é"));
        assert_ne!(nfc("\u{fb01}"), nfc("fi"), "compatibility variants stay different");
        assert_eq!(nfc(" a "), " a ");
    }

    #[test]
    fn passwords_equal_after_nfc_are_the_same() {
        let is_same = |accepted: &str, attempt: &str| {
            let [accepted, attempt] = [accepted, attempt].map(|raw| PlaintextPassword::new(raw.to_owned()));
            accepted.to_hashable().is_same_as(&attempt)
        };
        assert!(is_same("e\u{301}", "é") && is_same("é", "e\u{301}"));
        assert!(!is_same("e", "é") && !is_same("A", "a") && !is_same("\u{fb01}", "fi"));
    }

    // ASVS 11.7.2
    #[test]
    fn all_that_these_types_hold_is_wiped_on_drop() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let attempt = PlaintextPassword::new("hunter2hunter2".to_owned());
        let AcceptedPassword(text) = attempt.to_hashable();
        is_wiped(&text);
        let PasswordHash(text) = PasswordHash::new("$2b$..".into());
        is_wiped(&text);
        is_wiped(&attempt.expose_nfc());
        let PlaintextPassword(text) = attempt;
        is_wiped(&text);
    }

    #[test]
    fn debug_shows_nothing() {
        let attempt = PlaintextPassword::new("hunter2hunter2".to_owned());
        let text =
            format!("{attempt:?} {:?} {:?}", attempt.to_hashable(), PasswordHash::new("$2b$..".into()));
        assert_eq!(text, "PlaintextPassword(..) AcceptedPassword(..) PasswordHash(..)");
    }
}
