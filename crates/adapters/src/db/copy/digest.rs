//! A digest of a table's rows that does not depend on the database.

use aws_lc_rs::digest::{Context, Digest, SHA256};

use crate::db::types::{DbId, DbTime};

/// Hashes the rows of a table in the order of their keys, with the same bytes for the same values from either database.
pub(super) struct TableDigest {
    hash: Context,
    rows: u64,
}

/// What identifies the contents of a table: how many rows it has, and a hash over them.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    rows: u64,
    hash: Digest,
}

impl Contents {
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.hash.as_ref() == other.hash.as_ref()
    }
}

impl TableDigest {
    pub(super) fn new() -> Self {
        Self { hash: Context::new(&SHA256), rows: 0 }
    }

    /// Adds a row; `fields` adds each of its values.
    pub(super) fn row(&mut self, fields: impl FnOnce(&mut Fields<'_>)) {
        self.rows += 1;
        fields(&mut Fields(&mut self.hash));
    }

    pub(super) fn finish(self) -> Contents {
        Contents { rows: self.rows, hash: self.hash.finish() }
    }
}

/// The values of a row.
pub(super) struct Fields<'a>(&'a mut Context);

impl Fields<'_> {
    pub(super) fn add(&mut self, value: &impl Encode) {
        value.encode(self);
    }

    /// Adds bytes and their number, so that no two sequences of values have the same encoding.
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(bytes);
    }
}

/// A value of a column.
pub(super) trait Encode {
    fn encode(&self, fields: &mut Fields<'_>);
}

impl Encode for i64 {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(&self.to_be_bytes());
    }
}

impl Encode for bool {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(&[u8::from(*self)]);
    }
}

impl Encode for String {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(self.as_bytes());
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(self);
    }
}

impl Encode for DbId {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(self.0.as_bytes());
    }
}

impl Encode for DbTime {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(&self.0.as_micros().to_be_bytes());
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, fields: &mut Fields<'_>) {
        fields.bytes(&[u8::from(self.is_some())]);
        if let Some(value) = self {
            value.encode(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: impl FnOnce(&mut Fields<'_>)) -> Contents {
        let mut digest = TableDigest::new();
        digest.row(fields);
        digest.finish()
    }

    #[test]
    fn rows_with_other_values_have_other_digests() {
        let text = |text: &str| text.to_owned();
        let cases = [
            of(|row| row.add(&text("ab"))),
            of(|row| row.add(&text("ba"))),
            of(|row| (row.add(&text("a")), row.add(&text("b"))).0),
            of(|row| row.add(&Some(text("ab")))),
            of(|row| row.add(&None::<String>)),
            of(|row| row.add(&Some(String::new()))),
            of(|row| row.add(&1_i64)),
            of(|row| row.add(&true)),
            of(|_row| {}),
            TableDigest::new().finish(),
        ];
        for (n, case) in cases.iter().enumerate() {
            assert!(cases[..n].iter().all(|other| other != case), "case {n}");
        }
        assert!(of(|row| row.add(&text("ab"))) == cases[0]);
    }
}
