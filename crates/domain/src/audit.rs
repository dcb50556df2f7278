//! The audit log: security events, where they are stored, and what users see of their own.

mod event;
mod list;
mod log;

pub use self::event::{EventKind, EventsOf, LoginFailure, LogoutScope, SecurityEvent, StoredEvent};
pub use self::list::Activity;
pub use self::log::AuditLog;
#[cfg(feature = "mocks")]
pub use self::log::MockAuditLog;
