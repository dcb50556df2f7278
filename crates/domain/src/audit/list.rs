use std::num::NonZeroU32;

use crate::account::Account;
use crate::audit::StoredEvent;
use crate::id::EventId;
use crate::ports::StoreError;
use crate::token::VerifiedClaims;

/// Some of what happened to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The events, the latest first.
    pub events: Vec<StoredEvent>,
    /// Before which event to go on; `None` where there are no earlier ones.
    pub next: Option<EventId>,
}

impl Account {
    /// The security events of the user who holds the token, the latest first: at most `most`, and of those `before` an
    /// event where one is named.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn activity(
        &self,
        bearer: &VerifiedClaims,
        before: Option<EventId>,
        most: NonZeroU32,
    ) -> Result<Activity, StoreError> {
        let user = bearer.claims().user;
        // One more tells whether there are more.
        let mut events = self.core.ports.store.list_events(user, before, most.get().saturating_add(1))?;
        let is_all = events.len() <= most.get() as usize;
        events.truncate(most.get() as usize);
        let next = events.last().map(|event| event.id).filter(|_last| !is_all);
        Ok(Activity { events, next })
    }
}
