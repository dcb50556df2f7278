//! Each rule finds its bad histories, and accepts the good ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::{
    acknowledged_is_present, applied_at_most_once, audited, consumed_once, ended_is_refused,
    one_live_generation,
};
use super::observed::{SessionRow, UserRow};
use super::{Action, Observed, Operation, Outcome, check};

use Outcome::{Fail, Ok as Acknowledged, Unknown};

const USER: &str = "alice";
const SESSION: &str = "one";

/// An operation of the second `at`, which takes half of it.
fn operation(at: u64, subject: &str, action: Action, outcome: Outcome) -> Operation {
    let started = Duration::from_secs(at);
    let ended = started + Duration::from_millis(500);
    Operation { subject: subject.to_owned(), action, instance: 0, started, ended, outcome }
}

fn refresh(at: u64, generation: u32, successor: &str, outcome: Outcome) -> Operation {
    let successor = Some(successor.to_owned()).filter(|_| outcome == Acknowledged);
    operation(at, SESSION, Action::Refresh { generation, successor }, outcome)
}

fn login() -> Action {
    Action::Login(Some(SESSION.to_owned()))
}

/// A history in which a user logged in, refreshed twice and changed the password.
fn good() -> (Vec<Operation>, Observed) {
    let history = vec![
        operation(1, USER, Action::Register, Acknowledged),
        operation(1, USER, Action::Consume, Acknowledged),
        operation(2, USER, login(), Acknowledged),
        refresh(3, 0, "first", Acknowledged),
        refresh(4, 0, "first", Acknowledged),
        refresh(5, 1, "second", Unknown),
        refresh(6, 1, "second", Acknowledged),
        operation(7, SESSION, Action::Authenticate, Acknowledged),
        operation(8, USER, Action::ChangePassword(1), Acknowledged),
        operation(8, SESSION, Action::EndWithUser, Acknowledged),
        operation(9, SESSION, Action::Authenticate, Fail),
    ];
    let observed = Observed {
        users: BTreeMap::from([(USER.to_owned(), UserRow { password_changes: 1, sessions: 2 })]),
        sessions: BTreeMap::from([(SESSION.to_owned(), SessionRow { generation: 2, is_ended: true })]),
        events: ["user_registered", "login_succeeded", "password_changed"]
            .into_iter()
            .map(|kind| ((kind.to_owned(), USER.to_owned()), 1))
            .collect(),
        chain: Ok(()),
    };
    (history, observed)
}

/// Changes the good history, and expects that only the rule `id` finds it.
#[track_caller]
fn is_found(
    id: &str,
    rule: impl Fn(&[Operation], &Observed) -> Vec<String>,
    change: impl Fn(&mut Vec<Operation>, &mut Observed),
) {
    let (mut history, mut observed) = good();
    assert_eq!(check(&history, &observed), [""; 0], "the good history obeys");
    change(&mut history, &mut observed);
    let found = rule(&history, &observed);
    assert!(found.len() == 1 && found[0].starts_with(id), "{found:?}");
    let all = check(&history, &observed);
    assert!(all.contains(&found[0]), "{all:?}");
}

#[test]
fn lost_acknowledged_change_violates_i1() {
    let rule = |id| {
        move |change: &dyn Fn(&mut Vec<Operation>, &mut Observed)| {
            is_found(id, acknowledged_is_present, change);
        }
    };
    let lost = rule("I1");
    lost(&|_, observed| observed.users.clear());
    lost(&|history, _| history.push(operation(10, USER, Action::Delete, Acknowledged)));
    lost(&|_, observed| observed.users.get_mut(USER).unwrap().password_changes = 0);
    lost(&|_, observed| observed.sessions.clear());
    lost(&|_, observed| observed.sessions.get_mut(SESSION).unwrap().generation = 1);
    lost(&|_, observed| observed.sessions.get_mut(SESSION).unwrap().is_ended = false);
}

