use portcullis_domain::audit::EventKind;
use portcullis_domain::id::SessionId;
use portcullis_domain::session::{CurrentGeneration, EndSessionError, Generation};

use super::{World, client, random};

#[test]
fn own_sessions_are_listed_the_latest_opened_first() {
    let world = World::new();
    let user = world.register("alice");
    world.register("bob");
    let first = world.login("alice");
    world.wait(1);
    let (second, _bobs) = (world.login("alice"), world.login("bob"));
    world.wait(1);
    let first = world.service.auth.refresh(&first.refresh, &client()).unwrap();

    let listed = world.service.sessions.list(&world.live(&first)).unwrap();
    assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), [second.session, first.session]);
    let of_first = &listed[1];
    assert_eq!((of_first.user, &of_first.client), (user.id, &client()));
    assert_eq!(of_first.newest, CurrentGeneration { generation: Generation::new(1), at: world.now() });
    assert_eq!(of_first.expires_at, world.now() + first.refresh_expires_in);
}

#[test]
fn an_own_session_ends_at_once_and_once() {
    let world = World::new();
    let user = world.register("alice");
    let (here, there) = (world.login("alice"), world.login("alice"));
    let bearer = world.live(&here);
    for _ in 0..2 {
        world.service.sessions.end(&bearer, there.session, &client()).unwrap();
        world.assert_over(&there);
    }
    let event = world.store.events().pop().unwrap();
    assert_eq!(
        (event.kind, event.user, event.session),
        (EventKind::SessionEnded, Some(user.id), Some(there.session))
    );
    assert_eq!(world.count(EventKind::SessionEnded), 1);
    assert_eq!(world.service.sessions.list(&bearer).unwrap().len(), 1);

    world.service.sessions.end(&bearer, here.session, &client()).unwrap();
    world.assert_over(&here);
}

#[test]
fn sessions_of_others_are_as_unknown_as_those_that_never_were() {
    let world = World::new();
    world.register("alice");
    world.register("bob");
    let (alices, bobs) = (world.login("alice"), world.login("bob"));
    let bearer = world.live(&bobs);
    let before = world.events();
    for session in [alices.session, SessionId::new(world.now(), &*random())] {
        let result = world.service.sessions.end(&bearer, session, &client());
        assert!(matches!(result, Err(EndSessionError::NotFound)), "{result:?}");
    }
    assert_eq!(world.events(), before);
    world.live(&alices);
}

#[test]
fn a_session_that_another_instance_ended_is_over_here_when_it_is_ended_again() {
    let world = World::new();
    world.register("alice");
    let (here, there) = (world.login("alice"), world.login("alice"));
    let bearer = world.live(&here);
    let other = world.other_instance();
    other.sessions.end(&bearer, there.session, &client()).unwrap();
    world.service.sessions.end(&bearer, there.session, &client()).unwrap();
    super::assert_refused(&world.service, &there);
}
