//! The rules of refreshing as a state machine, explored exhaustively through the services themselves.
//!
//! Two instances share one store, by clocks that differ by as much as is tolerated or not at all. One session has two
//! holders of tokens: the client, and a thief who may copy what the client holds at any time. Each of them presents
//! its newest refresh token or the one before, to either instance, and gets the reply or loses it. Besides, at any
//! time: somebody logs out, an instance looks at the store or restarts, time goes by within the grace, beyond it or
//! beyond the end of the session, and the store is backed up and restored. (An instance that is killed between the
//! commit and the answer is a lost reply and a restart.)
//!
//! From every state each of these is tried, shortest ways first, and states that nobody can tell apart are visited
//! once. In all of them must hold:
//!
//! - **One branch.** At most one generation can be rotated, and whatever is accepted leads to one successor: two
//!   holders of one token never carry on two different lines. Beyond the grace only the newest token is accepted.
//! - **Theft is found out.** When two hold one token and one of them used it, the first presentation of it beyond the
//!   grace, or after its successor was used too, ends the session, for both.
//! - **A lost reply costs nothing.** Within the grace a token that was used gets the same successor again; a token
//!   that was never used is always accepted while its session lives; and neither is refused for anything that the
//!   client cannot help, nor is an access token of a live session.
//! - **An end is an end.** After a logout was acknowledged, or a theft was found out, no refresh token of the session
//!   works anywhere; no access token of it works on the acting instance at once, nor on the other after its next look
//!   at the store, nor ever where the store has to be asked; and no restart brings it back. Nor does anything work
//!   beyond the session's expiry. (A store that is taken back to before the end does not know of it. An instance that
//!   does refuses the tokens nevertheless.)
//! - **Nothing is applied twice.** A presentation moves the generation by one if its token was the newest, and else
//!   not at all, however often it is repeated, on whichever instance.
//! - **A token from ahead ends nothing.** What was given out after the backup that the store was restored from is
//!   refused, and changes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::id::SessionId;
use portcullis_domain::ports::Clock;
use portcullis_domain::session::{
    Generation, LogoutToken, RefreshError, RotateOutcome, RotateRequest, Session, SessionGrant, SessionStore,
};
use portcullis_domain::token::{Authentication, RefreshClaims, RefreshToken, RefreshTokenCodec};
use portcullis_domain::{AuthConfig, Ports, Unavailable};
use portcullis_testkit::fixtures::{self, NOW};
use portcullis_testkit::{Backup, FixedClock, MemoryStore, PlainRefreshTokens};

use super::{Services, client, random};

#[test]
fn the_rules_hold_in_every_state_by_one_clock() {
    let explored = explore([0, 0], 7);
    println!("{explored:?}");
    assert!(explored.states > 6_000);
}

#[test]
fn the_rules_hold_in_every_state_by_clocks_that_differ() {
    let explored = explore([0, 4], 6);
    println!("{explored:?}");
    assert!(explored.states > 8_000);
}

/// How much was explored.
#[derive(Debug)]
#[expect(dead_code, reason = "for the reader of the tests' output")]
struct Explored {
    states: usize,
    transitions: usize,
    time: Duration,
}

/// Tries every action in every state that fewer than `depth` actions lead to: as many as take seconds. For a copy that
/// is used and found out, all in all, it takes five.
fn explore(seconds_ahead: [u64; 2], depth: usize) -> Explored {
    let started = Instant::now();
    let actions = Action::all();
    let start = Start::new(seconds_ahead.map(Duration::from_secs));
    let mut seen = HashSet::from([Machine::after(&start, &[]).key()]);
    let mut transitions = 0;
    let mut ways = vec![vec![]];
    for _ in 0..depth {
        let mut longer = vec![];
        for way in &ways {
            let mut here = Machine::after(&start, way);
            let store = here.store.backup();
            let possible: Vec<_> = actions.iter().filter(|action| here.can(**action)).collect();
            for action in possible {
                let mut there = here.clone();
                there.act(*action);
                transitions += 1;
                if seen.insert(there.key()) {
                    there.check();
                    longer.push(there.way);
                }
                match there.left_a_trace {
                    true => here = Machine::after(&start, way),
                    false => here.store.restore(&store),
                }
            }
        }
        ways = longer;
    }
    Explored { states: seen.len(), transitions, time: started.elapsed() }
}

