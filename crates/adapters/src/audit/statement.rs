use portcullis_domain::time::UnixTime;

use super::encoding::Encoding;
use super::{AuditKey, ChainHash, Link, PublicAuditKey};

/// A row of `audit_heads`: something about the chain that was signed.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) unsigned: Unsigned,
    pub(crate) signature: Vec<u8>,
    pub(crate) old: Option<Old>,
}

/// The secret before: its key, and that key's signature of the same.
#[derive(Clone, Debug)]
pub(crate) struct Old {
    pub(crate) key: PublicAuditKey,
    pub(crate) signature: Vec<u8>,
}

/// What is signed, but for the key before, which is signed too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsigned {
    /// Statements are numbered from 1 on, in the order in which they were made.
    pub(crate) number: i64,
    pub(crate) kind: StatementKind,
    pub(crate) link: Link,
    pub(crate) at: UnixTime,
    pub(crate) key: PublicAuditKey,
}

/// What a statement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatementKind {
    /// The chain has come to here.
    Head,
    /// The chain was deleted up to here, for it was old.
    Checkpoint,
    /// When the chain had come to here, a new secret's key came in the place of the old one's.
    HandOver,
    /// When the chain had come to here, a secret was adopted. What the keys before it signed proves nothing any more.
    Adoption,
}

impl StatementKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Checkpoint => "checkpoint",
            Self::HandOver => "hand_over",
            Self::Adoption => "adoption",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Head, Self::Checkpoint, Self::HandOver, Self::Adoption]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Unsigned {
    pub(crate) fn sign(self, key: &AuditKey) -> Statement {
        let signature = key.sign(&self.message(None)).to_vec();
        Statement { unsigned: self, signature, old: None }
    }

    /// Signs with the key of the secret before too.
    pub(crate) fn hand_over(self, new: &AuditKey, old: &AuditKey) -> Statement {
        let message = self.message(Some(old.public()));
        let signature = new.sign(&message).to_vec();
        let old = Old { key: old.public(), signature: old.sign(&message).to_vec() };
        Statement { unsigned: self, signature, old: Some(old) }
    }

    fn message(&self, old: Option<PublicAuditKey>) -> Vec<u8> {
        let Link { seq, hash } = self.link;
        Encoding::new(STATEMENT)
            .field(1, self.number.to_be_bytes())
            .field(2, self.kind.name())
            .field(3, seq.to_be_bytes())
            .field(4, ChainHash::as_bytes(&hash))
            .field(5, self.at.as_micros().to_be_bytes())
            .field(6, self.key.as_bytes())
            .optional(7, old.map(|old| *old.as_bytes()))
            .bytes()
            .to_vec()
    }
}

impl Statement {
    /// Whether each key that the statement names made its signature.
    pub(crate) fn is_signed(&self) -> bool {
        let message = self.unsigned.message(self.old.as_ref().map(|old| old.key));
        self.unsigned.key.signed(&message, &self.signature)
            && self.old.as_ref().is_none_or(|old| old.key.signed(&message, &old.signature))
            && self.old.is_some() == (self.unsigned.kind == StatementKind::HandOver)
    }
}

/// What stands before the encoding of a statement.
const STATEMENT: &[u8] = b"portcullis audit statement v1\n";
