//! Promises of [`SessionStore`](portcullis_domain::session::SessionStore).

mod changes;
mod end;
mod find;
mod invalidate;
mod open;
mod rotate;

use std::time::Duration;

pub use self::changes::*;
pub use self::end::*;
pub use self::find::*;
pub use self::invalidate::*;
pub use self::open::*;
pub use self::rotate::*;

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);
