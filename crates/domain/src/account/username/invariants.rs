//! What holds of every text that somebody takes for a name.

use unicode_normalization::UnicodeNormalization;

use super::{CanonicalName, Username};

/// Canonical forms are stable and blind to case and composition; a name is refused exactly when it breaks a rule, and the
/// refusal names one.
///
/// # Panics
/// Where it does not hold.
pub fn holds(input: &[u8]) {
    let Ok(raw) = str::from_utf8(input) else { return };

    let canonical = CanonicalName::of(raw);
    assert_eq!(CanonicalName::of(canonical.as_str()), canonical, "a canonical form is its own");
    let composed: String = raw.nfc().collect();
    let decomposed: String = raw.nfd().collect();
    for other in [raw.to_ascii_uppercase(), raw.to_ascii_lowercase(), composed, decomposed] {
        assert_eq!(CanonicalName::of(&other), canonical, "{other:?} is no other name");
    }

    // The shape is written twice, as a pattern and as the rules that a refusal names; this is a third.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = (3..=32).contains(&raw.len()) && raw.chars().all(allowed) && !raw.starts_with(['.', '_', '-']);
    match Username::parse_for_operator(raw) {
        Ok(name) => {
            assert!(fits, "it breaks a rule");
            assert_eq!((name.as_str(), name.canonical()), (raw, &canonical));
            assert_eq!(Username::from_stored(raw.to_owned()), Some(name), "it comes back from a store");
        }
        Err(violations) => {
            assert!(!fits && !violations.is_empty(), "{violations:?}");
            assert_eq!(Username::parse(raw), Err(violations), "registration asks for no less");
        }
    }
    if let Some(stored) = Username::from_stored(raw.to_owned()) {
        assert!((1..=CanonicalName::MAX_LENGTH).contains(&raw.chars().count()));
        assert_eq!((stored.as_str(), stored.canonical()), (raw, &canonical));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/username"), 20_000, holds);
    }

    /// Text in which case and composition matter: letters of several scripts, some with surprising cases, and marks.
    const NAMES: &str = "\\PC{0,40}|[A-Za-z0-9._-]{0,34}|[aZiI\u{130}\u{131}ß\u{1e9e}Σσς\u{212a}é\u{300}\u{301}\u{307}\u{345} .]{0,12}";

    proptest! {
        #[test]
        fn it_holds_of_text_in_which_case_and_composition_matter(raw in NAMES) {
            holds(raw.as_bytes());
        }
    }
}
