//! Throttling, which comes before every password: an attempt is counted before its password is verified. Verifying a
//! password and issuing the first tokens of a session require an [`Admitted`].

use crate::account::{CanonicalName, User};
use crate::audit::EventKind;
use crate::client::{ClientInfo, NetworkStatus};
use crate::core::Core;
use crate::error::Throttled;
use crate::id::{EventId, UserId};
use crate::password::{HashError, PasswordHash, PlaintextPassword, Verdict};
use crate::ports::StoreError;
use crate::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptEvent, KNOWN_FOR, KnownNetwork, LoginAttempt,
    SCHEDULE, SuccessfulAttempt, ThrottlingEnd,
};
use crate::time::UnixTime;

/// The proof that an attempt was counted. Only [`Core::begin_attempt`] makes one.
#[derive(Debug)]
pub(crate) struct Admitted {
    counter: AccountKey,
    /// The account at the client's network.
    here: Option<AccountKey>,
}

impl Core {
    /// Counts an attempt at the password of `name`, or fails if it has to wait. The attempt stays counted unless the
    /// password turns out right: a failed one gives no free guess.
    pub(crate) fn begin_attempt(
        &self,
        name: &CanonicalName,
        user: Option<UserId>,
        client: &ClientInfo,
    ) -> Result<Admitted, NotAdmitted> {
        let now = self.ports.clock.now();
        let AttemptScope { counter, here, known: _ } = self.attempt_scope(name, client, now)?;
        let begun = self.event(EventKind::ThrottlingBegun, now, client);
        let begun = match user {
            Some(user) => begun.of_user(user),
            None => begun,
        };
        // The next attempt after this one is the first that has to wait.
        let event = AttemptEvent { ordinal: SCHEDULE.free, event: begun };
        match self.ports.store.begin_attempt(&LoginAttempt { counter, user, now, event })? {
            AttemptDecision::Granted { attempts: _ } => Ok(Admitted { counter, here }),
            AttemptDecision::Refused { until } => Err(Throttled { retry_after: until.since(now) }.into()),
        }
    }

    /// Fails if an attempt would have to wait now, and counts nothing. Returns whether the account knows the client's
    /// network.
    pub(crate) fn check_throttle(
        &self,
        name: &CanonicalName,
        client: &ClientInfo,
    ) -> Result<NetworkStatus, NotAdmitted> {
        let now = self.ports.clock.now();
        let scope = self.attempt_scope(name, client, now)?;
        let (counter, network) = match scope.known {
            Some(known) => (Some(known), NetworkStatus::Known),
            None => (self.ports.store.find_counter(scope.counter)?, NetworkStatus::Unknown),
        };
        match counter.and_then(|counter| counter.wait(now)) {
            Some(retry_after) => Err(Throttled { retry_after }.into()),
            None => Ok(network),
        }
    }

    /// Returns the counter of an attempt: that of the account at the client's network if the network is known, or else that
    /// of the account.
    fn attempt_scope(
        &self,
        name: &CanonicalName,
        client: &ClientInfo,
        now: UnixTime,
    ) -> Result<AttemptScope, StoreError> {
        let here = client.network().map(|network| self.ports.account_keys.account_at(name, network));
        let found = here.map(|here| self.ports.store.find_counter(here)).transpose()?.flatten();
        let known = found.filter(|counter| counter.is_known(now));
        let counter = match (here, known) {
            (Some(here), Some(_)) => here,
            _ => self.ports.account_keys.account(name),
        };
        Ok(AttemptScope { counter, here, known })
    }

    /// Verifies the password of an attempt that was counted.
    pub(crate) fn verify(
        &self,
        _counted: &Admitted,
        attempt: &PlaintextPassword,
        user: &User,
    ) -> Result<Verdict, HashError> {
        self.ports.hasher.verify(attempt, &user.password_hash).inspect_err(|error| {
            if let HashError::Unusable(reason) = error {
                self.ports.hasher.report_unusable(user.id, reason);
            }
        })
    }

    /// Costs what a verification costs, so that time does not tell which names have accounts.
    pub(crate) fn spend_a_hash(
        &self,
        _counted: &Admitted,
        attempt: &PlaintextPassword,
    ) -> Result<PasswordHash, HashError> {
        self.ports.hasher.hash(&attempt.to_hashable())
    }

    /// Returns the event that throttling ends with a successful attempt.
    pub(crate) fn throttling_end(&self, user: UserId, now: UnixTime, client: &ClientInfo) -> ThrottlingEnd {
        let id = EventId::new(now, self.ports.random.as_ref());
        ThrottlingEnd { id, at: now, user: Some(user), client: client.clone() }
    }
}

/// What an attempt counts against.
struct AttemptScope {
    counter: AccountKey,
    /// The account at the client's network.
    here: Option<AccountKey>,
    /// The counter of that, if the network is known.
    known: Option<AttemptCounter>,
}

impl Admitted {
    /// Returns the attempt for a store to consume, after its password was verified.
    pub(crate) fn successful(&self) -> SuccessfulAttempt {
        SuccessfulAttempt { counter: self.counter, known: None }
    }

    /// The same for a login, which makes the client's network known.
    pub(crate) fn successful_login(&self, now: UnixTime) -> SuccessfulAttempt {
        let known = self.here.map(|counter| KnownNetwork { counter, until: now + KNOWN_FOR });
        SuccessfulAttempt { known, ..self.successful() }
    }
}

/// An attempt was not counted, or would not be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error(transparent)]
    Throttled(#[from] Throttled),
    #[error(transparent)]
    Store(#[from] StoreError),
}
