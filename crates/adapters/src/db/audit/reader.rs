use portcullis_domain::ports::StoreError;
use uuid::Uuid;

use super::chain::{self, ChainRow, UnsealedPage};
use super::statements;
use crate::audit::{SealableEvent, Statement};
use crate::db::connection::AnyConnection;
use crate::db::{DatabaseUrl, PrepareError, prepare};

/// A connection that only reads the audit log: the database may be one that this instance must not use.
pub(crate) struct AuditReader(AnyConnection);

impl AuditReader {
    pub(crate) fn connect(url: &DatabaseUrl) -> Result<Self, PrepareError> {
        prepare::connect_to_existing(url).map(Self)
    }

    pub(crate) fn statements(&mut self, before: i64, most: u32) -> Result<Vec<Statement>, StoreError> {
        statements::statements(&mut self.0, before, most)
    }

    /// The place of the newest checkpoint.
    pub(crate) fn checkpoint(&mut self) -> Result<Option<i64>, StoreError> {
        Ok(statements::checkpoint(&mut self.0)?.map(|link| link.seq))
    }

    /// The place where the chain ends.
    pub(crate) fn end(&mut self) -> Result<i64, StoreError> {
        Ok(chain::tip(&mut self.0)?.seq)
    }

    pub(crate) fn chain(&mut self, after: i64, most: u32) -> Result<Vec<ChainRow>, StoreError> {
        chain::chain(&mut self.0, after, most)
    }

    pub(crate) fn events(&mut self, ids: &[Uuid]) -> Result<Vec<SealableEvent>, StoreError> {
        chain::events(&mut self.0, ids)
    }

    pub(crate) fn unsealed(&mut self, after: Uuid, most: u32) -> Result<UnsealedPage<Uuid>, StoreError> {
        chain::find_unsealed(&mut self.0, after, most)
    }
}
