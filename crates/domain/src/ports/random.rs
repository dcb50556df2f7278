use std::fmt;

/// Randomness.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait SecureRandom: fmt::Debug + Send + Sync {
    /// Fills `buffer` with bytes from a cryptographically secure source. An adapter whose source fails panics:
    /// there is nothing safe to do without.
    ///
    /// - MUST give different bytes each time. [random-different]
    fn fill(&self, buffer: &mut [u8]);
}