/// Half of it is within the grace of 30 s, all of it beyond, also by clocks that differ by 4 s.
const WAIT: Duration = Duration::from_secs(20);

/// Longer than any session is idle.
const EXPIRY: Duration = Duration::from_hours(24 * 31);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Refresh { holder: usize, token: Token, instance: usize, reply: Reply },
    Copy,
    LogOut { instance: usize },
    Sync { instance: usize },
    Restart { instance: usize },
    Wait,
    Expire,
    BackUp,
    Restore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Newest,
    OneBefore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Delivered,
    Lost,
}

impl Action {
    fn all() -> Vec<Self> {
        let mut all = vec![Self::Copy, Self::Wait, Self::Expire, Self::BackUp, Self::Restore];
        for instance in [0, 1] {
            all.extend([Self::LogOut { instance }, Self::Sync { instance }, Self::Restart { instance }]);
            for holder in [CLIENT, THIEF] {
                for token in [Token::Newest, Token::OneBefore] {
                    for reply in [Reply::Delivered, Reply::Lost] {
                        all.push(Self::Refresh { holder, token, instance, reply });
                    }
                }
            }
        }
        all
    }
}

/// Where all ways start: a store with a session just opened, and its first access token.
struct Start {
    clocks_ahead: [Duration; 2],
    store: Backup,
    session: SessionId,
    access: String,
}

impl Start {
    fn new(clocks_ahead: [Duration; 2]) -> Self {
        let world = super::World::new();
        world.store.set_time(NOW);
        world.register("alice");
        let tokens = world.login("alice");
        let access = tokens.access.expose().to_owned();
        Self { clocks_ahead, store: world.store.backup(), session: tokens.session, access }
    }
}

/// The services, and what must be true of them by what they answered. A clone is over the same store and services.
#[derive(Clone)]
struct Machine {
    store: Arc<MemoryStore>,
    clocks: [Arc<FixedClock>; 2],
    ports: [Ports; 2],
    instances: [Instance; 2],
    codec: Arc<PlainRefreshTokens>,
    id: SessionId,
    /// Every access token that was ever given out, replies that were lost included.
    access: Vec<String>,
    holders: [Held; 2],
    elapsed: Duration,
    told: Told,
    has_expired: bool,
    backup: Option<(Backup, Told)>,
    was_restored: bool,
    way: Vec<Action>,
    /// Whether something happened that taking back the store does not undo: to a clock, or to what a service knows.
    left_a_trace: bool,
}

#[derive(Clone)]
struct Instance {
    service: Services,
    /// When it last synced with the store.
    synced: Option<Duration>,
    /// Whether it was told that the session ended: by its own action, or by a sync.
    knows_the_end: bool,
}

/// The generations of the refresh tokens that somebody holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    newest: Option<u32>,
    one_before: Option<u32>,
}

/// What the answers told of the session.
#[derive(Clone, Debug, Default)]
struct Told {
    /// When each generation but the newest was used for the first time, and at which instance.
    used: Vec<(Duration, usize)>,
    has_ended: bool,
}

const CLIENT: usize = 0;
const THIEF: usize = 1;

impl Machine {
    /// Alice has just logged in; both instances have synced with the store.
    fn new(start: &Start) -> Self {
        let store = Arc::new(MemoryStore::new());
        store.restore(&start.store);
        let clocks = start.clocks_ahead.map(|ahead| Arc::new(FixedClock::at(NOW + ahead)));
        let random = random();
        let ports = [0, 1].map(|n| Ports {
            clock: clocks[n].clone(),
            random: random.clone(),
            ..portcullis_testkit::ports_over(&store)
        });
        let mut machine = Self {
            store,
            instances: [0, 1].map(|n| Instance::new(&ports[n])),
            clocks,
            ports,
            codec: Arc::new(PlainRefreshTokens::new("fake")),
            id: start.session,
            access: vec![start.access.clone()],
            holders: [Held { newest: Some(0), one_before: None }, Held::default()],
            elapsed: Duration::ZERO,
            told: Told::default(),
            has_expired: false,
            backup: None,
            was_restored: false,
            way: vec![],
            left_a_trace: false,
        };
        for instance in [0, 1] {
            machine.sync(instance);
        }
        machine
    }