#[test]
fn two_live_generations_violate_i2() {
    is_found(
        "I2",
        |history, _| one_live_generation(history),
        |history, _| {
            history.push(refresh(6, 1, "third", Acknowledged));
        },
    );
    is_found(
        "I2",
        |history, _| one_live_generation(history),
        |history, _| {
            // Before the end of the session, and after the use of the second generation.
            history.push(Operation {
                ended: Duration::from_millis(7_100),
                ..refresh(7, 0, "first", Acknowledged)
            });
        },
    );
}

#[test]
fn change_applied_twice_violates_i3() {
    let found = |change: &dyn Fn(&mut Vec<Operation>, &mut Observed)| {
        is_found("I3", applied_at_most_once, change);
    };
    found(&|_, observed| observed.users.get_mut(USER).unwrap().password_changes = 2);
    found(&|_, observed| observed.users.get_mut(USER).unwrap().sessions = 3);
    found(&|_, observed| observed.sessions.get_mut(SESSION).unwrap().generation = 3);
    found(&|history, _| history.retain(|operation| operation.action != Action::EndWithUser));
    found(&|_, observed| {
        observed.events.insert(("user_registered".to_owned(), USER.to_owned()), 2);
    });
    found(&|history, observed| {
        history.push(operation(10, "bob", Action::Register, Fail));
        observed.users.insert("bob".to_owned(), UserRow { password_changes: 0, sessions: 0 });
    });
}

#[test]
fn unknown_operation_may_be_applied_or_not() {
    for is_applied in [false, true] {
        let (mut history, mut observed) = good();
        history.push(operation(10, "bob", Action::Register, Unknown));
        if is_applied {
            observed.users.insert("bob".to_owned(), UserRow { password_changes: 0, sessions: 0 });
            observed.events.insert(("user_registered".to_owned(), "bob".to_owned()), 1);
        }
        assert_eq!(check(&history, &observed), [""; 0], "{is_applied}");
    }
}

#[test]
fn token_accepted_after_the_end_violates_i4() {
    let rule = |history: &[Operation], _: &Observed| ended_is_refused(history);
    is_found("I4", rule, |history, _| {
        history.push(operation(9, SESSION, Action::Authenticate, Acknowledged));
    });
    is_found("I4", rule, |history, _| history.push(refresh(9, 2, "third", Acknowledged)));
    let elsewhere =
        |at| Operation { instance: 1, ..operation(at, SESSION, Action::Authenticate, Acknowledged) };
    is_found("I4", rule, |history, _| history.push(elsewhere(10)));
    // The end was acknowledged at 8.5 s.
    let (mut history, observed) = good();
    history.push(elsewhere(9));
    assert_eq!(check(&history, &observed), [""; 0]);
}

#[test]
fn secret_consumed_twice_violates_i5() {
    is_found(
        "I5",
        |history, _| consumed_once(history),
        |history, _| {
            history.push(operation(2, USER, Action::Consume, Acknowledged));
        },
    );
}

#[test]
fn missing_event_or_broken_chain_violates_i6() {
    is_found("I6", audited, |_, observed| {
        observed.events.remove(&("password_changed".to_owned(), USER.to_owned()));
    });
    is_found("I6", audited, |_, observed| observed.chain = Err("row 7".to_owned()));
    // Nor is a change half applied.
    is_found("I6", audited, |history, observed| {
        history.push(operation(10, "bob", Action::Register, Unknown));
        observed.users.insert("bob".to_owned(), UserRow { password_changes: 0, sessions: 0 });
    });
    is_found("I6", audited, |history, observed| {
        history.push(operation(10, "bob", Action::Register, Unknown));
        observed.events.insert(("user_registered".to_owned(), "bob".to_owned()), 1);
    });
    is_found("I6", audited, |history, observed| {
        history.push(operation(10, USER, Action::ChangePassword(2), Unknown));
        observed.users.get_mut(USER).unwrap().password_changes = 2;
    });
}
