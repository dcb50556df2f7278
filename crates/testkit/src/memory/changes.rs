//! The order in which ends become visible, also of transactions that stay open for long.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use portcullis_domain::id::SessionId;
use portcullis_domain::session::{Cursor, StoredSession};
use portcullis_domain::time::UnixTime;

use super::{MemoryStore, State};

/// The transactions that ended sessions, by number, as PostgreSQL numbers those that write.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    epoch: u64,
    newest: u64,
    /// Those that neither committed nor rolled back.
    open: BTreeSet<u64>,
    /// The transaction that ended each session.
    ended: HashMap<SessionId, u64>,
}

impl Transactions {
    fn begin(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Returns the cursor whose predecessors all committed or rolled back.
    pub(super) fn next(&self) -> Cursor {
        Cursor::new(self.epoch, self.open.first().copied().unwrap_or(self.newest + 1))
    }

    /// Returns whether a session ended at the cursor or after it.
    pub(super) fn ended_since(&self, cursor: Cursor, session: SessionId) -> bool {
        self.ended.get(&session).is_some_and(|transaction| *transaction >= cursor.position())
    }

    /// The open transactions are lost, and the numbers go on from those of the backup.
    pub(super) fn fail_over(&mut self, from: &Self) {
        self.epoch = from.epoch + 1;
        self.open.clear();
    }
}

impl State {
    /// Stores a session that a method changed.
    pub(super) fn update_session(&mut self, session: StoredSession) {
        let was_ended = self.sessions.get(&session.id).and_then(|before| before.ended_at);
        if session.ended_at.is_some() && session.ended_at != was_ended {
            let transaction = self.transactions.begin();
            self.transactions.ended.insert(session.id, transaction);
        }
        self.sessions.insert(session.id, session);
    }
}

impl MemoryStore {
    /// Begins a transaction that ends a session. Other callers see the end when it commits; dropping it rolls it back.
    pub fn begin_end(self: &Arc<Self>, session: SessionId, at: UnixTime) -> OpenEnd {
        let mut state = self.lock();
        let transaction = state.transactions.begin();
        state.transactions.open.insert(transaction);
        drop(state);
        OpenEnd { store: Arc::clone(self), transaction, session, at }
    }
}

/// A transaction that ended a session and is still open.
#[derive(Debug)]
#[must_use]
pub struct OpenEnd {
    store: Arc<MemoryStore>,
    transaction: u64,
    session: SessionId,
    at: UnixTime,
}

impl OpenEnd {
    /// Returns the session that it ends.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Makes the end visible to other callers.
    pub fn commit(self) {
        let Self { transaction, session, at, .. } = self;
        let mut state = self.store.lock();
        let valid_from = state.valid_from;
        if state.transactions.open.contains(&transaction)
            && let Some(stored) = state.sessions.get_mut(&session)
        {
            stored.end(None, at, valid_from);
            state.transactions.ended.insert(session, transaction);
        }
    }
}

impl Drop for OpenEnd {
    fn drop(&mut self) {
        self.store.lock().transactions.open.remove(&self.transaction);
    }
}
