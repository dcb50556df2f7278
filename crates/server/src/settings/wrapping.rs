//! Removes or refuses characters that editors, shells and orchestrators add around a value.

use std::fmt;

/// Returns the value of a setting, without the white space around it. Every text from a variable or a file passes
/// through here, regardless of its source.
///
/// Only white space is removed. Everything else is refused instead, because the remaining text would be another secret or
/// issuer than an earlier start used.
///
/// # Errors
/// [`Wrapping`], whose text never contains the value.
pub(crate) fn unwrapped(text: &str, sensitivity: Sensitivity) -> Result<&str, Wrapping> {
    let text = text.trim();
    for c in text.chars() {
        match c {
            '\n' | '\r' => return Err(Wrapping::LineBreak),
            c if c.is_control() || is_invisible(c) => return Err(Wrapping::Invisible(c)),
            _ => {}
        }
    }
    if let Some(quote) = quote_around(text, sensitivity) {
        return Err(Wrapping::Quotes(quote));
    }
    match () {
        () if has_brackets(text, sensitivity) => Err(Wrapping::Brackets),
        () if has_comment(text, sensitivity) => Err(Wrapping::Comment),
        () if is_placeholder(text, sensitivity) => Err(Wrapping::Placeholder),
        () if STORE_REFERENCES.iter().any(|start| text.starts_with(start)) => Err(Wrapping::Reference),
        () if is_assignment(text) => Err(Wrapping::Assignment),
        () if is_json_object(text) => Err(Wrapping::JsonObject),
        () => Ok(text),
    }
}

/// Splits a list at commas and line breaks and removes the white space around each item.
///
/// # Errors
/// [`Wrapping`] of the whole text or of an item.
pub(crate) fn unwrapped_items(text: &str, sensitivity: Sensitivity) -> Result<Vec<&str>, Wrapping> {
    let text = text.trim();
    if text.starts_with('[') && text.ends_with(']') {
        return Err(Wrapping::Brackets);
    }
    if let Some(quote) = quote_around(text, sensitivity) {
        return Err(Wrapping::Quotes(quote));
    }
    let items = text.split([',', '\n', '\r']).filter(|item| !item.trim().is_empty());
    items.map(|item| unwrapped(item, sensitivity)).collect()
}

/// How strictly a text is checked. A secret may contain any characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sensitivity {
    Plain,
    /// Only characters that a random secret hardly contains are refused.
    Secret,
}

/// Characters around a value, or a text in its place. Displays as the rest of a sentence that begins with the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Quotes(char),
    Brackets,
    Comment,
    Invisible(char),
    LineBreak,
    Placeholder,
    Reference,
    Assignment,
    JsonObject,
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Quotes(quote) => {
                write!(f, "has a quote ({quote}) around it, which would be part of the value; remove the quotes")
            }
            Self::Brackets => f.write_str(
                "has brackets ([ ]) around it; remove them and the quotes inside, and separate the items of a list by \
                 commas or line breaks",
            ),
            Self::Comment => {
                f.write_str("ends with a comment (#), which would be part of the value; remove the comment")
            }
            Self::Invisible(BYTE_ORDER_MARK) => {
                f.write_str("contains a byte order mark (U+FEFF); save it as UTF-8 without one")
            }
            Self::Invisible(c) => {
                write!(f, "contains the invisible character U+{:04X}; remove it", u32::from(c))
            }
            Self::LineBreak => f.write_str("contains a line break; write it in one line"),
            Self::Placeholder => {
                f.write_str("contains a placeholder that was not replaced, such as ${NAME} or <name>; set the value itself")
            }
            Self::Reference => {
                f.write_str("is a reference to a secret store that was not resolved; set the value itself")
            }
            Self::Assignment => {
                f.write_str("contains the name of a setting or variable, as in NAME=value; leave only the value")
            }
            Self::JsonObject => f.write_str("is a JSON object; leave only the value"),
        }
    }
}

