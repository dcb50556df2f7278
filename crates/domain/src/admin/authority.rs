/// Proof that the caller may administer users and sessions.
///
/// Every method of [`Admin`](super::Admin) requires one, so a request handler cannot call it by mistake.
#[derive(Clone, Debug)]
pub struct Authority(());

impl Authority {
    /// Declares that the operator is calling: someone with access to the secret and the database, as on the command line.
    pub const fn operator() -> Self {
        Self(())
    }
}
