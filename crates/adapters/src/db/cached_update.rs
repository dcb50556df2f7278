//! An UPDATE that is prepared once for each connection.
//!
//! Diesel prepares its own anew every time, since the columns that are set may differ from one to the next. For
//! PostgreSQL that is a round trip more, and for SQLite most of the work.

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, SelectableExpression};
use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, AstPass, Query, QueryFragment, QueryId};
use diesel::query_source::QuerySource;
use diesel::sql_types::BoolOrNullableBool;

/// `UPDATE .. SET .. WHERE .. RETURNING ..`
pub(super) struct CachedUpdate<From, Changes, Filter, Returning> {
    from: From,
    changes: Changes,
    filter: Filter,
    returning: Returning,
}

impl<From, Changes, Filter, Returning> CachedUpdate<From, Changes, Filter, Returning> {
    /// Updates the rows of `table` that match.
    pub(super) fn new<T>(
        table: &T,
        filter: Filter,
        changes: impl AsChangeset<Target = T, Changeset = Changes>,
        returning: Returning,
    ) -> Self
    where
        T: Table + QuerySource<FromClause = From>,
        Filter: AppearsOnTable<T>,
        Filter::SqlType: BoolOrNullableBool,
        Returning: SelectableExpression<T>,
    {
        Self { from: table.from_clause(), changes: changes.as_changeset(), filter, returning }
    }
}

impl<DB, From, Changes, Filter, Returning> QueryFragment<DB>
    for CachedUpdate<From, Changes, Filter, Returning>
where
    DB: Backend,
    From: QueryFragment<DB>,
    Changes: QueryFragment<DB>,
    Filter: QueryFragment<DB>,
    Returning: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE ");
        self.from.walk_ast(out.reborrow())?;
        out.push_sql(" SET ");
        self.changes.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.filter.walk_ast(out.reborrow())?;
        out.push_sql(" RETURNING ");
        self.returning.walk_ast(out)
    }
}

impl<From, Changes, Filter, Returning: Expression> Query for CachedUpdate<From, Changes, Filter, Returning> {
    type SqlType = Returning::SqlType;
}

/// The prepared statement is found by its SQL, not by the type of the query, which does not tell which columns are set.
impl<From, Changes, Filter, Returning> QueryId for CachedUpdate<From, Changes, Filter, Returning> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<From, Changes, Filter, Returning, Connection> RunQueryDsl<Connection>
    for CachedUpdate<From, Changes, Filter, Returning>
{
}