/// Returns the quote at both ends; in a plain text, one end is enough.
fn quote_around(text: &str, sensitivity: Sensitivity) -> Option<char> {
    let spelled = ESCAPED_QUOTES.iter().find(|(open, close, _)| is_between(text, open, close));
    if let Some((_, _, quote)) = spelled {
        return Some(*quote);
    }
    let (first, last) = (text.chars().next()?, text.chars().next_back()?);
    let is_pair = text.chars().nth(1).is_some()
        && QUOTES.iter().any(|(open, close)| *open == first && close.contains(last));
    let is_quote = |c: char| QUOTES.iter().any(|(open, close)| *open == c || close.contains(c));
    match sensitivity {
        _ if is_pair => Some(first),
        Sensitivity::Plain => [first, last].into_iter().find(|c| is_quote(*c)),
        Sensitivity::Secret => None,
    }
}

fn is_between(text: &str, open: &str, close: &str) -> bool {
    text.strip_prefix(open).is_some_and(|rest| rest.ends_with(close))
}

/// A list in JSON. In a plain text the brackets are enough.
fn has_brackets(text: &str, sensitivity: Sensitivity) -> bool {
    let pairs: &[_] = match sensitivity {
        Sensitivity::Plain => &[("[", "]")],
        Sensitivity::Secret => &[("[\"", "\"]"), ("['", "']")],
    };
    pairs.iter().any(|(open, close)| is_between(text, open, close))
}

/// `value # comment`, as `docker run --env-file` passes it on. The value is one word, and no path or URL, since a name of a
/// file can have ` # ` in it.
fn has_comment(text: &str, sensitivity: Sensitivity) -> bool {
    let slash = match sensitivity {
        Sensitivity::Plain => "/",
        // Base64 has slashes too.
        Sensitivity::Secret => "://",
    };
    text.split_once('#').is_some_and(|(before, comment)| {
        let value = before.trim_end();
        comment.starts_with(' ')
            && value.len() < before.len()
            && !value.is_empty()
            && !value.contains(char::is_whitespace)
            && !value.contains(slash)
    })
}

fn is_placeholder(text: &str, sensitivity: Sensitivity) -> bool {
    // `open` and `close` with a name between them, which `rest` may follow.
    let holds = |open: &str, close: &str| {
        text.split(open).skip(1).any(|after| {
            let inner = after.split_once(close).map(|(inner, _)| inner.trim());
            inner.is_some_and(|inner| is_name(inner.split([':', '-', '|']).next().unwrap_or(inner)))
        })
    };
    let is_variable = |name: &str| {
        is_name(name) && (!name.contains(char::is_lowercase) || !name.contains(char::is_uppercase))
    };
    holds("${", "}")
        || holds("$(", ")")
        || text.split_once(concat!("{", "{")).is_some_and(|(_, rest)| rest.contains("}}"))
        || [("<", ">"), ("%", "%"), ("@", "@"), ("__", "__"), ("#{", "}#")]
            .iter()
            .any(|(open, close)| is_name_between(text, open, close))
        || text.strip_prefix('$').is_some_and(is_variable)
        || is_database_url_with_placeholder(text)
        || sensitivity == Sensitivity::Plain
            && (holds("<", ">")
                || text.split('$').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())))
}

/// Whether the user, a host, the database or a folder in the URL of a database is `$NAME` or `<name>`. The password is not
/// looked at, since it can be any text, nor are the options, in which `$user` has a meaning.
fn is_database_url_with_placeholder(text: &str) -> bool {
    let rest =
        ["sqlite://", "postgres://", "postgresql://"].iter().find_map(|start| text.strip_prefix(start));
    let Some(rest) = rest.and_then(|rest| rest.split('?').next()) else { return false };
    let (user, rest) = rest.split_once('@').unwrap_or(("", rest));
    let user = user.split(':').next().unwrap_or(user);
    std::iter::once(user).chain(rest.split(['/', ':', ','])).any(|part| {
        let variable = part.strip_prefix('$').unwrap_or_default();
        let end = variable.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(variable.len());
        let name = &variable[..end];
        is_name_between(part, "<", ">") || is_name(name) && !name.contains(char::is_lowercase)
    })
}

