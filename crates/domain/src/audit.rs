//! The audit log: security events, where they are stored, and what users see of their own.

mod event;
mod list;
mod log;

pub use self::event::{EventKind, LoginFailure, LogoutScope, PastEvent, SecurityEvent};
pub use self::list::Activity;
pub use self::log::EventLog;
#[cfg(feature = "mocks")]
pub use self::log::MockEventLog;
