//! What a new password must be like.

use crate::account::CanonicalName;
use crate::password::common::PasswordList;
use crate::password::{AcceptedPassword, PlaintextPassword, common};

/// The rules for new passwords. They guard registration and password changes, never a login.
///
/// ```
/// use portcullis_domain::password::PlaintextPassword;
/// use portcullis_domain::password::policy::{PasswordPolicy, PasswordViolation};
///
/// let policy = PasswordPolicy::default();
/// let good = PlaintextPassword::new("Tr0ub4dor&3x".to_owned());
/// assert!(policy.accept(&good, "alice").is_ok());
///
/// let poor = PlaintextPassword::new("alice".to_owned());
/// assert_eq!(policy.accept(&poor, "Alice").unwrap_err(), [
///     PasswordViolation::TooShort { min: 8 },
///     PasswordViolation::MissingUpper,
///     PasswordViolation::MissingDigit,
///     PasswordViolation::MissingSpecial,
///     PasswordViolation::ContainsUsername,
/// ]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the settings")]
pub struct PasswordPolicy {
    /// The fewest code points (after NFC).
    pub min_length: usize,
    /// Whether one upper-case letter is required.
    pub require_upper: bool,
    /// Whether one lower-case letter is required.
    pub require_lower: bool,
    /// Whether one digit is required.
    pub require_digit: bool,
    /// Whether one character is required that is neither a letter with case nor a digit.
    pub require_special: bool,
    /// Whether the shipped list of common passwords is refused.
    pub forbid_common: bool,
    /// What else is refused as common.
    pub also_common: PasswordList,
}

impl PasswordPolicy {
    /// The shortest password that any policy may allow (NIST SP 800-63B-4, section 3.1.1.2).
    pub const LOWEST_MIN_LENGTH: usize = 8;

    /// The preset after NIST SP 800-63B-4 for passwords used alone: 15 code points, no composition rules, the
    /// list of common passwords.
    pub fn nist() -> Self {
        Self {
            min_length: 15,
            require_upper: false,
            require_lower: false,
            require_digit: false,
            require_special: false,
            forbid_common: true,
            also_common: PasswordList::default(),
        }
    }

    /// Accepts `attempt` as a new password of the user called `username` (as typed; it need not be a valid name).
    ///
    /// # Errors
    /// Every rule that the password breaks; of one of many thousand bytes, only that it is too long.
    pub fn accept(
        &self,
        attempt: &PlaintextPassword,
        username: &str,
    ) -> Result<AcceptedPassword, Vec<PasswordViolation>> {
        let Some(length) = attempt.length() else {
            return Err(vec![PasswordViolation::TooLong]);
        };
        let password = attempt.to_hashable();
        let text = password.expose();
        let has = |kind: fn(char) -> bool| text.chars().any(kind);
        let name = CanonicalName::of(username);
        let broken = [
            (length < self.min_length, PasswordViolation::TooShort { min: self.min_length }),
            (length > PlaintextPassword::MAX_LENGTH, PasswordViolation::TooLong),
            (self.require_upper && !has(char::is_uppercase), PasswordViolation::MissingUpper),
            (self.require_lower && !has(char::is_lowercase), PasswordViolation::MissingLower),
            (self.require_digit && !has(char::is_numeric), PasswordViolation::MissingDigit),
            (self.require_special && !has(is_special), PasswordViolation::MissingSpecial),
            (text.contains('\0'), PasswordViolation::InvalidCharacter),
            (contains_name(text, &name), PasswordViolation::ContainsUsername),
            (self.is_common(text), PasswordViolation::Common),
        ];
        let violations: Vec<_> =
            broken.into_iter().filter_map(|(is_broken, violation)| is_broken.then_some(violation)).collect();
        match violations.is_empty() {
            true => Ok(password),
            false => Err(violations),
        }
    }

    /// Whether any password is refused as common.
    pub fn forbids_common(&self) -> bool {
        self.forbid_common || !self.also_common.is_empty()
    }

    fn is_common(&self, password: &str) -> bool {
        self.forbid_common && common::contains(password) || self.also_common.contains(password)
    }
}