fn is_name_between(text: &str, open: &str, close: &str) -> bool {
    let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    inner.is_some_and(|inner| {
        !inner.is_empty() && inner.chars().all(|c| c.is_ascii_alphanumeric() || "_-. ".contains(c))
    })
}

/// A name of a variable or of a value in a template.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
}

/// `export NAME=value`, `PORTCULLIS_SECRET=value`, `secret = "value"`, `secret: value`.
fn is_assignment(text: &str) -> bool {
    let exported = ["export ", "set ", "declare -x "].iter().find_map(|start| text.strip_prefix(start));
    let text = exported.unwrap_or(text);
    let Some((name, value)) = text.split_once('=').or_else(|| text.split_once(": ")) else { return false };
    let name = name.trim_end();
    // The padding of base32 and base64 also follows a name's characters.
    let has_value = !value.trim_matches('=').is_empty();
    let upper = name.to_ascii_uppercase();
    is_name(name)
        && has_value
        && (exported.is_some() || NAMES_OF_SETTINGS.iter().any(|part| upper.contains(part)))
}

fn is_json_object(text: &str) -> bool {
    text.ends_with('}') && text.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// Characters without a width, which texts copied from documents and chats often contain, and those that change the
/// direction of writing.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        BYTE_ORDER_MARK
            | '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
    )
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Each opening quote with those that may close it.
const QUOTES: [(char, &str); 10] = [
    ('"', "\""),
    ('\'', "'"),
    ('`', "`'"),
    ('´', "´"),
    ('\u{201c}', "\u{201d}\u{201c}\""),
    ('\u{201d}', "\u{201d}"),
    ('\u{201e}', "\u{201c}\u{201d}"),
    ('\u{2018}', "\u{2019}'"),
    ('\u{2019}', "\u{2019}"),
    ('«', "»"),
];

/// Opening and closing quotes as JSON and shells escape them, and as Python prints bytes.
const ESCAPED_QUOTES: [(&str, &str, char); 4] =
    [("\\\"", "\\\"", '"'), ("\\'", "\\'", '\''), ("b\"", "\"", '"'), ("b'", "'", '\'')];

/// Parts of names that do not belong before a `=` or `:` in a value.
const NAMES_OF_SETTINGS: [&str; 4] = ["PORTCULLIS", "SECRET", "DATABASE", "_URL"];

