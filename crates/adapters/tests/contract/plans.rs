//! How the databases carry out the stores' statements: the SQL as it was sent, and the plans that are made of it. The
//! growth benchmark (`tests/bench`) uses this file too.

use std::cell::RefCell;
use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use diesel::connection::{InstrumentationEvent, SimpleConnection, set_default_instrumentation};
use diesel::deserialize::{self, QueryableByName};
use diesel::row::NamedRow;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryResult, RunQueryDsl, SqliteConnection};
use portcullis_adapters::db::{Database, DatabaseUrl};
use portcullis_domain::account::{CanonicalName, CredentialVersion, Reauthentication, UserStore};
use portcullis_domain::audit::{AuditLog, EventKind, LoginFailure};
use portcullis_domain::id::SessionId;
use portcullis_domain::maintenance::PurgeRequest;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::session::{
    EndOutcome, Generation, NewSession, Proof, RotateOutcome, RotateRequest, SessionStore,
};
use portcullis_domain::throttle::{
    AccountKey, AttemptDecision, AttemptEvent, AttemptStore, KNOWN_FOR, KnownNetwork, LoginAttempt,
    PurgedCounter, SCHEDULE, SuccessfulAttempt,
};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::SeededRandom;
use portcullis_testkit::fixtures::{IDLE, event, new_session, new_user, opening_events, successful_attempt};

use super::population::{self, Population, session_id, user_id};

/// A statement, and the call of a store that sends it first.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) call: &'static str,
    pub(crate) sql: String,
}