/// The rules of the original specification: 8 code points with one upper, lower, digit and other character each.
impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_length: 8,
            require_upper: true,
            require_lower: true,
            require_digit: true,
            require_special: true,
            forbid_common: true,
            also_common: PasswordList::default(),
        }
    }
}

/// A rule that a password breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordViolation {
    /// Fewer code points than the policy asks for.
    #[error("must be at least {min} characters long")]
    TooShort {
        /// The policy's minimum.
        min: usize,
    },
    /// More than [`PlaintextPassword::MAX_LENGTH`] code points.
    #[error("must be at most {} characters long", PlaintextPassword::MAX_LENGTH)]
    TooLong,
    /// No upper-case letter.
    #[error("must contain an upper-case letter")]
    MissingUpper,
    /// No lower-case letter.
    #[error("must contain a lower-case letter")]
    MissingLower,
    /// No digit.
    #[error("must contain a digit")]
    MissingDigit,
    /// No character besides letters with case and digits.
    #[error("must contain a character that is neither a letter nor a digit")]
    MissingSpecial,
    /// The username, in any case, is part of it.
    #[error("must not contain the username")]
    ContainsUsername,
    /// It stands in a list of common passwords.
    #[error("is one of the most common passwords")]
    Common,
    /// It contains NUL, which old hashing schemes take for the end.
    #[error("must not contain the character NUL")]
    InvalidCharacter,
    /// It equals the current password after NFC.
    #[error("must differ from the current password")]
    Unchanged,
}

fn is_special(c: char) -> bool {
    !c.is_uppercase() && !c.is_lowercase() && !c.is_numeric()
}

