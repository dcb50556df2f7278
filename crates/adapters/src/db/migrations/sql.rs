//! Takes SQL apart into statements and words, as far as migrations need it: comments, quotes, dollar quotes and the bodies
//! of triggers.

/// A statement with its text, comments included, and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) words: Vec<Word>,
}

/// A part of a statement that is no space and no comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A keyword or a name. Unquoted ones are in lower case.
    Name(String),
    /// A literal in single quotes or dollar quotes, without them.
    Text(String),
    /// A number.
    Number(String),
    /// Any other character.
    Sign(char),
}

impl Word {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Name(word) if word == name)
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// Splits SQL into its statements. Text behind the last semicolon is a statement too.
pub(super) fn statements(sql: &str) -> Vec<Statement> {
    let mut reader = Reader { rest: sql };
    let mut statements = Vec::new();
    let (mut begin, mut words) = (sql, Vec::new());
    let mut depth = 0_usize;
    while let Some(word) = reader.word() {
        if word == Word::Sign(';') && depth == 0 {
            statements.extend(statement(&begin[..begin.len() - reader.rest.len()], &mut words));
            begin = reader.rest;
            continue;
        }
        if is_trigger(&words) || is_function(&words) {
            match word.name() {
                Some("begin" | "case") => depth += 1,
                Some("end") => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        words.push(word);
    }
    statements.extend(statement(begin, &mut words));
    statements
}

fn statement(text: &str, words: &mut Vec<Word>) -> Option<Statement> {
    let words = std::mem::take(words);
    (!words.is_empty()).then(|| Statement { text: text.trim().trim_end_matches(';').to_owned(), words })
}

/// Whether the statement may have a body between `BEGIN` and `END`.
fn is_trigger(words: &[Word]) -> bool {
    words.first().is_some_and(|word| word.is("create")) && words.iter().take(3).any(|word| word.is("trigger"))
}

fn is_function(words: &[Word]) -> bool {
    words.first().is_some_and(|word| word.is("create"))
        && words.iter().take(4).any(|word| word.is("function") || word.is("procedure"))
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Returns the next word.
    fn word(&mut self) -> Option<Word> {
        self.skip();
        let first = self.rest.chars().next()?;
        Some(match first {
            '\'' => Word::Text(self.quoted('\'')),
            '"' => Word::Name(self.quoted('"')),
            '$' => match self.dollar_quoted() {
                Some(text) => Word::Text(text),
                None => self.sign(first),
            },
            _ if first.is_ascii_digit() => Word::Number(self.take(|c| c.is_ascii_alphanumeric() || c == '.')),
            _ if first.is_alphabetic() || first == '_' => {
                Word::Name(self.take(|c| c.is_alphanumeric() || c == '_' || c == '$').to_lowercase())
            }
            _ => self.sign(first),
        })
    }

    /// Skips spaces and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            self.rest = match (self.rest.strip_prefix("--"), self.rest.strip_prefix("/*")) {
                (Some(comment), _) => comment.split_once('\n').map_or("", |(_, rest)| rest),
                (_, Some(comment)) => after_block_comment(comment),
                (None, None) => return,
            };
        }
    }

    fn sign(&mut self, sign: char) -> Word {
        self.rest = &self.rest[sign.len_utf8()..];
        Word::Sign(sign)
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    /// Reads to the closing quote; a quote in the text is doubled.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
                self.rest = &self.rest[1 + at + 1..];
                return text;
            }
            text.push(character);
        }
        self.rest = "";
        text
    }

    /// Reads `$tag$ .. $tag$`, if it begins here.
    fn dollar_quoted(&mut self) -> Option<String> {
        let end = self.rest[1..].find('$')? + 2;
        let (tag, rest) = self.rest.split_at(end);
        let is_tag = tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_');
        let (text, rest) = rest.split_once(tag).filter(|_| is_tag)?;
        let text = text.to_owned();
        self.rest = rest;
        Some(text)
    }
}

/// Returns what follows a block comment whose beginning was read. They nest in PostgreSQL.
fn after_block_comment(mut rest: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let Some(at) = rest.find(['*', '/']) else { return "" };
        (rest, depth) = match &rest[at..] {
            mark if mark.starts_with("*/") => (&mark[2..], depth - 1),
            mark if mark.starts_with("/*") => (&mark[2..], depth + 1),
            mark => (&mark[1..], depth),
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        statements(sql).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_split_nothing() {
        assert_eq!(
            texts(
                "INSERT INTO a VALUES ('x;y''; z'); -- a; b\n/* c; /* d; */ */ DROP TABLE \"e;f\";\nSELECT 1"
            ),
            [
                "INSERT INTO a VALUES ('x;y''; z')",
                "-- a; b\n/* c; /* d; */ */ DROP TABLE \"e;f\"",
                "SELECT 1"
            ]
        );
        assert_eq!(texts(" -- nothing;\n ;; "), Vec::<String>::new());
    }

    #[test]
    fn bodies_of_functions_and_triggers_stay_whole() {
        let function = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN x; END $body$";
        let atomic = "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END";
        let trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN \
                       UPDATE a SET b = CASE WHEN c THEN 1 ELSE 2 END; DELETE FROM d; END";
        let sql = format!("{function};\n{atomic};{trigger};\nDROP TRIGGER t");
        assert_eq!(texts(&sql), [function, atomic, trigger, "DROP TRIGGER t"]);
    }

    #[test]
    fn words_are_names_texts_and_numbers() {
        let statement = statements("ALTER Table \"Mixed\" ADD c int DEFAULT $$0$$ -- no").remove(0);
        let name = |name: &str| Word::Name(name.to_owned());
        assert_eq!(
            statement.words,
            [
                name("alter"),
                name("table"),
                name("Mixed"),
                name("add"),
                name("c"),
                name("int"),
                name("default"),
                Word::Text("0".to_owned()),
            ]
        );
        assert_eq!(
            statements("$1 12.5e3")[0].words[1..],
            [Word::Number("1".to_owned()), Word::Number("12.5e3".to_owned())]
        );
    }
}
