//! The audit log that proves itself: security events are *sealed* into a chain of hashes, and the chain's head is signed.
//!
//! Events are stored with the change they describe; that is all a login waits for. A [`Sealer`], of one instance at a
//! time, comes after and appends what was committed to the chain. `docs/audit.md` has the format, so that others can
//! verify it; [`verify()`] does.

mod chain;
mod encoding;
mod fault;
mod key;
mod sealer;
mod statement;
mod verify;

pub(crate) use chain::SealableEvent;
pub use chain::{ChainHash, InvalidLink, Link};
pub use fault::{Fault, Finding};
pub(crate) use key::PublicAuditKey;
pub use key::{AuditKey, AuditKeys};
pub use sealer::Sealer;
pub(crate) use statement::{Old, Statement, StatementKind, Unsigned};
pub use verify::{AuditError, Verified, verify};
