//! The rules, as functions of a history and of what the database has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Action, Observed, Operation, Outcome};

/// How long another instance may accept a token of a session whose end was acknowledged.
const OTHER_INSTANCES: Duration = Duration::from_secs(1);

/// Returns every violation of the rules, each as a line that begins with the rule.
pub(crate) fn check(history: &[Operation], observed: &Observed) -> Vec<String> {
    let mut violations = acknowledged_is_present(history, observed);
    violations.extend(one_live_generation(history));
    violations.extend(applied_at_most_once(history, observed));
    violations.extend(ended_is_refused(history));
    violations.extend(consumed_once(history));
    violations.extend(audited(history, observed));
    violations
}

/// I1.
pub(super) fn acknowledged_is_present(history: &[Operation], observed: &Observed) -> Vec<String> {
    let mut violations = Vec::new();
    for (subject, effects) in effects(history) {
        let user = observed.users.get(subject);
        if effects.least(Effect::Register) > 0 && effects.most(Effect::Delete) == 0 && user.is_none() {
            violations.push(format!("I1: user {subject} was registered and is lost"));
        }
        if effects.least(Effect::Delete) > 0 && user.is_some() {
            violations.push(format!("I1: user {subject} was deleted and is there"));
        }
        let changes = effects.least(Effect::ChangePassword);
        if user.is_some_and(|user| user.password_changes < changes) {
            violations.push(format!(
                "I1: {changes} password changes of {subject}, of which some are lost: {user:?}"
            ));
        }
        for session in effects.sessions.iter().filter(|session| !observed.sessions.contains_key(**session)) {
            violations.push(format!("I1: session {session} of {subject} was opened and is lost"));
        }
        if let Some(session) = observed.sessions.get(subject) {
            let refreshes = effects.least(Effect::Refresh);
            if session.generation < refreshes {
                violations.push(format!(
                    "I1: {refreshes} refreshes of {subject}, of which some are lost: {session:?}"
                ));
            }
            if effects.least(Effect::End) > 0 && !session.is_ended {
                violations.push(format!("I1: session {subject} was ended and lives"));
            }
        }
    }
    violations
}

/// I2.
pub(super) fn one_live_generation(history: &[Operation]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut successors: BTreeMap<(&str, u32), BTreeSet<&str>> = BTreeMap::new();
    let mut used: BTreeMap<(&str, u32), Duration> = BTreeMap::new();
    let refreshes = || {
        history.iter().filter(|operation| operation.outcome == Outcome::Ok).filter_map(|operation| {
            match &operation.action {
                Action::Refresh { generation, successor } => Some((operation, *generation, successor)),
                _ => None,
            }
        })
    };
    for (operation, generation, successor) in refreshes() {
        let of = (operation.subject.as_str(), generation);
        successors.entry(of).or_default().extend(successor.as_deref());
        let first = used.entry(of).or_insert(operation.ended);
        *first = operation.ended.min(*first);
    }
    for ((session, generation), successors) in &successors {
        if successors.len() > 1 {
            let count = successors.len();
            violations.push(format!("I2: generation {generation} of {session} has {count} successors"));
        }
    }
    // The use of its successor ends the time in which a token may be presented again.
    for (operation, generation, _) in refreshes() {
        let next = used.get(&(operation.subject.as_str(), generation + 1));
        if next.is_some_and(|next| *next < operation.started) {
            let session = &operation.subject;
            violations
                .push(format!("I2: generation {generation} of {session} was accepted after the next one"));
        }
    }
    violations
}

/// I3.
pub(super) fn applied_at_most_once(history: &[Operation], observed: &Observed) -> Vec<String> {
    let mut violations = Vec::new();
    for (subject, effects) in effects(history) {
        let register = effects.most(Effect::Register);
        if let Some(user) = observed.users.get(subject) {
            let changes = effects.most(Effect::ChangePassword);
            if effects.was_tried(Effect::Register) && register == 0 {
                violations.push(format!("I3: user {subject} was refused and is there"));
            }
            if user.password_changes > changes {
                violations.push(format!("I3: at most {changes} password changes of {subject}: {user:?}"));
            }
            let opened = effects.most(Effect::Login) + changes;
            let is_recorded = effects.was_tried(Effect::Login) || effects.was_tried(Effect::ChangePassword);
            if is_recorded && user.sessions > opened {
                violations.push(format!("I3: at most {opened} sessions of {subject} were opened: {user:?}"));
            }
        }
        if let Some(session) = observed.sessions.get(subject) {
            let refreshes = effects.most(Effect::Refresh);
            if session.generation > refreshes {
                violations.push(format!("I3: at most {refreshes} refreshes of {subject}: {session:?}"));
            }
            if session.is_ended && effects.most(Effect::End) == 0 {
                violations.push(format!("I3: session {subject} has ended by itself"));
            }
        }
        for (effect, kind) in EVENTS {
            let (most, events) = (effects.most(effect), observed.events_of(kind, subject));
            if events > most && effects.was_tried(effect) {
                violations
                    .push(format!("I3: {events} events {kind} of {subject} for at most {most} operations"));
            }
        }
    }
    violations
}