    fn after(start: &Start, way: &[Action]) -> Self {
        let mut machine = Self::new(start);
        for action in way {
            machine.act(*action);
        }
        machine.left_a_trace = false;
        machine
    }

    /// Whether an action is possible, and may change something.
    fn can(&self, action: Action) -> bool {
        let knows_the_end = |instance: usize| self.instances[instance].knows_the_end;
        match action {
            Action::Refresh { holder, token, .. } => self.holders[holder].generation(token).is_some(),
            Action::Copy => self.holders[THIEF].newest != self.holders[CLIENT].newest,
            Action::Expire => !self.has_expired,
            Action::BackUp => self.backup.is_none(),
            Action::Restore => self.backup.is_some(),
            Action::LogOut { instance } => !(self.told.has_ended && knows_the_end(instance)),
            Action::Sync { instance } => {
                let just_synced = self.instances[instance].synced == Some(self.elapsed);
                !just_synced || (self.told.has_ended && !knows_the_end(instance))
            }
            Action::Restart { .. } | Action::Wait => true,
        }
    }

    /// Acts, and compares what is answered with what must be.
    fn act(&mut self, action: Action) {
        self.way.push(action);
        match action {
            Action::Refresh { holder, token, instance, reply } => {
                self.refresh(holder, token, instance, reply);
            }
            Action::Copy => self.holders[THIEF].take(self.holders[CLIENT].newest),
            Action::LogOut { instance } => self.log_out(instance),
            Action::Sync { instance } => self.sync(instance),
            Action::Restart { instance } => self.instances[instance] = Instance::new(&self.ports[instance]),
            Action::Wait => self.wait(WAIT),
            Action::Expire => {
                self.wait(EXPIRY);
                self.has_expired = true;
            }
            Action::BackUp => self.backup = Some((self.store.backup(), self.told.clone())),
            Action::Restore => {
                let (backup, told) = self.backup.as_ref().unwrap();
                self.store.restore(backup);
                self.told = told.clone();
                self.was_restored = true;
                self.store.set_time(NOW + self.elapsed);
            }
        }
    }

    fn refresh(&mut self, holder: usize, token: Token, instance: usize, reply: Reply) {
        let presented = self.holders[holder].generation(token).unwrap();
        let (before, events) = (self.row(), self.store.events().len());
        let result = self.instances[instance].service.auth.refresh(&self.issued(presented), &client());
        let after = self.row();
        let recorded = self.store.events().len() - events;
        let (newest, used) = (self.told.newest(), self.told.used.get(presented as usize).copied());
        let is_within_grace = |(at, _)| self.elapsed - at <= WAIT && presented + 1 == newest;
        match result {
            Ok(tokens) => {
                let successor = self.codec.verify(&tokens.refresh).unwrap().generation.get();
                self.ensure(self.is_live(), "what is over does not go on");
                self.ensure(presented == newest || used.is_some_and(is_within_grace), "a copy is found out");
                self.ensure(successor == presented + 1, "there is one branch");
                let moved = after.unwrap().newest.generation.get() - before.unwrap().newest.generation.get();
                self.ensure(moved == u32::from(used.is_none()), "nothing is applied twice");
                self.ensure(recorded == 0, "nothing happened that is worth recording");
                if used.is_none() {
                    self.told.used.push((self.elapsed, instance));
                }
                self.access.push(tokens.access.expose().to_owned());
                if reply == Reply::Delivered {
                    self.holders[holder].take(Some(successor));
                }
            }
            Err(RefreshError::Reused) => {
                self.ensure(self.is_live(), "a session ends once");
                let is_copy = used.is_some_and(|used| !is_within_grace(used));
                self.ensure(is_copy, "a lost reply costs nothing");
                self.ensure(after.is_none() && recorded == 1, "the session ends, and that is recorded");
                self.end(instance);
            }
            Err(RefreshError::Ahead) => {
                self.ensure(
                    self.was_restored && presented > newest,
                    "a token can be ahead of a backup alone",
                );
                self.ensure(
                    self.is_live() && after == before && recorded == 0,
                    "a token from ahead ends nothing",
                );
            }
            Err(RefreshError::Invalid) => {
                let is_over = !self.is_live() && after.is_none();
                let remembers_the_end =
                    self.was_restored && self.instances[instance].knows_the_end && after == before;
                self.ensure((is_over || remembers_the_end) && recorded == 0, "what lives goes on");
            }
            Err(RefreshError::Unavailable(Unavailable::Clock(_))) => {
                self.ensure(
                    self.instances[instance].synced.is_none(),
                    "only an instance that never synced does not know the time",
                );
                self.ensure(after == before && recorded == 0, "nothing happened");
            }
            Err(error) => self.ensure(false, &error.to_string()),
        }
    }

