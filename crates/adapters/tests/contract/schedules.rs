//! Random schedules of real threads over two instances on one database, judged by the history that they leave.
//!
//! What a call answered is compared with what other calls were answered before it began. Calls that overlap may have
//! happened in any order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use portcullis_adapters::db::Database;
use portcullis_domain::account::{ChangeUserError, UserStore};
use portcullis_domain::audit::{EventKind, LogoutScope, SecurityEvent};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::maintenance::{PurgeOutcome, PurgeRequest};
use portcullis_domain::ports::SecureRandom;
use portcullis_domain::session::{
    EndOutcome, Generation, NewSession, OpenSessionError, RotateOutcome, RotateRequest, SessionOpened,
    SessionStore,
};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::SeededRandom;
use portcullis_testkit::fixtures::{IDLE, NOW, event, new_session, new_user, opening_events};

const THREADS: u64 = 8;
const USERS: usize = 3;
const MAX_PER_USER: u32 = 4;

/// What each thread does at most, and for how long.
const CALLS: usize = 400;
const DURATION: Duration = Duration::from_secs(4);

/// Longer than a schedule lasts.
const GRACE: Duration = Duration::from_secs(30);

/// The SQL that reads every [`SessionRow`]; `hex` makes 32 digits of an id.
pub(crate) fn all_sessions(hex: &str) -> String {
    format!(
        "SELECT {hex} AS id, generation, CAST(CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END AS bigint) AS ended
           FROM sessions"
    )
}

/// A session as it is stored.
#[derive(QueryableByName)]
pub(crate) struct SessionRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = BigInt)]
    ended: i64,
}

/// Runs a schedule over two instances and judges it; `rows` reads the stored sessions at its end.
pub(crate) fn keep_every_promise(instances: [&Database; 2], rows: impl FnOnce() -> Vec<SessionRow>) {
    let schedule = &Schedule::new(instances);
    let threads = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || schedule.run(n))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let history = History::of(threads);
    history.is_eventful();
    history.has_one_successor_for_each_token();
    history.has_no_life_after_an_end();
    history.has_no_theft_without_a_copy();
    history.has_no_login_with_what_is_void();
    history.is_what_is_stored(&rows());
    for user in &schedule.users {
        let live = instances[0].list_sessions(*user, schedule.begun_at + DURATION * 2).unwrap();
        assert!(live.len() <= MAX_PER_USER as usize, "{live:?}");
    }
}

/// What the threads share.
struct Schedule<'a> {
    instances: [&'a Database; 2],
    users: Vec<UserId>,
    /// The newest sessions, and the newest generation that somebody was given of each.
    known: Mutex<Vec<(SessionId, u32)>>,
    /// Counts the beginnings and ends of calls, which puts them in order.
    ticks: AtomicU64,
    begun: Instant,
    begun_at: UnixTime,
}

/// One call and what it was answered.
#[derive(Debug)]
struct Call {
    began: u64,
    answered: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// `None` where the login was refused.
    Opened {
        user: UserId,
        version: i64,
        opened: Option<SessionId>,
        evicted: Vec<SessionId>,
    },
    Rotated {
        session: SessionId,
        generation: u32,
        grace: Duration,
        rotation: RotateOutcome,
    },
    Ended {
        session: SessionId,
        ending: EndOutcome,
    },
    Found {
        session: SessionId,
        is_live: bool,
    },
    /// `None` where the change was refused.
    PasswordChanged {
        user: UserId,
        version: i64,
        opened: Option<SessionId>,
        ended: Vec<SessionId>,
    },
    Disabled {
        user: UserId,
        ended: Vec<SessionId>,
    },
    Enabled {
        user: UserId,
    },
    Purged {
        deleted: usize,
    },
}