/// The beginnings of references that secret managers replace by the secret.
const STORE_REFERENCES: [&str; 10] = [
    "op://",
    "vault:",
    "ref+",
    "arn:aws:",
    "arn:aws-",
    "awssm://",
    "gcpsm://",
    "sm://",
    "@Microsoft.KeyVault(",
    "ENC[",
];

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q";

    #[track_caller]
    fn refused(text: &str, expected: Wrapping) {
        for sensitivity in [Sensitivity::Plain, Sensitivity::Secret] {
            assert_eq!(unwrapped(text, sensitivity), Err(expected), "{text:?} {sensitivity:?}");
        }
        assert!(!expected.to_string().contains(SECRET), "{expected}");
    }

    #[test]
    fn white_space_around_a_value_is_removed() {
        for (before, after) in
            [("", "\n"), ("", "\r\n"), ("\t ", " \t"), ("\n\n", "\n\n"), ("\u{a0}", "\u{3000}")]
        {
            let text = format!("{before}{SECRET}{after}");
            assert_eq!(unwrapped(&text, Sensitivity::Secret), Ok(SECRET), "{text:?}");
        }
        assert_eq!(unwrapped(" \r\n", Sensitivity::Plain), Ok(""));
    }

    #[test]
    fn quotes_around_a_value_are_refused() {
        for (open, close) in [
            ("\"", "\""),
            ("'", "'"),
            ("`", "`"),
            ("\u{201c}", "\u{201d}"),
            ("\u{201e}", "\u{201c}"),
            ("\u{2018}", "\u{2019}"),
            ("«", "»"),
        ] {
            let quote = open.chars().next().unwrap();
            refused(&format!("{open}{SECRET}{close}"), Wrapping::Quotes(quote));
            refused(&format!(" {open}{SECRET}{close}\n"), Wrapping::Quotes(quote));
            refused(&format!("{open}{close}"), Wrapping::Quotes(quote));
        }
    }

    #[test]
    fn escaped_quotes_around_a_value_are_refused() {
        for (open, close, quote) in ESCAPED_QUOTES {
            refused(&format!("{open}{SECRET}{close}"), Wrapping::Quotes(quote));
        }
    }

    #[test]
    fn brackets_around_a_value_are_refused() {
        for text in ["[\"a\"]", "['a', 'b']", "[\"a\",\"b\"]"] {
            refused(text, Wrapping::Brackets);
        }
        assert_eq!(unwrapped("[a, b]", Sensitivity::Plain), Err(Wrapping::Brackets));
        for text in ["[a, b]", "[\"a"] {
            assert_eq!(unwrapped(text, Sensitivity::Secret), Ok(text));
        }
    }

    #[test]
    fn comment_behind_a_value_is_refused() {
        for text in [&format!("{SECRET} # the secret"), "api # all clients", "api  #  x"] {
            refused(text, Wrapping::Comment);
        }
        assert_eq!(unwrapped("ab/cd= # x", Sensitivity::Secret), Err(Wrapping::Comment));
        for text in ["/data/list # 2.txt", "/data/My #1 list.txt", "my api # 1", "#1 # 2", "a# b", "a #b"] {
            assert_eq!(unwrapped(text, Sensitivity::Plain), Ok(text));
        }
        let url = "sqlite:///data/a # b.db";
        assert_eq!(unwrapped(url, Sensitivity::Secret), Ok(url));
    }

    #[test]
    fn placeholders_in_database_urls_are_refused() {
        for text in [
            "sqlite://$HOME/x.db",
            "sqlite:///data/$DB_NAME.db",
            "sqlite://<path>",
            "postgres://$DB_USER:$DB_PASSWORD@db/x",
            "postgres://<user>:<password>@db/x",
            "postgres://user@$DB_HOST:5432/x",
            "postgres://user:p@a,$B/x",
            "postgres://user:p@db/$DB_NAME?sslmode=disable",
            "postgresql://user:p@db/<database>",
        ] {
            assert_eq!(unwrapped(text, Sensitivity::Secret), Err(Wrapping::Placeholder), "{text}");
        }
        for text in [
            "postgres://user:$ECRET@db/x",
            "postgres://user:<pw>@db/x",
            "postgres://app$ro:p$$w@db/my$db",
            "postgres://db/x?options=-csearch_path%3D$USER",
            "sqlite:///data/cost$USD.db",
            "sqlite:///tmp/a b/x#1.db",
            "sqlite:///data/$/<.db",
        ] {
            assert_eq!(unwrapped(text, Sensitivity::Secret), Ok(text));
        }
    }

    #[test]
    fn one_quote_is_refused_in_plain_texts_only() {
        for text in ["\"api", "api\"", "\u{2019}api", "'"] {
            assert!(matches!(unwrapped(text, Sensitivity::Plain), Err(Wrapping::Quotes(_))), "{text}");
            assert_eq!(unwrapped(text, Sensitivity::Secret), Ok(text));
        }
    }

    #[test]
    fn invisible_characters_are_refused() {
        for c in ['\u{feff}', '\u{200b}', '\u{200d}', '\u{2060}', '\u{202e}', '\u{ad}', '\0', '\u{1b}'] {
            refused(&format!("{c}{SECRET}"), Wrapping::Invisible(c));
            refused(&format!("{SECRET}{c}"), Wrapping::Invisible(c));
            refused(&format!("{SECRET}{c}{SECRET}"), Wrapping::Invisible(c));
        }
        assert!(Wrapping::Invisible('\u{200b}').to_string().contains("U+200B"));
    }

    #[test]
    fn line_breaks_inside_a_value_are_refused() {
        refused("bGluZSBvbmU\nbGluZSB0d28=", Wrapping::LineBreak);
        refused("one\r\ntwo", Wrapping::LineBreak);
    }

    #[test]
    fn placeholders_are_refused() {
        for text in [
            "${SECRET}",
            "${SECRET:-none}",
            "$SECRET",
            "$secret",
            "$(SECRET)",
            "{{ .Values.secret }}",
            "{{secret}}",
            "<secret>",
            "<your secret here>",
            "%SECRET%",
            "@SECRET@",
            "__SECRET__",
            "#{Secret}#",
            "postgres://${USER}:${PASSWORD}@db/portcullis",
        ] {
            refused(text, Wrapping::Placeholder);
        }
        for text in ["postgres://<user>@db/portcullis", "https://$DOMAIN", "$HOME/list.txt"] {
            assert_eq!(unwrapped(text, Sensitivity::Plain), Err(Wrapping::Placeholder), "{text}");
        }
        for text in ["op://vault/item/field", "vault:secret/data/x#y", "@Microsoft.KeyVault(SecretUri=x)"] {
            refused(text, Wrapping::Reference);
        }
    }

    #[test]
    fn assignments_and_objects_are_refused() {
        for text in [
            "PORTCULLIS_SECRET=pcs_x",
            "export SECRET=pcs_x",
            "export X=pcs_x",
            "secret = pcs_x",
            "secret: pcs_x",
            "DATABASE_URL=postgres://localhost/x",
        ] {
            refused(text, Wrapping::Assignment);
        }
        refused(r#"{"secret":"pcs_x"}"#, Wrapping::JsonObject);
    }

    #[test]
    fn usual_values_are_kept() {
        for text in [
            "",
            SECRET,
            "7d9f1c0b5a3e8642d7f9c1b0e5a38264",
            "correct horse battery staple, and then some",
            "MFRGGZDFMZTWQ2LKMFRGGZDFMZTWQ2LK====",
            "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=",
            "a'b\"c$d%e{f}g<h>i=j:k",
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
            "postgres://user:p%24ss@localhost/portcullis?sslmode=disable",
            "sqlite:///data/my secrets/portcullis.db",
        ] {
            assert_eq!(unwrapped(text, Sensitivity::Secret), Ok(text));
        }
        for text in ["0.0.0.0:8080", "[::]:8080", "https://auth.example.com", "urn:example:api", "*", "15m"] {
            assert_eq!(unwrapped(text, Sensitivity::Plain), Ok(text));
        }
    }

    #[test]
    fn items_are_separated_by_commas_or_line_breaks() {
        for text in ["a,b", " a , b ,", "a\nb\n", "a\r\nb\r\n", "\n\na,\n b"] {
            assert_eq!(unwrapped_items(text, Sensitivity::Secret), Ok(vec!["a", "b"]), "{text:?}");
        }
        assert_eq!(unwrapped_items(" \n", Sensitivity::Plain), Ok(vec![]));
        for text in ["[\"a\", \"b\"]", "[a]"] {
            assert_eq!(unwrapped_items(text, Sensitivity::Secret), Err(Wrapping::Brackets), "{text}");
        }
        for text in ["\"a,b\"", "a,'b'", "\"a\"\n\"b\""] {
            assert!(matches!(unwrapped_items(text, Sensitivity::Secret), Err(Wrapping::Quotes(_))), "{text}");
        }
        assert_eq!(unwrapped_items("a,${B}", Sensitivity::Secret), Err(Wrapping::Placeholder));
    }
}
