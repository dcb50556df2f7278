use std::error::Error;
use std::fmt;

use crate::id::UserId;
use crate::password::{AcceptedPassword, PasswordHash, PlaintextPassword};

/// Makes and verifies password hashes. Both take long on purpose.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait PasswordHasher: fmt::Debug + Send + Sync {
    /// Hashes a password with the current scheme and cost.
    ///
    /// - MUST salt: two hashes of one password differ. [hasher-salt]
    ///
    /// # Errors
    /// [`HashError::Overloaded`] and [`HashError::Failed`].
    fn hash(&self, password: &AcceptedPassword) -> Result<PasswordHash, HashError>;

    /// Verifies an attempt against a stored hash of any scheme the adapter knows.
    ///
    /// - MUST tell every character apart, also beyond the 72nd byte, for hashes it made itself. [hasher-every-character]
    /// - MUST refuse as [`HashError::Unusable`] what does not parse or would cost beyond the adapter's bounds, without
    ///   doing the work. [hasher-unusable]
    /// - MUST answer [`Verdict::MatchOutdated`] for a match against a hash weaker than [`Self::hash`] makes.
    ///   [hasher-outdated]
    ///
    /// # Errors
    /// [`HashError`].
    fn verify(&self, attempt: &PlaintextPassword, hash: &PasswordHash) -> Result<Verdict, HashError>;

    /// Reports to the operator that a user's stored hash is [`HashError::Unusable`], and the reason. The client gets no
    /// hint of it. Does nothing by default.
    fn report_unusable(&self, user: UserId, reason: &'static str) {
        let _ = (user, reason);
    }
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another password.
    Mismatch,
    /// The password.
    Match,
    /// The password, but its hash should be replaced by one of the current scheme and cost.
    MatchOutdated,
}

/// No hash or no verdict.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The stored hash is damaged, of an unknown scheme, or beyond the bounds on cost. It concerns its user alone.
    #[error("the stored password hash cannot be used: {0}")]
    Unusable(&'static str),
    /// There is too much to hash. Nothing was done.
    #[error("too many passwords wait to be hashed")]
    Overloaded,
    /// The hasher failed.
    #[error("hashing failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}