impl<'a> Schedule<'a> {
    fn new(instances: [&'a Database; 2]) -> Self {
        let random = SeededRandom::new(0);
        let users = (0..USERS).map(|n| {
            let user = new_user(&format!("user{n}"), &random);
            instances[0].insert_user(&user, &event(EventKind::UserRegistered, NOW, &random)).unwrap();
            user.id
        });
        Self {
            instances,
            users: users.collect(),
            known: Mutex::default(),
            ticks: AtomicU64::new(0),
            begun: Instant::now(),
            begun_at: NOW,
        }
    }

    fn run(&self, thread: u64) -> Vec<Call> {
        // The seeds lie so far apart that no two threads make the same ids.
        let random = SeededRandom::new((thread + 1) << 48);
        let actor = Actor { schedule: self, database: self.instances[usize::from(thread % 2 == 1)], random };
        let calls = (0..CALLS).take_while(|_| self.begun.elapsed() < DURATION);
        calls.flat_map(|_| actor.act()).collect()
    }
}

/// One thread.
struct Actor<'a> {
    schedule: &'a Schedule<'a>,
    database: &'a Database,
    random: SeededRandom,
}

impl Actor<'_> {
    fn act(&self) -> Vec<Call> {
        match self.below(100) {
            0..70 => self.with_a_session(|session, newest| vec![self.present(session, newest)]),
            70..80 => vec![self.open()],
            80..86 => self.with_a_session(|session, _| vec![self.end(session)]),
            86..92 => self.with_a_session(|session, _| vec![self.find(session)]),
            92..94 => vec![self.change_password()],
            94..96 => self.disable_for_a_while(),
            _ => vec![self.purge()],
        }
    }

    fn with_a_session(&self, call: impl FnOnce(SessionId, u32) -> Vec<Call>) -> Vec<Call> {
        let known = self.schedule.known.lock().unwrap();
        let newest = &known[known.len().saturating_sub(6)..];
        let chosen = (!newest.is_empty()).then(|| newest[self.below(newest.len())]);
        drop(known);
        chosen.map_or(Vec::new(), |(session, newest)| call(session, newest))
    }

    /// Presents the newest token, the one before, an old one or one from ahead.
    fn present(&self, session: SessionId, newest: u32) -> Call {
        let generation = match self.below(20) {
            0 => newest.saturating_sub(2),
            1..6 => newest.saturating_sub(1),
            6 => newest + 1,
            _ => newest,
        };
        let grace = if self.below(4) == 0 { Duration::ZERO } else { GRACE };
        let presented = RotateRequest {
            session,
            generation: Generation::new(generation),
            now: self.now(),
            grace,
            idle: IDLE,
        };
        let reused = self.event(EventKind::RefreshTokenReused);
        self.call(|| {
            let rotation = self.database.rotate(&presented, &reused).unwrap();
            if let RotateOutcome::Rotated(rotated) = &rotation {
                self.note_generation(session, rotated.generation.get());
            }
            What::Rotated { session, generation, grace, rotation }
        })
    }

    fn open(&self) -> Call {
        let session = self.session_of_a_user();
        let events = opening_events(&session, &self.random);
        self.call(|| {
            let result = self.database.open_session(&session, &events);
            let (opened, evicted) = self.opened(&session, result);
            let version = session.credential_version.get();
            What::Opened { user: session.user, version, opened, evicted }
        })
    }

    fn end(&self, session: SessionId) -> Call {
        let event = self.event(EventKind::LoggedOut(LogoutScope::Current));
        self.call(|| What::Ended {
            session,
            ending: self.database.end_session(session, None, event.at, &event).unwrap(),
        })
    }

    fn find(&self, session: SessionId) -> Call {
        let now = self.now();
        self.call(|| {
            let found = self.database.find_session(session, now).unwrap();
            What::Found { session, is_live: found.is_some() }
        })
    }

    fn change_password(&self) -> Call {
        let session = self.session_of_a_user();
        let event = self.event(EventKind::PasswordChanged);
        let hash = new_user("any", &self.random).password_hash;
        let live = self.database.list_sessions(session.user, self.now()).unwrap();
        let acting = live.first().map_or(session.id, |live| live.id);
        self.call(|| {
            let result = self.database.change_password(acting, &hash, &session, &event);
            let (opened, ended) = self.opened(&session, result);
            let version = session.credential_version.get();
            What::PasswordChanged { user: session.user, version, opened, ended }
        })
    }

    fn disable_for_a_while(&self) -> Vec<Call> {
        let user = self.user();
        let changed = |result: Result<_, ChangeUserError>| result.unwrap();
        let [disabled, enabled] =
            [EventKind::UserDisabled, EventKind::UserEnabled].map(|kind| self.event(kind));
        let disable = self
            .call(|| What::Disabled { user, ended: changed(self.database.disable_user(user, &disabled)) });
        let open = self.open();
        let enable = self.call(|| {
            self.database.enable_user(user, &enabled).unwrap();
            What::Enabled { user }
        });
        vec![disable, open, enable]
    }

    /// One step through what has been over for a moment, by whoever comes.
    fn purge(&self) -> Call {
        let request = PurgeRequest {
            instance: SessionId::new(self.now(), &self.random).as_uuid(),
            now: self.now(),
            turn: Duration::ZERO,
            over_before: self.now() - Duration::from_millis(100),
            after: None,
            batch: 1_000,
        };
        self.call(|| match self.database.purge_sessions(&request).unwrap() {
            PurgeOutcome::NotThisInstance => What::Purged { deleted: 0 },
            PurgeOutcome::Step { deleted, .. } => What::Purged { deleted },
        })
    }

    fn call(&self, call: impl FnOnce() -> What) -> Call {
        let tick = || self.schedule.ticks.fetch_add(1, Ordering::SeqCst);
        let began = tick();
        let what = call();
        Call { began, answered: tick(), what }
    }

    /// A session of some user as it stands now.
    fn session_of_a_user(&self) -> NewSession {
        let user = self.database.find_user(self.user()).unwrap().unwrap();
        NewSession {
            credential_version: user.credential_version,
            max_per_user: MAX_PER_USER.try_into().unwrap(),
            ..new_session(user.id, self.now(), &self.random)
        }
    }

    /// What was opened, and what was ended for it.
    fn opened(
        &self,
        session: &NewSession,
        result: Result<SessionOpened, OpenSessionError>,
    ) -> (Option<SessionId>, Vec<SessionId>) {
        match result {
            Ok(opened) => {
                self.schedule.known.lock().unwrap().push((session.id, 0));
                (Some(session.id), opened.ended)
            }
            Err(OpenSessionError::UserChanged) => (None, Vec::new()),
            Err(OpenSessionError::Store(error)) => panic!("{error:?}"),
        }
    }

    fn note_generation(&self, session: SessionId, generation: u32) {
        let mut known = self.schedule.known.lock().unwrap();
        if let Some((_, newest)) = known.iter_mut().find(|(known, _)| *known == session) {
            *newest = generation.max(*newest);
        }
    }

    fn user(&self) -> UserId {
        self.schedule.users[self.below(USERS)]
    }

    fn event(&self, kind: EventKind) -> SecurityEvent {
        event(kind, self.now(), &self.random)
    }

    fn now(&self) -> UnixTime {
        self.schedule.begun_at + self.schedule.begun.elapsed()
    }

    fn below(&self, bound: usize) -> usize {
        let mut random = [0; 4];
        self.random.fill(&mut random);
        u32::from_le_bytes(random) as usize % bound
    }
}