    fn log_out(&mut self, instance: usize) {
        let token = LogoutToken::Refresh(self.issued(self.holders[CLIENT].newest.unwrap()));
        let result = self.instances[instance].service.auth.logout(&token, LogoutScope::Current, &client());
        self.ensure(result.is_ok(), "whoever holds a token can log out");
        self.end(instance);
    }

    fn sync(&mut self, instance: usize) {
        self.left_a_trace = true;
        let instance = &mut self.instances[instance];
        instance.service.maintenance.sync().unwrap();
        instance.synced = Some(self.elapsed);
        instance.knows_the_end |= self.told.has_ended;
    }

    fn end(&mut self, instance: usize) {
        self.left_a_trace = true;
        self.told.has_ended = true;
        self.instances[instance].knows_the_end = true;
    }

    fn wait(&mut self, time: Duration) {
        self.left_a_trace = true;
        self.elapsed += time;
        for clock in &self.clocks {
            clock.advance(time);
        }
        self.store.set_time(NOW + self.elapsed);
    }

    /// Checks what must be true in every state.
    fn check(&self) {
        self.ensure(self.store.session_rows() == 1, "a session is one row for ever");
        for instance in &self.instances {
            for access in &self.access {
                self.check_access(instance, access);
            }
        }
        for clock in &self.clocks {
            self.check_branches(clock);
        }
    }

    fn check_access(&self, instance: &Instance, access: &str) {
        let just_synced = instance.synced == Some(self.elapsed);
        match instance.service.auth.authenticate(access) {
            Authentication::Live(_) => {
                let cannot_know = just_synced && !instance.knows_the_end;
                self.ensure(self.is_live() || (cannot_know && !self.has_expired), "an end is an end");
            }
            Authentication::NeedsLookup(claims) => {
                self.ensure(
                    !just_synced && instance.synced.is_some(),
                    "an instance that just synced need not ask",
                );
                let confirmed = instance.service.auth.confirm_session(claims);
                self.ensure(confirmed.is_ok() == self.is_live(), "the store knows");
            }
            Authentication::Refused => {
                self.ensure(!self.is_live() || self.was_restored, "a live session's token is good");
            }
            Authentication::NotReady => {
                self.ensure(instance.synced.is_none(), "an instance that synced is ready");
            }
        }
    }

    /// Presents every generation there is, each to the store as it is now.
    fn check_branches(&self, clock: &FixedClock) {
        let held = self.holders.iter().filter_map(|held| held.newest);
        let ahead = held.max().unwrap_or(0).max(self.told.newest()) + 1;
        let as_it_is = self.store.backup();
        let (mut rotated, mut accepted) = (0, 0);
        for generation in (0..=ahead).map(Generation::new) {
            let now = clock.now();
            let lifetimes = AuthConfig::default().lifetimes;
            let presentation = RotateRequest {
                session: self.id,
                generation,
                now,
                grace: lifetimes.refresh_grace,
                idle: lifetimes.refresh_idle,
            };
            let before = self.row();
            let on_reuse = fixtures::event(EventKind::RefreshTokenReused, now, &*random());
            if let RotateOutcome::Rotated(SessionGrant { generation: successor, .. }) =
                self.store.rotate(&presentation, &on_reuse).unwrap()
            {
                accepted += 1;
                rotated += u32::from(self.row() != before);
                self.ensure(successor == generation.next(), "there is one branch");
            }
            self.store.restore(&as_it_is);
        }
        let is_beyond_grace = self.told.used.last().is_none_or(|(at, _)| self.elapsed - *at > WAIT);
        self.ensure(rotated == u32::from(self.is_live()), "one token can be used while the session lives");
        self.ensure(
            accepted <= 2 && (accepted == rotated || !is_beyond_grace),
            "old tokens are not accepted",
        );
    }

