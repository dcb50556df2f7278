use std::fmt;

use uuid::Uuid;

/// What is wrong with the audit log, in the first place where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The place in the chain.
    pub seq: i64,
    /// The event that stands there, or stood, where that is known.
    pub event: Option<Uuid>,
    /// What is wrong.
    pub fault: Fault,
}

/// How the audit log was tampered with, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event is not the one that was sealed.
    Edited,
    /// The event is gone.
    EventDeleted,
    /// The row of the chain is gone.
    RowDeleted,
    /// Rows of the chain before this one are gone, and those after them were numbered anew.
    RowsCutOut {
        /// How many.
        count: i64,
    },
    /// Another event stands here than the one that was sealed here.
    Reordered {
        /// Where the one that was sealed here stands now, or where the one that stands here was sealed.
        other: i64,
    },
    /// The row was put between others that were sealed before and after it.
    Inserted,
    /// The hash of the row is not that of its event, nor what the next row was sealed upon.
    HashChanged,
    /// The hash is not the one that was signed for this place: the chain was written anew, here or before.
    Rewritten {
        /// The number of the signed statement.
        number: i64,
    },
    /// The hash is not the one that was kept elsewhere: the chain was written anew, here or before.
    NotAsKept,
    /// The chain ends before a place that was signed.
    Truncated {
        /// Where the chain ends.
        end: i64,
    },
    /// A signed statement does not bear its key's signature.
    BadSignature {
        /// Its number.
        number: i64,
    },
    /// A statement is signed by a key that was not in use then, as far as the secrets at hand and the hand-overs tell.
    UntrustedKey {
        /// Its number.
        number: i64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq {}", self.seq)?;
        if let Some(event) = self.event {
            write!(f, ", event {event}")?;
        }
        match self.fault {
            Fault::Edited => f.write_str(": edited: the event is not the one that was sealed"),
            Fault::EventDeleted => f.write_str(": deleted: the event is gone"),
            Fault::RowDeleted => f.write_str(": deleted: the row of the chain is gone"),
            Fault::RowsCutOut { count } => {
                write!(f, ": deleted: {count} before it are gone, and the rest was numbered anew")
            }
            Fault::Reordered { other } => write!(f, ": reordered: exchanged with what is at seq {other}"),
            Fault::Inserted => {
                f.write_str(": inserted: it was put between those that were sealed before and after it")
            }
            Fault::HashChanged => f.write_str(": the hash of the row was changed, or the row was inserted"),
            Fault::Rewritten { number } => write!(
                f,
                ": rewritten: the hash is not the one that was signed (statement {number}); the chain was written \
                 anew here or before"
            ),
            Fault::NotAsKept => f.write_str(
                ": rewritten: the hash is not the one that was kept; the chain was written anew here or before",
            ),
            Fault::Truncated { end } => {
                write!(f, ": truncated: the chain ends at seq {end}, but this place was vouched for")
            }
            Fault::BadSignature { number } => write!(f, ": bad signature of statement {number}"),
            Fault::UntrustedKey { number } => write!(
                f,
                ": statement {number} is signed by a key that neither the secrets at hand nor the hand-overs vouch for"
            ),
        }
    }
}
