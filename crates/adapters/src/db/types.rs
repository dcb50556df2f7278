//! Ids, times and transactions as both databases store them.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Binary, HasSqlType, Uuid as PgUuid};
use diesel::sqlite::Sqlite;
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::connection::{MultiBackend, MultiRawValue};
use super::schema::sql_types::{Id, Moment, Transaction};

/// An id in a query or a row.
#[derive(AsExpression, Clone, Copy, Debug, FromSqlRow)]
#[diesel(sql_type = Id)]
pub(super) struct DbId(pub Uuid);

/// A moment in a query or a row.
#[derive(AsExpression, Clone, Copy, Debug, FromSqlRow)]
#[diesel(sql_type = Moment)]
pub(super) struct DbTime(pub UnixTime);

/// A transaction's number in a query or a row. They are unsigned on PostgreSQL, and SQLite counts from one.
#[derive(AsExpression, Clone, Copy, Debug, FromSqlRow)]
#[diesel(sql_type = Transaction)]
pub(super) struct DbTransaction(pub u64);

impl ToSql<Id, Pg> for DbId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<PgUuid, Pg>::to_sql(&self.0, out)
    }
}

impl FromSql<Id, Pg> for DbId {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        FromSql::<PgUuid, Pg>::from_sql(value).map(Self)
    }
}

impl ToSql<Id, Sqlite> for DbId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_bytes().as_slice());
        Ok(IsNull::No)
    }
}

impl FromSql<Id, Sqlite> for DbId {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes: Vec<u8> = FromSql::<Binary, Sqlite>::from_sql(value)?;
        Ok(Self(Uuid::from_slice(&bytes)?))
    }
}

/// PostgreSQL counts microseconds from 2000-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl ToSql<Moment, Pg> for DbTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let micros = self.0.as_micros().saturating_sub(POSTGRES_EPOCH);
        ToSql::<BigInt, Pg>::to_sql(&micros, &mut out.reborrow())
    }
}

impl FromSql<Moment, Pg> for DbTime {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let micros: i64 = FromSql::<BigInt, Pg>::from_sql(value)?;
        Ok(Self(UnixTime::from_micros(micros.saturating_add(POSTGRES_EPOCH))))
    }
}

impl ToSql<Moment, Sqlite> for DbTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_micros());
        Ok(IsNull::No)
    }
}

impl FromSql<Moment, Sqlite> for DbTime {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = FromSql::<BigInt, Sqlite>::from_sql(value)?;
        Ok(Self(UnixTime::from_micros(micros)))
    }
}

impl ToSql<Transaction, Pg> for DbTransaction {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<BigInt, Pg>::to_sql(&self.0.cast_signed(), &mut out.reborrow())
    }
}

impl FromSql<Transaction, Pg> for DbTransaction {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let bits: i64 = FromSql::<BigInt, Pg>::from_sql(value)?;
        Ok(Self(bits.cast_unsigned()))
    }
}

impl ToSql<Transaction, Sqlite> for DbTransaction {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        // No database gets so far that the number is cut.
        out.set_value(i64::try_from(self.0).unwrap_or(i64::MAX));
        Ok(IsNull::No)
    }
}

impl FromSql<Transaction, Sqlite> for DbTransaction {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let number: i64 = FromSql::<BigInt, Sqlite>::from_sql(value)?;
        Ok(Self(u64::try_from(number)?))
    }
}

/// Lets a type cross the connection enum: each side reads and writes its own.
macro_rules! crosses_the_enum {
    ($($sql:ty => $rust:ty),*) => {$(
        impl HasSqlType<$sql> for MultiBackend {
            fn metadata(lookup: &mut Self::MetadataLookup) -> Self::TypeMetadata {
                Self::lookup_sql_type::<$sql>(lookup)
            }
        }

        impl ToSql<$sql, MultiBackend> for $rust {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, MultiBackend>) -> serialize::Result {
                out.set_value((<$sql>::default(), self));
                Ok(IsNull::No)
            }
        }

        impl FromSql<$sql, MultiBackend> for $rust {
            fn from_sql(value: MultiRawValue<'_>) -> deserialize::Result<Self> {
                value.from_sql::<$rust, $sql>()
            }
        }
    )*};
}

crosses_the_enum!(Id => DbId, Moment => DbTime, Transaction => DbTransaction);
