use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_domain::password::{
    AcceptedPassword, HashError, PasswordHash, PasswordHasher, PlaintextPassword, Verdict,
};

/// Keeps passwords as they are: `plain:<salt>:<password>`. Counts the work it does.
///
/// A hash that starts with `old:` verifies the same way but is outdated; anything else is unusable.
#[derive(Debug, Default)]
pub struct PlainHasher {
    work: AtomicUsize,
}

impl PlainHasher {
    /// A hasher that did no work yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many passwords it hashed or verified.
    pub fn work(&self) -> usize {
        self.work.load(Ordering::SeqCst)
    }

    /// An outdated hash of `password`, as an import would bring it.
    pub fn outdated(password: &str) -> PasswordHash {
        PasswordHash::new(format!("old:0:{password}"))
    }
}

impl PasswordHasher for PlainHasher {
    fn hash(&self, password: &AcceptedPassword) -> Result<PasswordHash, HashError> {
        let salt = self.work.fetch_add(1, Ordering::SeqCst);
        Ok(PasswordHash::new(format!("plain:{salt}:{}", password.expose())))
    }

    fn verify(&self, attempt: &PlaintextPassword, hash: &PasswordHash) -> Result<Verdict, HashError> {
        let mut parts = hash.expose().splitn(3, ':');
        let (scheme, _salt, stored) = (parts.next(), parts.next(), parts.next());
        let right = match scheme {
            Some("plain") => Verdict::Match,
            Some("old") => Verdict::MatchOutdated,
            _ => return Err(HashError::Unusable("neither plain nor old")),
        };
        self.work.fetch_add(1, Ordering::SeqCst);
        match stored == Some(attempt.expose_nfc().as_str()) {
            true => Ok(right),
            false => Ok(Verdict::Mismatch),
        }
    }
}
