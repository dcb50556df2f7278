use std::num::NonZeroU32;

use super::World;

fn most(most: u32) -> NonZeroU32 {
    NonZeroU32::new(most).unwrap()
}

#[test]
fn own_activity_is_told_page_by_page() {
    let world = World::new();
    world.register("alice");
    world.register("bob");
    world.wait(1);
    let tokens = world.login("alice");
    let (_bobs, bearer) = (world.login("bob"), world.live(&tokens));
    let kinds = |activity: &portcullis_domain::audit::Activity| {
        activity.events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>()
    };

    let all = world.service.account.activity(&bearer, None, most(2)).unwrap();
    assert_eq!(
        (kinds(&all), all.next),
        (vec!["login_succeeded".to_owned(), "user_registered".to_owned()], None)
    );
    assert_eq!(all.events[0].session, Some(tokens.session));
    let first = world.service.account.activity(&bearer, None, most(1)).unwrap();
    assert_eq!((&first.events[..], first.next), (&all.events[..1], Some(all.events[0].id)));
    let second = world.service.account.activity(&bearer, first.next, most(1)).unwrap();
    assert_eq!((&second.events[..], second.next), (&all.events[1..], None));
    let none = world.service.account.activity(&bearer, Some(all.events[1].id), most(u32::MAX)).unwrap();
    assert_eq!((none.events, none.next), (vec![], None));
}
