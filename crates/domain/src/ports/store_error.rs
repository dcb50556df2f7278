use std::error::Error;
use std::fmt;

/// A store could not do what was asked. What it was is for the operator's log ([`Error::source`]); callers only
/// learn the [`StoreErrorKind`].
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    /// An error of some kind, with its cause.
    pub fn new(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }

    /// Returns the error of a store that does not know a kind of [`Proof`](crate::session::Proof).
    pub fn unknown_proof() -> Self {
        Self::new(StoreErrorKind::Internal, "the proof is unknown to this store")
    }

    /// What a caller may know.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

/// What a caller may know of a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Nothing answered in time, or not yet; the same call may succeed later.
    Unavailable,
    /// There is no room to write; reading goes on.
    Full,
    /// A stored row does not parse. It concerns that row's owner alone.
    Corrupt,
    /// A fault of the adapter.
    Internal,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::Full => "the store is full",
            StoreErrorKind::Corrupt => "a stored row is corrupt",
            StoreErrorKind::Internal => "the store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}