/// The statements that come with every request or every look at the database: all that the stores send, but for what
/// an operator does to everybody at once. Uses up the population's first users and sessions.
///
/// [`record`] must have been called before the database made its first connection.
pub(crate) fn hot_statements(
    database: &Database,
    population: &Population,
) -> Result<Vec<Statement>, Box<dyn Error + Send + Sync>> {
    let has_enough = population.users >= USED_UP && population.sessions_per_user > 0;
    is_as_planned(has_enough, "there are too few users and sessions")?;
    let now = population.now;
    let random = SeededRandom::new(population.users);
    let event = |kind| event(kind, now, &random);
    let name = CanonicalName::of(&population::username(1));
    let hash = PasswordHash::new(population.password_hash.clone());
    let session_of =
        |user: u64| NewSession { max_per_user: NonZeroU32::MIN, ..new_session(user_id(user), now, &random) };
    let first_token_of = |session: u64, at: UnixTime| RotateRequest {
        session: session_id(session),
        generation: Generation::FIRST,
        now: at,
        grace: Duration::ZERO,
        idle: IDLE,
    };
    let reused = event(EventKind::RefreshTokenReused);
    let mut seen = Seen::default();

    let new = new_user("new", &random);
    seen.during("register", || database.insert_user(&new, &event(EventKind::UserRegistered)))?;
    seen.during("find user by name", || database.find_user_by_name(&name))?.ok_or("user 1 is missing")?;
    seen.during("find user by id", || database.find_user(user_id(1)))?.ok_or("user 1 is missing")?;
    let upgraded = event(EventKind::HashUpgraded);
    seen.during("upgrade hash", || database.upgrade_hash(user_id(1), &hash, &hash, &upgraded))?;

    let [counter, here] = [1, 2].map(|n| AccountKey::from_bytes([n; 32]));
    let begun = event(EventKind::ThrottlingBegun);
    let begun = AttemptEvent { ordinal: SCHEDULE.free, event: begun };
    let attempt = LoginAttempt { counter, user: Some(user_id(1)), now, event: begun };
    let reserved = seen.during("reserve attempt", || database.begin_attempt(&attempt))?;
    is_as_planned(reserved == AttemptDecision::Granted { attempts: 1 }, "it is not the first attempt")?;
    for _ in 1..SCHEDULE.free {
        seen.during("reserve attempt", || database.begin_attempt(&attempt))?;
    }
    let reserved = seen.during("refuse attempt", || database.begin_attempt(&attempt))?;
    is_as_planned(matches!(reserved, AttemptDecision::Refused { .. }), "it is not refused")?;
    let known = Some(KnownNetwork { counter: here, until: now + KNOWN_FOR });
    let proof = Proof::Password(SuccessfulAttempt { counter, known });
    let session = NewSession { proof, ..session_of(1) };
    let events = opening_events(&session, &random);
    let opened = seen.during("open session", || database.open_session(&session, &events))?;
    is_as_planned(database.find_counter(counter)?.is_none(), "nothing was forgiven")?;
    seen.during("find counter", || database.find_counter(here))?.ok_or("no network is known")?;
    let forgotten = seen.during("forget attempts", || {
        database.purge_counters(now + KNOWN_FOR, 100, &|_: &PurgedCounter| None)
    })?;
    is_as_planned(forgotten > 0, "nothing was forgotten")?;
    is_as_planned(opened.ended.contains(&session_id(1)), "nothing was evicted")?;

    seen.during("find session", || database.find_session(session_id(2), now))?
        .ok_or("session 2 is missing")?;
    let rotation = seen.during("rotate", || database.rotate(&first_token_of(2, now), &reused))?;
    let later = now + Duration::from_secs(1);
    is_as_planned(matches!(rotation, RotateOutcome::Rotated(_)), "nothing was rotated")?;
    let rotation = seen.during("rotate a copy", || database.rotate(&first_token_of(2, later), &reused))?;
    is_as_planned(rotation == RotateOutcome::Reused, "a copy was not noticed")?;
    let rotation =
        seen.during("rotate what ended", || database.rotate(&first_token_of(2, later), &reused))?;
    is_as_planned(rotation == RotateOutcome::Gone, "the session did not end")?;

    let logged_out = event(EventKind::SessionEnded);
    seen.during("end session", || database.end_session(session_id(3), Some(user_id(3)), now, &logged_out))?;
    let again =
        seen.during("end what ended", || database.end_session(session_id(3), None, now, &logged_out))?;
    is_as_planned(again == EndOutcome::AlreadyEnded, "the session did not end")?;
    let restored = seen.during("end sessions again", || {
        database.end_again(&[session_id(3), session_id(2)], now, now - Duration::from_hours(10_000))
    })?;
    is_as_planned(restored.is_empty(), "both had ended")?;
    seen.during("list sessions", || database.list_sessions(user_id(4), now))?;
    let ended_all = event(EventKind::UserSessionsEnded);
    seen.during("end sessions", || database.end_sessions(user_id(4), Some(session_id(4)), &ended_all))?;
    let changed = event(EventKind::PasswordChanged);
    seen.during("change password", || {
        database.change_password(session_id(5), &hash, &session_of(5), &changed)
    })?;
    let set = event(EventKind::PasswordSet);
    seen.during("set password", || database.set_password(user_id(6), &hash, &set))?;
    let disabled = event(EventKind::UserDisabled);
    seen.during("disable user", || database.disable_user(user_id(6), &disabled))?;
    let enabled = event(EventKind::UserEnabled);
    seen.during("enable user", || database.enable_user(user_id(6), &enabled))?;
    let confirmed = Reauthentication {
        session: session_id(7),
        credential_version: CredentialVersion::FIRST,
        proof: Proof::Password(successful_attempt(&random)),
    };
    let deleted = event(EventKind::AccountDeleted);
    seen.during("delete user", || database.delete_user(user_id(7), Some(confirmed), now, &deleted))?;

    seen.during("record event", || {
        database.record_event(&event(EventKind::LoginFailed(LoginFailure::UnknownUser)))
    })?;
    seen.during("events of a user", || database.list_events(user_id(1), None, 51))?;
    let loaded = seen.during("load session changes", || database.session_changes(None, now, MOST_NEWS))?;
    let polled =
        seen.during("poll session changes", || database.session_changes(loaded.next, now, MOST_NEWS))?;
    is_as_planned(polled.continues, "the cursor was not used")?;
    seen.during("purge step", || database.purge_sessions(&purge_of_nothing(now, &random)))?;
    Ok(seen.0)
}

/// The statements seen so far, each once.
#[derive(Default)]
pub(crate) struct Seen(pub(crate) Vec<Statement>);

impl Seen {
    pub(crate) fn during<T, E: Error + Send + Sync + 'static>(
        &mut self,
        call: &'static str,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Box<dyn Error + Send + Sync>> {
        SENT.with_borrow_mut(Vec::clear);
        let result = run().map_err(|error| format!("{call}: {error}"))?;
        let sent = SENT.take();
        is_as_planned(!sent.is_empty(), "a call sent no statement, or its connection is not recorded")?;
        for sql in sent {
            if !self.0.iter().any(|known| known.sql == sql) {
                self.0.push(Statement { call, sql });
            }
        }
        Ok(result)
    }
}

