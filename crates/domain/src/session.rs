//! Sessions: login, refresh, logout, and how an instance knows which sessions ended.

mod changes;
mod lifetime;
mod list;
mod login;
mod logout;
mod open;
mod refresh;
pub mod revocation;
mod rotation;
mod service;
mod store;
mod stored;

pub use self::changes::{Cursor, SessionChanges};
pub use self::lifetime::{CLOCK_TOLERANCE, Lifetimes, MAX_ACCESS_LIFETIME};
pub use self::list::EndSessionError;
pub use self::login::{Credentials, LoginError, LoginOutcome};
pub use self::logout::{LogoutError, LogoutToken};
pub use self::open::{ConsumedProof, NewSession, Proof, SessionOpened};
pub use self::refresh::RefreshError;
pub use self::rotation::{
    CurrentGeneration, Generation, ReuseCheck, RotateOutcome, RotateRequest, SessionGrant,
};
pub use self::service::Sessions;
#[cfg(feature = "mocks")]
pub use self::store::MockSessionStore;
pub use self::store::{OpenSessionError, SessionStore};
pub use self::stored::{EndOutcome, Session, StoredSession, next_valid_from};