    fn is_live(&self) -> bool {
        !self.told.has_ended && !self.has_expired
    }

    /// The session as the store has it, if it is live.
    fn row(&self) -> Option<Session> {
        self.store.find_session(self.id, self.clocks[0].now()).unwrap()
    }

    fn issued(&self, generation: u32) -> RefreshToken {
        let generation = Generation::new(generation);
        self.codec.issue(RefreshClaims { session: self.id, generation })
    }

    fn ensure(&self, holds: bool, rule: &str) {
        assert!(holds, "{rule}: {:#?}", self.way);
    }

    /// All that makes a difference to what comes. Generations count from the oldest that the store may have as its
    /// newest again; what cannot be accepted any more, now or after the backup is restored, is one and the same.
    fn key(&self) -> Key {
        let mut instances = [0, 1].map(|n| {
            let instance = &self.instances[n];
            let verdict = match instance.service.auth.authenticate(self.access.last().unwrap()) {
                Authentication::Live(_) => "live",
                Authentication::NeedsLookup(_) => "ask the store",
                Authentication::Refused => "refused",
                Authentication::NotReady => "not ready",
            };
            (verdict, instance.synced.is_some(), instance.knows_the_end)
        });
        // Where the clocks agree, it is the same with the instances exchanged.
        let clocks_agree = self.clocks[0].now() == self.clocks[1].now();
        if clocks_agree {
            instances.sort_unstable();
        }
        let (session, backup) = (&self.told, self.backup.as_ref().map(|(_, told)| told));
        let can_live =
            [Some(session), backup].into_iter().flatten().filter(|told| !told.has_ended && !self.has_expired);
        let base = can_live.map(Told::newest).min();
        let relative = |n: u32| base.map_or(0, |base| (i64::from(n) - i64::from(base)).max(-2));
        let holders = self.holders.map(|held| [held.newest, held.one_before].map(|g| g.map(relative)));
        // By whose clock it was used tells nothing where they agree or when the grace is over.
        let told = |told: &Told| {
            let last_use = told.used.last().map(|(at, instance)| match self.elapsed - *at {
                age if age > WAIT => (WAIT * 2, 0),
                age => (age, if clocks_agree { 0 } else { *instance }),
            });
            match told.has_ended || self.has_expired {
                true => None,
                false => Some(Newest { generation: relative(told.newest()), last_use }),
            }
        };
        Key {
            instances,
            session: told(session),
            backup: backup.and_then(told),
            has_backup: self.backup.is_some(),
            holders,
            was_restored: self.was_restored,
            has_expired: self.has_expired,
        }
    }
}

/// Where a live session stands.
#[derive(PartialEq, Eq, Hash)]
struct Newest {
    generation: i64,
    /// How long ago the token before it was used, and at which instance.
    last_use: Option<(Duration, usize)>,
}

/// A [`Machine`] as far as it matters.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    instances: [(&'static str, bool, bool); 2],
    session: Option<Newest>,
    /// `None` where nothing of the session comes back with a backup.
    backup: Option<Newest>,
    has_backup: bool,
    holders: [[Option<i64>; 2]; 2],
    was_restored: bool,
    has_expired: bool,
}

impl Instance {
    /// An instance that has just started.
    fn new(ports: &Ports) -> Self {
        let service = Services::new(ports.clone(), AuthConfig::default());
        Self { service, synced: None, knows_the_end: false }
    }
}

impl Held {
    fn generation(self, token: Token) -> Option<u32> {
        match token {
            Token::Newest => self.newest,
            Token::OneBefore => self.one_before,
        }
    }

    fn take(&mut self, generation: Option<u32>) {
        if self.newest != generation {
            *self = Self { newest: generation, one_before: self.newest };
        }
    }
}

impl Told {
    fn newest(&self) -> u32 {
        u32::try_from(self.used.len()).unwrap()
    }
}
