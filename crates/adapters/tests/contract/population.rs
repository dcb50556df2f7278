//! A database full of users and sessions, made by SQL inside the database: as many as wanted, and each known by its
//! number. The growth benchmark (`tests/bench`) uses this file too.

use std::ops::Range;

use portcullis_adapters::db::DatabaseUrl;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Users, each with so many sessions. Session `n` is that of user `n % users`.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) dialect: Dialect,
    pub(crate) users: u64,
    pub(crate) sessions_per_user: u64,
    /// The one hash that all users have.
    pub(crate) password_hash: String,
    /// When the newest session was opened. The others were opened in the week before.
    pub(crate) now: UnixTime,
}

impl Population {
    pub(crate) const fn sessions(&self) -> u64 {
        self.users * self.sessions_per_user
    }

    /// Adds some of the users.
    pub(crate) fn insert_users(&self, numbers: Range<u64>) -> String {
        let (id, hash) = (self.dialect.id(USER, "n"), self.password_hash.replace('\'', "''"));
        let created_at = self.opened_at();
        insert(
            "users (id, username, canonical_name, password_hash, credential_version, created_at)",
            &format!("{id}, 'user-' || n, 'user-' || n, '{hash}', 1, {created_at}"),
            numbers,
        )
    }

    /// Adds some of the sessions with two events each: a login that failed, and the one that opened it.
    pub(crate) fn insert_sessions(&self, numbers: Range<u64>) -> String {
        let id = |of, number: &str| self.dialect.id(of, number);
        let user = id(USER, &format!("n % {}", self.users));
        let session = id(SESSION, "n");
        let opened_at = self.opened_at();
        let later = |days| self.dialect.later(&opened_at, days);
        let sessions = insert(
            "sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at,
                       address, agent)",
            &format!(
                "{session}, {user}, 0, {opened_at}, {opened_at}, {}, {}, {CLIENT}",
                later(IDLE_DAYS),
                later(ABSOLUTE_DAYS),
            ),
            numbers.clone(),
        );
        let event = |of, kind_and_detail: &str, session: &str| {
            insert(
                "security_events (id, at, kind, detail, user_id, session_id, address, agent)",
                &format!("{}, {opened_at}, {kind_and_detail}, {user}, {session}, {CLIENT}", id(of, "n")),
                numbers.clone(),
            )
        };
        let failed = event(FAILURE, "'login_failed', 'wrong_password'", "NULL");
        let succeeded = event(LOGIN, "'login_succeeded', NULL", &session);
        [sessions, failed, succeeded].concat()
    }

    /// Adds for some of the users a wrong password just tried, and the network of the last login.
    pub(crate) fn insert_counters(&self, numbers: Range<u64>) -> String {
        let pseudonym = |kind: &str| self.dialect.pseudonym(&format!("'{kind} ' || n"));
        let (user, opened_at) = (self.dialect.id(USER, "n"), self.opened_at());
        let counters = insert(
            "attempt_counters (pseudonym, user_id, attempts, next_at)",
            &format!(
                "{}, {user}, 1, {}",
                pseudonym("account"),
                self.dialect.moment(&self.now.as_micros().to_string())
            ),
            numbers.clone(),
        );
        let known_until = self.dialect.later(&opened_at, KNOWN_DAYS);
        let known = insert(
            "attempt_counters (pseudonym, user_id, attempts, next_at, known_until)",
            &format!("{}, {user}, 0, {opened_at}, {known_until}", pseudonym("network")),
            numbers,
        );
        [counters, known].concat()
    }

    /// When session `n` was opened.
    fn opened_at(&self) -> String {
        let sessions = self.sessions().max(1);
        let (now, apart) = (self.now.as_micros(), (SPAN_MICROS / sessions).max(1));
        self.dialect.moment(&format!("{now} - ({sessions} - n) * {apart}"))
    }
}

/// The name of a user, which is its own canonical form.
pub(crate) fn username(number: u64) -> String {
    format!("user-{number}")
}

pub(crate) fn user_id(number: u64) -> UserId {
    UserId::from_uuid(uuid(USER, number))
}

pub(crate) fn session_id(number: u64) -> SessionId {
    SessionId::from_uuid(uuid(SESSION, number))
}

impl Dialect {
    pub(crate) const fn of(url: &DatabaseUrl) -> Self {
        match url {
            DatabaseUrl::Postgres(_) => Self::Postgres,
            DatabaseUrl::Sqlite(_) => Self::Sqlite,
        }
    }

    /// The same id as the function [`uuid()`] makes.
    fn id(self, of: u16, number: &str) -> String {
        let low = format!("7000800000000000{of:04x}");
        match self {
            Self::Sqlite => format!("unhex(printf('%012x', {START_MILLIS} + {number}) || '{low}')"),
            Self::Postgres => {
                format!("(lpad(to_hex({START_MILLIS} + {number}), 12, '0') || '{low}')::uuid")
            }
        }
    }

    /// 32 bytes, each time others. No pseudonym that anybody makes.
    fn pseudonym(self, text: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST(printf('%-32s', {text}) AS BLOB)"),
            Self::Postgres => format!("convert_to(rpad({text}, 32), 'UTF8')"),
        }
    }

    /// A moment from microseconds since 1970.
    fn moment(self, micros: &str) -> String {
        match self {
            Self::Sqlite => format!("({micros})"),
            Self::Postgres => format!("(timestamptz 'epoch' + ({micros}) * interval '1 microsecond')"),
        }
    }

    fn later(self, moment: &str, days: u32) -> String {
        match self {
            Self::Sqlite => format!("({moment} + {days} * 86400000000)"),
            Self::Postgres => format!("({moment} + interval '{days} days')"),
        }
    }
}

/// One statement, for many rows. (Both databases count like this.)
fn insert(into: &str, values: &str, numbers: Range<u64>) -> String {
    let Range { start, end } = numbers;
    format!(
        "WITH RECURSIVE numbers (n) AS (SELECT CAST({start} AS bigint)
                                      UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {end})
         INSERT INTO {into} SELECT {values} FROM numbers;\n"
    )
}

/// A version 7 UUID of the row: a millisecond later than that of the row before.
fn uuid(of: u16, number: u64) -> Uuid {
    Uuid::from_u128(u128::from(START_MILLIS + number) << 80 | 0x7000_8000_0000_0000_0000 | u128::from(of))
}

// What tells ids of one number apart.
const USER: u16 = 1;
const SESSION: u16 = 2;
const FAILURE: u16 = 3;
const LOGIN: u16 = 4;

/// 2024-07-03: ids made from now on come after those of ten million rows and of many more.
const START_MILLIS: u64 = 1_720_000_000_000;

/// A week.
const SPAN_MICROS: u64 = 7 * 86_400_000_000;

/// How long a network is known.
const KNOWN_DAYS: u32 = 30;

/// The defaults of `tokens.refresh_idle` and `tokens.refresh_absolute`.
const IDLE_DAYS: u32 = 30;
const ABSOLUTE_DAYS: u32 = 90;

/// An address and an agent of the usual lengths.
const CLIENT: &str =
    "'203.0.113.77', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'";