/// I4.
pub(super) fn ended_is_refused(history: &[Operation]) -> Vec<String> {
    let mut ends: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    let is_end = |operation: &&Operation| {
        operation.outcome == Outcome::Ok && Effect::of(&operation.action) == Some(Effect::End)
    };
    for end in history.iter().filter(is_end) {
        ends.entry(&end.subject).or_default().push(end);
    }
    let is_use = |operation: &&Operation| {
        let uses = matches!(operation.action, Action::Authenticate | Action::Refresh { .. });
        uses && operation.outcome == Outcome::Ok
    };
    let mut violations = Vec::new();
    for used in history.iter().filter(is_use) {
        let ends = ends.get(used.subject.as_str()).into_iter().flatten();
        let mut late = ends.filter(|end| {
            let allowed = if end.instance == used.instance { Duration::ZERO } else { OTHER_INSTANCES };
            end.ended + allowed < used.started
        });
        if let Some(end) = late.next() {
            let after = used.started.saturating_sub(end.ended);
            violations.push(format!("I4: a token of {} was accepted {after:?} after the end", used.subject));
        }
    }
    violations
}

/// I5.
pub(super) fn consumed_once(history: &[Operation]) -> Vec<String> {
    let mut consumed: BTreeMap<&str, u32> = BTreeMap::new();
    for operation in history {
        if operation.action == Action::Consume && operation.outcome == Outcome::Ok {
            *consumed.entry(&operation.subject).or_default() += 1;
        }
    }
    let twice = consumed.into_iter().filter(|(_, times)| *times > 1);
    twice.map(|(secret, times)| format!("I5: {secret} was consumed {times} times")).collect()
}

/// I6.
pub(super) fn audited(history: &[Operation], observed: &Observed) -> Vec<String> {
    let mut violations = Vec::new();
    for (subject, effects) in effects(history) {
        for (effect, kind) in EVENTS {
            let (least, events) = (effects.least(effect), observed.events_of(kind, subject));
            if events < least {
                violations.push(format!("I6: {events} events {kind} of {subject} for {least} operations"));
            }
        }
        violations.extend(half_applied(subject, &effects, observed));
    }
    if let Err(reason) = &observed.chain {
        violations.push(format!("I6: the audit chain does not verify: {reason}"));
    }
    violations
}

/// A change of unknown outcome whose row and event disagree.
fn half_applied(subject: &str, effects: &Effects<'_>, observed: &Observed) -> Option<String> {
    let events = |kind| observed.events_of(kind, subject);
    let (registered, changed) = (events("user_registered"), events("password_changed"));
    let is_unknown = effects.was_tried(Effect::Register) && effects.least(Effect::Register) == 0;
    let is_half = match observed.users.get(subject) {
        Some(user) => {
            let is_known = changed < effects.least(Effect::ChangePassword);
            is_unknown && registered == 0 || !is_known && changed != user.password_changes
        }
        None => is_unknown && registered > 0 && effects.most(Effect::Delete) == 0,
    };
    is_half.then(|| format!("I6: row and events of {subject} disagree: {registered} and {changed} events"))
}

/// The event that each effect leaves. A refresh leaves none.
const EVENTS: [(Effect, &str); 5] = [
    (Effect::Register, "user_registered"),
    (Effect::Login, "login_succeeded"),
    (Effect::ChangePassword, "password_changed"),
    (Effect::Delete, "account_deleted"),
    (Effect::Logout, "logged_out"),
];

/// What an operation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Register,
    Login,
    ChangePassword,
    Delete,
    Refresh,
    Logout,
    /// Of a session, in any way.
    End,
}

impl Effect {
    /// The effect that counts for the subject's state.
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Register => Some(Self::Register),
            Action::Login(_) => Some(Self::Login),
            Action::ChangePassword(_) => Some(Self::ChangePassword),
            Action::Delete => Some(Self::Delete),
            Action::Refresh { .. } => Some(Self::Refresh),
            Action::Logout | Action::EndWithUser => Some(Self::End),
            Action::Authenticate | Action::Consume => None,
        }
    }
}

/// How often something may have happened to a subject. Operations that may be repeated without effect, such as a second
/// logout or the same refresh token again, count once: each is told apart by a number.
#[derive(Debug, Default)]
struct Effects<'a> {
    acknowledged: BTreeSet<(Effect, usize)>,
    possible: BTreeSet<(Effect, usize)>,
    tried: BTreeSet<Effect>,
    sessions: Vec<&'a str>,
}

impl Effects<'_> {
    /// How often it has happened at least.
    fn least(&self, effect: Effect) -> u32 {
        count(&self.acknowledged, effect)
    }

    /// How often it has happened at most.
    fn most(&self, effect: Effect) -> u32 {
        count(&self.possible, effect)
    }

    fn was_tried(&self, effect: Effect) -> bool {
        self.tried.contains(&effect)
    }
}

fn count(effects: &BTreeSet<(Effect, usize)>, effect: Effect) -> u32 {
    u32::try_from(effects.iter().filter(|(of, _)| *of == effect).count()).unwrap_or(u32::MAX)
}

fn effects(history: &[Operation]) -> BTreeMap<&str, Effects<'_>> {
    let mut all: BTreeMap<&str, Effects<'_>> = BTreeMap::new();
    for (index, operation) in history.iter().enumerate() {
        let Some(effect) = Effect::of(&operation.action) else { continue };
        let of_subject = all.entry(&operation.subject).or_default();
        let number = match &operation.action {
            Action::Login(_) => index,
            Action::ChangePassword(number) => *number as usize,
            Action::Refresh { generation, .. } => *generation as usize,
            _ => 0,
        };
        let logout = (operation.action == Action::Logout).then_some(Effect::Logout);
        for effect in [Some(effect), logout].into_iter().flatten() {
            of_subject.tried.insert(effect);
            if operation.outcome != Outcome::Fail {
                of_subject.possible.insert((effect, number));
            }
            if operation.outcome == Outcome::Ok {
                of_subject.acknowledged.insert((effect, number));
            }
        }
        if let Action::Login(Some(session)) = &operation.action {
            of_subject.sessions.push(session);
        }
    }
    all
}
