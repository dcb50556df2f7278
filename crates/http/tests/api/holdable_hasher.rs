//! A hasher that a test can stop, so that callers stay in the password pool.

use std::sync::{Arc, Condvar, Mutex};

use portcullis_domain::password::{
    AcceptedPassword, HashError, PasswordHash, PasswordHasher, PlaintextPassword, Verdict,
};
use portcullis_testkit::PlainHasher;

/// Hashes as [`PlainHasher`] does, except while a [`Hold`] exists.
#[derive(Debug, Default)]
pub(crate) struct HoldableHasher {
    plain: PlainHasher,
    is_held: Mutex<bool>,
    changed: Condvar,
}

impl HoldableHasher {
    /// Stops every hash until the result is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        *self.is_held.lock().unwrap() = true;
        Hold(Arc::clone(self))
    }

    fn wait(&self) {
        drop(self.changed.wait_while(self.is_held.lock().unwrap(), |is_held| *is_held).unwrap());
    }
}

/// Ends the hold when it is dropped, so that a failing test ends too.
pub(crate) struct Hold(Arc<HoldableHasher>);

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.is_held.lock().unwrap() = false;
        self.0.changed.notify_all();
    }
}

impl PasswordHasher for HoldableHasher {
    fn hash(&self, password: &AcceptedPassword) -> Result<PasswordHash, HashError> {
        self.wait();
        self.plain.hash(password)
    }

    fn verify(&self, attempt: &PlaintextPassword, hash: &PasswordHash) -> Result<Verdict, HashError> {
        self.wait();
        self.plain.verify(attempt, hash)
    }
}
