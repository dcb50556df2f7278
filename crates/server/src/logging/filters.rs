//! The directives of `RUST_LOG`.

use log::LevelFilter;

/// Splits the value of `RUST_LOG` into the part that `env_logger` can read and the directives that it cannot.
/// `env_logger` would report the latter on standard error, and block if nothing reads it.
pub(super) fn split(filters: &str) -> (String, Vec<&str>) {
    let (directives, text) = filters.split_once('/').unwrap_or((filters, ""));
    if text.contains('/') {
        return (String::new(), vec![filters]);
    }
    let (readable, ignored): (Vec<_>, Vec<_>) = directives.split(',').partition(|one| is_readable(one));
    let mut readable = readable.join(",");
    if !text.is_empty() {
        readable.extend(["/", text]);
    }
    (readable, ignored)
}

/// Whether a directive is a level, a target, or `target=level`; the level may be empty.
fn is_readable(directive: &str) -> bool {
    let level = directive.split_once('=').map_or("", |(_target, level)| level.trim());
    level.is_empty() || level.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_directives_are_split_off() {
        for (filters, readable, ignored) in [
            ("", "", &[][..]),
            ("debug", "debug", &[]),
            ("info,portcullis=trace, diesel = off ,mio=", "info,portcullis=trace, diesel = off ,mio=", &[]),
            ("info,a=loud,b=debug", "info,b=debug", &["a=loud"]),
            ("a=b=c", "", &["a=b=c"]),
            ("info/request", "info/request", &[]),
            ("a=loud,info/request", "info/request", &["a=loud"]),
            ("info/request/more", "", &["info/request/more"]),
        ] {
            assert_eq!(split(filters), (readable.to_owned(), ignored.to_vec()), "{filters:?}");
        }
    }
}