fn is_as_planned(holds: bool, otherwise: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

/// A step through the oldest sessions, of which none is over for long.
fn purge_of_nothing(now: UnixTime, random: &SeededRandom) -> PurgeRequest {
    PurgeRequest {
        instance: SessionId::new(now, random).as_uuid(),
        now,
        turn: Duration::ZERO,
        over_before: UnixTime::EPOCH,
        after: None,
        batch: 1_000,
    }
}

/// How many users and sessions [`hot_statements`] needs for itself.
pub(crate) const USED_UP: u64 = 8;

/// How many ended sessions an instance asks for.
const MOST_NEWS: u32 = 100_000;

/// Notes the statements of every connection made from now on, for the thread that sends them.
pub(crate) fn record() -> QueryResult<()> {
    set_default_instrumentation(|| Some(Box::new(|event: InstrumentationEvent<'_>| note(&event))))
}

fn note(event: &InstrumentationEvent<'_>) {
    let InstrumentationEvent::StartQuery { query, .. } = event else { return };
    let shown = query.to_string();
    let sql = shown.split_once(" -- binds: ").map_or(shown.as_str(), |(sql, _binds)| sql);
    // The rest begins and ends transactions and sets up connections.
    if ["SELECT", "INSERT", "UPDATE", "DELETE"].iter().any(|verb| sql.starts_with(verb)) {
        SENT.with_borrow_mut(|sent| sent.push(sql.to_owned()));
    }
}

thread_local! {
    static SENT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A connection past the stores: it asks for plans.
pub(crate) enum Direct {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Direct {
    pub(crate) fn connect(url: &DatabaseUrl) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(match url {
            DatabaseUrl::Postgres(url) => Self::Postgres(PgConnection::establish(url.as_str())?),
            DatabaseUrl::Sqlite(path) => {
                let path = path.to_str().ok_or("the path is no text")?;
                Self::Sqlite(SqliteConnection::establish(path)?)
            }
        })
    }

    pub(crate) fn execute(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Self::Sqlite(connection) => connection.batch_execute(sql),
            Self::Postgres(connection) => connection.batch_execute(sql),
        }
    }

    /// The plan of a statement, whatever is bound to it, line by line.
    pub(crate) fn explain(&mut self, sql: &str) -> QueryResult<Vec<String>> {
        let lines: Vec<Line> = match self {
            Self::Sqlite(connection) => {
                diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(connection)?
            }
            Self::Postgres(connection) => {
                // The plan that PostgreSQL keeps for a statement that comes again and again.
                connection.batch_execute(&format!(
                    "SET plan_cache_mode TO force_generic_plan; DEALLOCATE ALL; PREPARE hot AS {sql}"
                ))?;
                let execute = match placeholders(sql) {
                    0 => "EXECUTE hot".to_owned(),
                    count => format!("EXECUTE hot ({})", vec!["NULL"; count].join(", ")),
                };
                let explain = diesel::sql_query(format!("EXPLAIN (COSTS OFF) {execute}"));
                explain.load(connection)?
            }
        };
        Ok(lines.into_iter().map(|Line(line)| line).collect())
    }

    /// What of a plan reads a whole table, or a whole index, but for the table of one row.
    pub(crate) fn reads_in_full<'a>(&self, plan: &'a [String]) -> Vec<&'a str> {
        let is_full = |line: &str, next: Option<&str>| match self {
            Self::Sqlite(_) => {
                line.starts_with("SCAN ") && line != "SCAN deployment" && !line.ends_with("VALUES CLAUSE")
            }
            Self::Postgres(_) if line.contains("Seq Scan on") => !line.contains("Seq Scan on deployment"),
            // The conditions by which an index is entered come first below its scan.
            Self::Postgres(_) if line.contains("Index Scan") || line.contains("Index Only Scan") => {
                !next.is_some_and(|next| next.trim_start().starts_with("Index Cond: "))
            }
            Self::Postgres(_) => false,
        };
        let next = |n: usize| plan.get(n + 1).map(String::as_str);
        plan.iter()
            .enumerate()
            .filter(|(n, line)| is_full(line, next(*n)))
            .map(|(_, line)| line.as_str())
            .collect()
    }
}

/// How many values a statement takes: they are numbered from one.
fn placeholders(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    numbers.filter_map(|number| number.parse().ok()).max().unwrap_or(0)
}

/// A line of a plan; the databases name its column differently.
struct Line(String);

impl QueryableByName<diesel::sqlite::Sqlite> for Line {
    fn build<'a>(row: &impl NamedRow<'a, diesel::sqlite::Sqlite>) -> deserialize::Result<Self> {
        NamedRow::get::<Text, _>(row, "detail").map(Self)
    }
}

impl QueryableByName<diesel::pg::Pg> for Line {
    fn build<'a>(row: &impl NamedRow<'a, diesel::pg::Pg>) -> deserialize::Result<Self> {
        NamedRow::get::<Text, _>(row, "QUERY PLAN").map(Self)
    }
}