/// What an answer says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Lives,
    /// This call ended it.
    Ended,
    IsOver,
}

impl Call {
    fn is_before(&self, other: &Self) -> bool {
        self.answered < other.began
    }

    fn signs(&self) -> Vec<(SessionId, Sign)> {
        let ends = |opened: &Option<SessionId>, ended: &[SessionId]| {
            let ended = ended.iter().map(|session| (*session, Sign::Ended));
            ended.chain(opened.map(|session| (session, Sign::Lives))).collect()
        };
        match &self.what {
            What::Opened { opened, evicted, .. } => ends(opened, evicted),
            What::PasswordChanged { opened, ended, .. } => ends(opened, ended),
            What::Disabled { ended, .. } => ends(&None, ended),
            What::Rotated { session, rotation, .. } => match rotation {
                RotateOutcome::Rotated(_) | RotateOutcome::Ahead => vec![(*session, Sign::Lives)],
                RotateOutcome::Reused => vec![(*session, Sign::Ended)],
                RotateOutcome::Gone => vec![(*session, Sign::IsOver)],
            },
            What::Ended { session, ending: EndOutcome::Ended } => vec![(*session, Sign::Ended)],
            What::Ended { session, ending: EndOutcome::AlreadyEnded | EndOutcome::Unknown } => {
                vec![(*session, Sign::IsOver)]
            }
            What::Found { session, is_live: true } => vec![(*session, Sign::Lives)],
            What::Found { session, is_live: false } => vec![(*session, Sign::IsOver)],
            What::Enabled { .. } | What::Purged { .. } => Vec::new(),
        }
    }

