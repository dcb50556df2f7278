//! Ports: the small traits through which the use cases reach databases, cryptography, the clock and randomness,
//! collected in [`Ports`].
//!
//! Ports are synchronous and object-safe. The work behind them blocks (a database, a password hash), so one use
//! case is one blocking unit; a caller on an async runtime moves the whole use case to a blocking thread. An
//! adapter over an async-only driver bridges with its runtime's `Handle::block_on` on such a thread.
//!
//! **A port method is the transaction**: it happens completely or not at all, and whatever must commit together is
//! one method. Every method that changes users, sessions or counters takes the [`SecurityEvent`](crate::audit::SecurityEvent) that
//! commits with the change, or [makes its events](crate::audit::EventsOf) of facts that the store decides. A port returns
//! facts and contains no rule: the rules are functions of the domain, which an adapter calls or mirrors in a query.
//!
//! Each "MUST" ends with an identifier, such as `user-insert-unique`. The tests in `portcullis_testkit::contract` name the
//! identifiers that they prove.

mod bundle;
mod clock;
mod health;
mod random;
mod store_error;

pub use self::bundle::{Ports, Store};
pub use self::clock::Clock;
#[cfg(feature = "mocks")]
pub use self::clock::MockClock;
#[cfg(feature = "mocks")]
pub use self::health::MockStoreHealth;
pub use self::health::{StoreHealth, StoreStatus};
#[cfg(feature = "mocks")]
pub use self::random::MockSecureRandom;
pub use self::random::SecureRandom;
pub use self::store_error::{StoreError, StoreErrorKind};
