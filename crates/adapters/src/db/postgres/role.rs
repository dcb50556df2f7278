//! The settings that a role must bring where the service cannot set its sessions: behind a pooler in transaction mode, what
//! one client sets reaches the next one.
//!
//! They are what [`session`](super::session) sets otherwise. A stricter value is accepted.

use std::time::Duration;

use diesel::sql_types::{Nullable, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _};

use super::session::{IDLE_IN_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, STATEMENT_TIMEOUT};
use crate::db::failure::DatabaseFailure;

/// Returns the statements that give the role of a connection the settings that it lacks; `None` if it lacks none.
///
/// Reads what the server process would reset a setting to, since the client before may have changed the setting itself.
pub(in crate::db) fn missing_settings(
    connection: &mut PgConnection,
) -> Result<Option<String>, DatabaseFailure> {
    let rows: Vec<Setting> = diesel::sql_query(
        "SELECT quote_ident(current_user) AS role, name, reset_val AS value FROM pg_settings",
    )
    .load(connection)?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| row.name.eq_ignore_ascii_case(name));
        row.and_then(|row| row.value.as_deref()).unwrap_or_default()
    };
    let Some(role) = rows.first().map(|row| row.role.as_str()) else {
        return Err(DatabaseFailure::new("the server shows none of its settings"));
    };
    let missing: Vec<_> = REQUIRED
        .iter()
        .filter(|required| !required.accepts.holds(value(required.name)))
        .map(|required| format!("ALTER ROLE {role} SET {} = {};", required.name, required.set_to))
        .collect();
    Ok((!missing.is_empty()).then(|| missing.join(" ")))
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    name: String,
    /// In the unit of the setting, which is milliseconds for every timeout here.
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

/// A setting that statements rely on.
struct Required {
    name: &'static str,
    accepts: Accepts,
    /// The value in the statement for the operator, as SQL.
    set_to: &'static str,
}

/// The values that will do.
enum Accepts {
    /// More than nothing, which means no limit, and this at most.
    AtMost(Duration),
    OneOf(&'static [&'static str]),
}

impl Accepts {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::AtMost(most) => {
                value.parse().is_ok_and(|millis: u128| (1..=most.as_millis()).contains(&millis))
            }
            Self::OneOf(values) => values.contains(&value),
        }
    }
}

/// What the session's settings are for is explained there. `idle_session_timeout` and `transaction_timeout` are not among
/// these: the pooler replaces idle server connections, and a shorter transaction is rolled back.
const REQUIRED: &[Required] = &[
    Required { name: "statement_timeout", accepts: Accepts::AtMost(STATEMENT_TIMEOUT), set_to: "'5s'" },
    Required { name: "lock_timeout", accepts: Accepts::AtMost(LOCK_TIMEOUT), set_to: "'3s'" },
    Required {
        name: "idle_in_transaction_session_timeout",
        accepts: Accepts::AtMost(IDLE_IN_TRANSACTION_TIMEOUT),
        set_to: "'3s'",
    },
    Required {
        name: "timezone",
        accepts: Accepts::OneOf(&["UTC", "Etc/UTC", "GMT", "Etc/GMT"]),
        set_to: "'UTC'",
    },
    Required {
        name: "synchronous_commit",
        accepts: Accepts::OneOf(&["on", "remote_write", "remote_apply"]),
        set_to: "'on'",
    },
    Required {
        name: "default_transaction_isolation",
        accepts: Accepts::OneOf(&["read committed"]),
        set_to: "'read committed'",
    },
    Required { name: "datestyle", accepts: Accepts::OneOf(&["ISO, MDY"]), set_to: "'ISO', 'MDY'" },
    Required { name: "intervalstyle", accepts: Accepts::OneOf(&["postgres"]), set_to: "'postgres'" },
    Required { name: "bytea_output", accepts: Accepts::OneOf(&["hex"]), set_to: "'hex'" },
    Required { name: "standard_conforming_strings", accepts: Accepts::OneOf(&["on"]), set_to: "'on'" },
    Required { name: "transform_null_equals", accepts: Accepts::OneOf(&["off"]), set_to: "'off'" },
];

#[cfg(test)]
mod tests {
    use diesel::Connection as _;
    use portcullis_testkit::postgres::ThrowawayPostgres;

    use super::*;

    fn missing(url: &str) -> Option<String> {
        missing_settings(&mut PgConnection::establish(url).unwrap()).unwrap()
    }

    /// The settings of a database stand in for those of a role here, which all tests share.
    #[test]
    fn settings_that_a_role_lacks_are_named() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        let set = |setting: &str, value: &str| {
            server.execute(&url, &format!("ALTER DATABASE {name} SET {setting} TO {value}"));
        };
        let fresh = "ALTER ROLE portcullis SET statement_timeout = '5s'; ALTER ROLE portcullis SET lock_timeout = '3s'; \
                     ALTER ROLE portcullis SET idle_in_transaction_session_timeout = '3s';";
        let text = missing(&url).unwrap();
        assert!(text.starts_with(fresh), "{text}");
        for required in REQUIRED {
            set(required.name, required.set_to);
        }
        assert_eq!(missing(&url), None);
        for (setting, value, is_fine) in [
            ("statement_timeout", "'1s'", true),
            ("statement_timeout", "'6s'", false),
            ("statement_timeout", "0", false),
            ("lock_timeout", "'4s'", false),
            ("idle_in_transaction_session_timeout", "0", false),
            ("timezone", "'Asia/Kolkata'", false),
            ("synchronous_commit", "'remote_apply'", true),
            ("synchronous_commit", "'off'", false),
            ("synchronous_commit", "'local'", false),
            ("default_transaction_isolation", "'repeatable read'", false),
            ("datestyle", "'SQL', 'DMY'", false),
            ("intervalstyle", "'iso_8601'", false),
            ("bytea_output", "'escape'", false),
            ("standard_conforming_strings", "'off'", false),
            ("transform_null_equals", "'on'", false),
        ] {
            set(setting, value);
            let required = REQUIRED.iter().find(|required| required.name == setting).unwrap();
            let line = format!("ALTER ROLE portcullis SET {setting} = {};", required.set_to);
            assert_eq!(missing(&url), (!is_fine).then_some(line), "{setting} = {value}");
            set(setting, required.set_to);
        }
    }
}
