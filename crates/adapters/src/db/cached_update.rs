//! An UPDATE that is prepared once for each connection.
//!
//! Diesel prepares its own anew every time, since the columns that are set may differ from one to the next. For
//! PostgreSQL that is a round trip more, and for SQLite most of the work.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, SelectableExpression};
use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, AstPass, Query, QueryFragment, QueryId};
use diesel::query_source::QuerySource;
use diesel::sql_types::BoolOrNullableBool;

/// `UPDATE .. SET .. WHERE .. RETURNING ..`, under a name: a type that stands for one statement, which always has the same
/// SQL. By it the prepared statement is found.
pub(super) struct CachedUpdate<Name, From, Changes, Filter, Returning> {
    name: PhantomData<Name>,
    from: From,
    changes: Changes,
    filter: Filter,
    returning: Returning,
}

impl<Name, From, Changes, Filter, Returning> CachedUpdate<Name, From, Changes, Filter, Returning> {
    /// Updates the rows of `table` that match.
    pub(super) fn new<T>(
        _name: Name,
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
        Self {
            name: PhantomData,
            from: table.from_clause(),
            changes: changes.as_changeset(),
            filter,
            returning,
        }
    }
}

impl<DB, Name, From, Changes, Filter, Returning> QueryFragment<DB>
    for CachedUpdate<Name, From, Changes, Filter, Returning>
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

impl<Name, From, Changes, Filter, Returning: Expression> Query
    for CachedUpdate<Name, From, Changes, Filter, Returning>
{
    type SqlType = Returning::SqlType;
}

impl<Name: 'static, From, Changes, Filter, Returning> QueryId
    for CachedUpdate<Name, From, Changes, Filter, Returning>
{
    type QueryId = Name;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Name, From, Changes, Filter, Returning, Connection> RunQueryDsl<Connection>
    for CachedUpdate<Name, From, Changes, Filter, Returning>
{
}