/// Names shorter than three code points are part of too much; nobody can register one.
fn contains_name(password: &str, name: &CanonicalName) -> bool {
    name.as_str().chars().count() >= 3 && CanonicalName::of_secret(password).contains(name.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::PasswordViolation::{
        Common, ContainsUsername, InvalidCharacter, MissingDigit, MissingLower, MissingSpecial, MissingUpper,
        TooLong, TooShort,
    };
    use super::*;

    fn check(policy: &PasswordPolicy, password: &str, expected: &[PasswordViolation]) {
        let attempt = PlaintextPassword::new(password.to_owned());
        let violations = policy.accept(&attempt, "Bob.K").err().unwrap_or_default();
        assert_eq!(violations, expected, "{password:?}");
    }

    // ASVS 6.2.1
    #[test]
    fn the_default_reports_everything_at_once() {
        let policy = PasswordPolicy::default();
        check(&policy, "Gr33n-tea", &[]);
        check(&policy, "Grün3-te\u{301}", &[]);
        check(&policy, "Gr33n te", &[]); // a space is a special character
        check(&policy, "Gr3-n te".get(..7).unwrap_or_default(), &[TooShort { min: 8 }]);
        check(&policy, "", &[TooShort { min: 8 }, MissingUpper, MissingLower, MissingDigit, MissingSpecial]);
        check(&policy, "gr33n-tea", &[MissingUpper]);
        check(&policy, "GR33N-TEA", &[MissingLower]);
        check(&policy, "Green-tea", &[MissingDigit]);
        check(&policy, "Gr33ntea", &[MissingSpecial]);
        check(&policy, "x-BOB.k-Y7", &[ContainsUsername]);
        check(&policy, "Gr33n\0tea", &[InvalidCharacter]);
        check(&policy, "P@ssw0rd", &[Common]);
    }

    // ASVS 6.2.9
    #[test]
    fn length_counts_code_points_after_nfc() {
        let policy = PasswordPolicy { min_length: 8, ..PasswordPolicy::nist() };
        check(&policy, "e\u{301}234567", &[TooShort { min: 8 }]);
        check(&policy, "e\u{301}2345678", &[]);
        let fits = "ü".repeat(256);
        check(&policy, &fits, &[]);
        check(&policy, &format!("{fits}x"), &[TooLong]);
    }

    #[test]
    fn the_nist_preset_asks_for_length_alone() {
        let policy = PasswordPolicy::nist();
        check(&policy, "only lower case", &[]);
        check(&policy, "🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀", &[]);
        check(&policy, "fourteen chars", &[TooShort { min: 15 }]);
        check(&policy, "passwordpassword", &[Common]);
    }

    #[test]
    fn names_of_one_or_two_characters_are_part_of_nothing() {
        let attempt = PlaintextPassword::new("Gr33n-tea".to_owned());
        assert!(PasswordPolicy::default().accept(&attempt, "e").is_ok());
    }

    /// Asks for nothing that a policy can leave out.
    fn no_rule() -> PasswordPolicy {
        PasswordPolicy {
            min_length: 0,
            require_upper: false,
            require_lower: false,
            require_digit: false,
            require_special: false,
            forbid_common: false,
            also_common: PasswordList::default(),
        }
    }

    prop_compose! {
        fn any_policy()(
            min_length in 0_usize..20,
            [upper, lower, digit, special, common] in any::<[bool; 5]>(),
            also_common in "[a-z]{0,3}",
        ) -> PasswordPolicy {
            PasswordPolicy {
                min_length,
                require_upper: upper,
                require_lower: lower,
                require_digit: digit,
                require_special: special,
                forbid_common: common,
                also_common: PasswordList::parse(&also_common).unwrap(),
            }
        }
    }

    fn any_password() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,24}",
            "[a-c]{0,3}",
            "[A-Ca-c1 \0\u{e9}\u{301}\u{4e2d}-]{0,12}",
            "[x\u{e9}]{250,260}",
            prop::sample::select(&["password", "P@ssw0rd", "Qwerty123", "passwordpassword"][..])
                .prop_map(str::to_owned),
        ]
    }

    proptest! {
        #[test]
        fn rules_are_broken_one_by_one(policy in any_policy(), password in any_password(), name in "\\PC{0,4}|[a-cA-C]{3}") {
            let attempt = PlaintextPassword::new(password.clone());
            let broken = |policy: &PasswordPolicy| policy.accept(&attempt, &name).err().unwrap_or_default();
            let rules = [
                no_rule(),
                PasswordPolicy { min_length: policy.min_length, ..no_rule() },
                PasswordPolicy { require_upper: policy.require_upper, ..no_rule() },
                PasswordPolicy { require_lower: policy.require_lower, ..no_rule() },
                PasswordPolicy { require_digit: policy.require_digit, ..no_rule() },
                PasswordPolicy { require_special: policy.require_special, ..no_rule() },
                PasswordPolicy { forbid_common: policy.forbid_common, ..no_rule() },
                PasswordPolicy { also_common: policy.also_common.clone(), ..no_rule() },
            ];
            let single: Vec<_> = rules.iter().flat_map(broken).collect();
            let together = broken(&policy);
            prop_assert!(together.iter().all(|violation| single.contains(violation)), "{together:?} {single:?}");
            prop_assert!(single.iter().all(|violation| together.contains(violation)), "{together:?} {single:?}");
            let repeated = (1..together.len()).any(|n| together[..n].contains(&together[n]));
            prop_assert!(!repeated, "{together:?}");

            match policy.accept(&attempt, &name) {
                Ok(accepted) => {
                    prop_assert!(together.is_empty());
                    prop_assert_eq!(accepted.expose(), password.nfc().collect::<String>());
                }
                Err(violations) => prop_assert!(!violations.is_empty()),
            }
        }

        #[test]
        fn a_password_is_judged_alike_however_it_is_composed(
            policy in any_policy(),
            password in any_password(),
        ) {
            let judged = |password: String| {
                let accepted = policy.accept(&PlaintextPassword::new(password), "abc");
                accepted.map(|password| password.expose().to_owned())
            };
            prop_assert_eq!(judged(password.nfd().collect()), judged(password));
        }

        #[test]
        fn a_name_is_found_wherever_it_stands(
            policy in any_policy(),
            name in "[a-zA-Z0-9._-]{3,32}",
            before in "\\PC{0,12}",
            after in "[ -~]{0,12}",
            upper in any::<bool>(),
        ) {
            let shown = if upper { name.to_ascii_uppercase() } else { name.to_ascii_lowercase() };
            let attempt = PlaintextPassword::new(format!("{before}{shown}{after}"));
            let violations = policy.accept(&attempt, &name).err().unwrap_or_default();
            prop_assert!(violations.contains(&ContainsUsername), "{violations:?}");
        }
    }
}
