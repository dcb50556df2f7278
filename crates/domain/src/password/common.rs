//! The shipped list of common passwords.

use std::collections::HashSet;
use std::sync::LazyLock;

use zeroize::Zeroizing;

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
    fn case_does_not_matter() {
        assert!(contains("PassWord1"));
        assert!(!contains("a sentence nobody uses"));
    }
}
