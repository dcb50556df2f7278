//! How long a store keeps each kind of data, and the steps that purge the rest.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::id::SessionId;
use crate::session::revocation::REVOCATION_RETENTION;
use crate::throttle::{FORGOTTEN_AFTER, KNOWN_FOR};
use crate::time::UnixTime;

/// How long sessions that are over are kept: as long as every instance must remember them.
pub const SESSIONS_AFTER_THEIR_END: Duration = REVOCATION_RETENTION;

/// What a store keeps, and for how long.
pub const RETENTION: [(&str, Retention); 8] = [
    ("users", Retention::UntilDeleted),
    ("sessions", Retention::AfterTheirEnd(SESSIONS_AFTER_THEIR_END)),
    (
        "counters of attempts at passwords, by a keyed hash of the name",
        Retention::AfterTheNextIsAllowed(FORGOTTEN_AFTER),
    ),
    (
        "from which network somebody logged in to which account, by a keyed hash of both",
        Retention::AfterTheLastTime(KNOWN_FOR),
    ),
    ("security events", Retention::Configured),
    ("what seals them", Retention::Configured),
    ("which key of the audit log came after which", Retention::ForEver),
    ("what a deployment has in common, and the secrets it knows by one-way values", Retention::ForEver),
];

/// How long a store keeps something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Until a caller deletes it.
    UntilDeleted,
    /// So long after it ended or expired. It is purged within hours after that, depending on how many sessions there are.
    AfterTheirEnd(Duration),
    /// So long after the next attempt was allowed, and none was made, or until the right password.
    AfterTheNextIsAllowed(Duration),
    /// So long after the last time.
    AfterTheLastTime(Duration),
    /// For a time that the operator configures.
    Configured,
    /// Nothing deletes it.
    ForEver,
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UntilDeleted => f.write_str("until they are deleted"),
            Self::AfterTheirEnd(time) => {
                write!(f, "{} minutes after they ended or expired", time.as_secs() / 60)
            }
            Self::AfterTheNextIsAllowed(time) => {
                let hours = time.as_secs() / 3_600;
                write!(f, "until the right password, or {hours} hours after the next attempt was allowed")
            }
            Self::AfterTheLastTime(time) => {
                write!(f, "{} days after the last time", time.as_secs() / 86_400)
            }
            Self::Configured => f.write_str("for a configured time"),
            Self::ForEver => f.write_str("for ever"),
        }
    }
}

/// One step through the sessions, which deletes those that have been over for long.
#[derive(Clone, Copy, Debug)]
pub struct PurgeRequest {
    /// The instance that purges: an ID made at its start.
    pub instance: Uuid,
    /// When.
    pub now: UnixTime,
    /// For how long after a step no other instance takes over.
    pub turn: Duration,
    /// Sessions that ended or expired before this are deleted, and those invalidated before this.
    pub over_before: UnixTime,
    /// Where the last step stopped; `None` to begin with the oldest session.
    pub after: Option<SessionId>,
    /// How many sessions to examine.
    pub batch: u32,
}

impl PurgeRequest {
    /// Returns the turn that the instance has with this step; `None` if it is the `current` turn of another instance.
    pub fn take_turn(&self, current: Option<PurgeTurn>) -> Option<PurgeTurn> {
        let is_free = current.is_none_or(|turn| turn.instance == self.instance || turn.until <= self.now);
        is_free.then(|| PurgeTurn { instance: self.instance, until: self.now + self.turn })
    }
}

/// The turn of one instance to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeTurn {
    /// The instance.
    pub instance: Uuid,
    /// When another instance may take over unless this one makes another step.
    pub until: UnixTime,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeOutcome {
    /// Another instance purges. Nothing was deleted.
    NotThisInstance,
    /// The step was made.
    Step {
        /// How many sessions were deleted.
        deleted: usize,
        /// Where to go on; `None` at the end.
        next: Option<SessionId>,
    },
}
