//! Small changes to a token, as tampering and copying make them.

/// Every text that has another character of the alphabet of tokens in one place.
pub(super) fn one_changed(text: &str) -> impl Iterator<Item = String> {
    positions(text).flat_map(move |at| {
        let (start, end) = text.split_at(at);
        let old = end.chars().next();
        let others = CHARACTERS.chars().filter(move |&new| Some(new) != old);
        others.map(move |new| format!("{start}{new}{}", end.get(1..).unwrap_or_default()))
    })
}

/// Every text with one more character in one place.
pub(super) fn one_added(text: &str) -> impl Iterator<Item = String> {
    positions(text).chain([text.len()]).flat_map(move |at| {
        let (start, end) = text.split_at(at);
        ["A", "=", ".", "\n", "\0"].into_iter().map(move |new| format!("{start}{new}{end}"))
    })
}

/// Every text with one character less.
pub(super) fn one_removed(text: &str) -> impl Iterator<Item = String> {
    positions(text).map(move |at| format!("{}{}", &text[..at], text.get(at + 1..).unwrap_or_default()))
}

/// Where the characters of an ASCII text begin.
fn positions(text: &str) -> std::ops::Range<usize> {
    assert!(text.is_ascii(), "tokens are ASCII");
    0..text.len()
}

/// Of both alphabets of base64, and what else may stand between them.
const CHARACTERS: &str = "Aw9-+=. ";