    /// Whose session this call opened, and with which version of the password.
    fn opening(&self) -> Option<(SessionId, UserId, i64)> {
        match &self.what {
            What::Opened { user, version, opened, .. }
            | What::PasswordChanged { user, version, opened, .. } => {
                opened.map(|session| (session, *user, *version))
            }
            _ => None,
        }
    }
}

/// All calls, in the order in which they began.
struct History {
    calls: Vec<Call>,
    /// The calls that say something of each session.
    sessions: HashMap<SessionId, Vec<(usize, Sign)>>,
}

impl History {
    fn of(mut calls: Vec<Call>) -> Self {
        calls.sort_by_key(|call| call.began);
        let mut sessions: HashMap<_, Vec<_>> = HashMap::new();
        for (n, call) in calls.iter().enumerate() {
            for (session, sign) in call.signs() {
                sessions.entry(session).or_default().push((n, sign));
            }
        }
        Self { calls, sessions }
    }

    /// Where next to nothing happened, every promise would be kept.
    fn is_eventful(&self) {
        let check = |what: &str, at_least: usize, is: fn(&What) -> bool| {
            let count = self.calls.iter().filter(|call| is(&call.what)).count();
            assert!(count >= at_least, "{count} of {what} in {} calls", self.calls.len());
        };
        check("successors", 100, |what| {
            matches!(what, What::Rotated { rotation: RotateOutcome::Rotated(_), .. })
        });
        check("thefts", 3, |what| matches!(what, What::Rotated { rotation: RotateOutcome::Reused, .. }));
        check("ends", 10, |what| matches!(what, What::Ended { ending: EndOutcome::Ended, .. }));
        check("evictions", 3, |what| matches!(what, What::Opened { evicted, .. } if !evicted.is_empty()));
        check("new passwords", 3, |what| matches!(what, What::PasswordChanged { opened: Some(_), .. }));
        check("disabled users", 3, |what| matches!(what, What::Disabled { .. }));
        check("purges", 1, |what| matches!(what, What::Purged { deleted: 1.., .. }));
    }

    /// Whoever presents one token gets one successor, and nobody gets one whose own successor is out: there are never
    /// two live branches.
    fn has_one_successor_for_each_token(&self) {
        for session in self.sessions.keys() {
            let rotations = self.rotations(*session);
            for (call, generation, rotation) in &rotations {
                let is_out = |generation: u32| {
                    rotations.iter().any(|(other, presented, rotation)| {
                        *presented >= generation
                            && matches!(rotation, RotateOutcome::Rotated(_))
                            && other.is_before(call)
                    })
                };
                match rotation {
                    RotateOutcome::Rotated(rotated) => {
                        assert_eq!(rotated.generation.get(), generation + 1, "{call:?}");
                        assert!(!is_out(generation + 1), "two branches: {call:?}");
                    }
                    RotateOutcome::Ahead => assert!(!is_out(generation.saturating_sub(1)), "{call:?}"),
                    RotateOutcome::Reused | RotateOutcome::Gone => {}
                }
            }
        }
    }

    /// A session ends once, and nothing of it works after anybody was told.
    fn has_no_life_after_an_end(&self) {
        for (session, signs) in &self.sessions {
            let ends = signs.iter().filter(|(_, sign)| *sign == Sign::Ended).count();
            assert!(ends <= 1, "{session} ended {ends} times");
            let told = signs.iter().filter(|(_, sign)| *sign != Sign::Lives);
            let Some(told) = told.map(|(n, _)| &self.calls[*n]).min_by_key(|call| call.answered) else {
                continue;
            };
            for (n, sign) in signs {
                let call = &self.calls[*n];
                assert!(*sign == Sign::IsOver || !told.is_before(call), "{told:?}, then {call:?}");
            }
        }
        // What ends the sessions of a user leaves out none.
        for (session, user, opening) in self.openings() {
            let ender = self.calls.iter().find(|call| opening.is_before(call) && call.ends_all_of(user));
            let Some(ender) = ender else { continue };
            let signs = &self.sessions[&session];
            let end = signs.iter().find(|(_, sign)| *sign == Sign::Ended).map(|(n, _)| &self.calls[*n]);
            assert!(end.is_some_and(|end| !ender.is_before(end)), "{session} outlived {ender:?}: {end:?}");
        }
    }

