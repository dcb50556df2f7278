//! Many clients at once: the database decides, and everybody gets an answer to act on.

use std::collections::HashSet;
use std::time::Duration;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{Server, race, wait_until};

on_both_databases! {
    fn one_of_many_gets_the_name(database: &Database) {
        // A queue too short for all, and hashes that fill it.
        let server = Server::start_with(database, &[("HASHING__QUEUE", "1"), ("HASHING__THREADS", "1"), ("HASHING__BCRYPT_COST", "8")]);
        let answers = race(32, |n| {
            let name = if n % 2 == 0 { "Racer" } else { "rACER" };
            let mut retried = false;
            loop {
                let answer = server.register(name);
                if answer.status != 503 {
                    return (answer.status, retried);
                }
                answer.is_problem(503, "overloaded");
                assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                retried = true;
                // A client would wait as long as it was told; the line is shorter long before.
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let count = |status: u16| answers.iter().filter(|(s, _)| *s == status).count();
        assert_eq!((count(201), count(409)), (1, 31), "{answers:?}");
        assert!(answers.iter().any(|(_, retried)| *retried), "the line was never full");
        assert_eq!(database.number("SELECT count(*) FROM users"), 1);
    }

    fn one_refresh_token_has_one_successor(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        let successors: HashSet<_> =
            race(24, |_| server.refresh(&tokens.refresh).tokens().refresh).into_iter().collect();
        assert_eq!(successors.len(), 1, "24 times 200 with the same successor");
        assert_eq!(database.number("SELECT generation FROM sessions"), 1, "moved by one");
        assert_eq!(database.number("SELECT count(*) FROM sessions"), 1);
    }

    // ASVS 10.4.5
    fn a_copy_two_generations_old_ends_the_session(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let first = server.login("alice");
        let second = server.refresh(&first.refresh).tokens();
        let third = server.refresh(&second.refresh).tokens();
        server.refresh(&first.refresh).is_problem(401, "refresh_token_reused");
        server.refresh(&third.refresh).is_problem(401, "invalid_refresh_token");
        server.get_as("/protected", &third.access).is_problem(401, "invalid_token");
        assert_eq!(
            database.number("SELECT count(*) FROM security_events WHERE kind = 'refresh_token_reused'"),
            1
        );
    }

    fn a_session_ended_here_is_over_on_the_other_instance(database: &Database) {
        let (here, there) = (Server::start(database), Server::start(database));
        here.register("alice");
        let tokens = here.login("alice");
        assert_eq!(there.get_as("/protected", &tokens.access).status, 200);
        assert_eq!(here.logout(&tokens.refresh).status, 204);
        here.get_as("/protected", &tokens.access).is_problem(401, "invalid_token");
        wait_until("the other instance refuses", || there.get_as("/protected", &tokens.access).status == 401);
    }
}