    /// Within the grace nobody loses a session by presenting a token whose successor nobody used.
    fn has_no_theft_without_a_copy(&self) {
        for session in self.sessions.keys() {
            let rotations = self.rotations(*session);
            for (call, generation, rotation) in &rotations {
                let What::Rotated { grace: GRACE, .. } = call.what else { continue };
                let was_used = || {
                    rotations.iter().any(|(other, presented, rotation)| {
                        presented > generation
                            && matches!(rotation, RotateOutcome::Rotated(_))
                            && !call.is_before(other)
                    })
                };
                assert!(**rotation != RotateOutcome::Reused || was_used(), "{call:?}");
            }
        }
    }

    /// No session opens with a password that was changed, nor for a user who is disabled; and of those who change one
    /// password one succeeds.
    fn has_no_login_with_what_is_void(&self) {
        for call in &self.calls {
            let Some((_, user, version)) = call.opening() else { continue };
            let is_change = matches!(call.what, What::PasswordChanged { .. });
            for before in self.calls.iter().filter(|before| before.began < call.began) {
                match before.what {
                    What::PasswordChanged { user: changed, version: old, opened: Some(_), .. } => {
                        let is_the_same = changed == user && old == version;
                        let is_void = is_the_same && (is_change || before.is_before(call));
                        assert!(!is_void, "{before:?}, then {call:?}");
                    }
                    What::Disabled { user: disabled, .. } if disabled == user && before.is_before(call) => {
                        let is_enabled = |other: &Call| {
                            matches!(other.what, What::Enabled { user: enabled } if enabled == user)
                                && !other.is_before(before)
                                && !call.is_before(other)
                        };
                        assert!(self.calls.iter().any(is_enabled), "{before:?}, then {call:?}");
                    }
                    _ => {}
                }
            }
        }
    }

    /// Each session has one row until it is purged, and each rotation counted once.
    fn is_what_is_stored(&self, rows: &[SessionRow]) {
        let has_ended =
            |session: &SessionId| self.sessions[session].iter().any(|(_, sign)| *sign == Sign::Ended);
        let stored: HashMap<_, _> =
            rows.iter().map(|row| (SessionId::from_uuid(row.id.parse().unwrap()), row)).collect();
        assert_eq!(stored.len(), rows.len());
        for (session, row) in &stored {
            let rotated: BTreeSet<_> = self
                .rotations(*session)
                .into_iter()
                .filter(|(_, _, rotation)| matches!(rotation, RotateOutcome::Rotated(_)))
                .map(|(_, generation, _)| i64::from(generation))
                .collect();
            assert!(rotated.iter().copied().eq(0..row.generation), "{session}: {rotated:?}");
            assert_eq!(row.ended == 1, has_ended(session), "{session}");
        }
        let opened: Vec<_> = self.openings().map(|(session, ..)| session).collect();
        let purged: Vec<_> = opened.iter().filter(|session| !stored.contains_key(session)).collect();
        assert!(purged.iter().all(|session| has_ended(session)));
        let deleted = self.calls.iter().map(|call| match call.what {
            What::Purged { deleted } => deleted,
            _ => 0,
        });
        assert_eq!(purged.len(), deleted.sum::<usize>());
        assert_eq!(opened.len(), stored.len() + purged.len());
    }

    fn rotations(&self, session: SessionId) -> Vec<(&Call, u32, &RotateOutcome)> {
        let calls = self.sessions[&session].iter().map(|(n, _)| &self.calls[*n]);
        calls
            .filter_map(|call| match &call.what {
                What::Rotated { generation, rotation, .. } => Some((call, *generation, rotation)),
                _ => None,
            })
            .collect()
    }

    fn openings(&self) -> impl Iterator<Item = (SessionId, UserId, &Call)> {
        let opening = |call: &Call| call.opening().map(|(session, user, _)| (session, user));
        self.calls.iter().filter_map(move |call| opening(call).map(|(session, user)| (session, user, call)))
    }
}

impl Call {
    fn ends_all_of(&self, of: UserId) -> bool {
        match self.what {
            What::Disabled { user, .. } | What::PasswordChanged { user, opened: Some(_), .. } => user == of,
            _ => false,
        }
    }
}
