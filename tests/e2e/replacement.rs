//! Replacing the secret, and the signature algorithm, of running instances.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};

use crate::database::Database;
use crate::server::{SECRET, Server, Tokens, race, run, wait_until};

const NEW_SECRET: &str = "pcs_p3vN0WcZy7mYl1rTqkGm2sQ8bXh4JfUe5aLxRtOdKjM";

/// How many clients refresh and show their tokens all the time.
const CLIENTS: usize = 4;

/// Two instances behind something that sends each request to one that takes it, as a balancer does.
struct Balanced<'a> {
    database: &'a Database,
    instances: [RwLock<Option<Server>>; 2],
    next: AtomicUsize,
}

impl<'a> Balanced<'a> {
    fn start(database: &'a Database, settings: &[(&str, &str)]) -> Self {
        let start = || RwLock::new(Some(Server::start_with(database, settings)));
        Self { database, instances: [start(), start()], next: AtomicUsize::new(0) }
    }

    /// Calls one instance after the other.
    fn with_one<T>(&self, call: impl FnOnce(&Server) -> T) -> T {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            // One that is being replaced takes no requests.
            if let Ok(instance) = self.instances[n % 2].try_read()
                && let Some(server) = instance.as_ref()
            {
                return call(server);
            }
        }
    }

    /// Replaces one instance after the other, each when its requests are done.
    fn roll(&self, settings: &[(&str, &str)]) {
        for instance in &self.instances {
            let mut place = instance.write().unwrap();
            let (status, log) = place.take().unwrap().terminate();
            assert!(status.success(), "{log:#?}");
            *place = Some(Server::start_with(self.database, settings));
            drop(place);
            self.with_one(Server::wait_until_ready);
        }
    }

    fn stop(self) {
        for instance in self.instances {
            drop(instance.into_inner().unwrap());
        }
    }
}

/// Runs `steps` while clients refresh and show their tokens all the time, and returns their last tokens. A step waits,
/// by the function it gets, until the clients have made that many more requests.
fn while_clients_work(both: &Balanced<'_>, steps: impl FnOnce(&dyn Fn(usize)) + Send) -> Vec<Tokens> {
    let is_done = AtomicBool::new(false);
    let requests = AtomicUsize::new(0);
    let last: Mutex<Vec<Tokens>> = Mutex::default();
    let steps = Mutex::new(Some(steps));
    race(CLIENTS + 1, |n| {
        if n == CLIENTS {
            let _done = SetWhenDropped(&is_done);
            let steps = steps.lock().unwrap().take().unwrap();
            steps(&|count| {
                let before = requests.load(Ordering::Relaxed);
                wait_until("the clients work", || requests.load(Ordering::Relaxed) > before + count);
            });
            return;
        }
        let mut tokens = both.with_one(|server| server.login("alice"));
        while !is_done.load(Ordering::Relaxed) {
            let shown = both.with_one(|server| server.get_as("/protected", &tokens.access));
            assert_eq!(shown.status, 200, "{shown:?}");
            tokens = both.with_one(|server| server.refresh(&tokens.refresh)).tokens();
            requests.fetch_add(2, Ordering::Relaxed);
        }
        last.lock().unwrap().push(tokens);
    });
    last.into_inner().unwrap()
}

/// Stops the clients, also when a step fails.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// ASVS 11.2.2
#[test]
fn two_rolling_steps_sign_nobody_out_and_fail_no_request() {
    let database = &Database::postgres();
    let old = [("SECRET", SECRET)];
    let both = Balanced::start(database, &old);
    both.with_one(|server| server.register("alice"));
    let idle = both.with_one(|server| server.login("alice"));
    let last = while_clients_work(&both, |work| {
        work(100);
        both.roll(&[("SECRET", SECRET), ("ACCEPTED_SECRETS", NEW_SECRET)]);
        let keys = both.with_one(|server| server.get("/.well-known/jwks.json").json());
        assert_eq!(keys["keys"].as_array().unwrap().len(), 12, "six of each secret: {keys}");
        work(100);
        both.roll(&[("SECRET", NEW_SECRET), ("ACCEPTED_SECRETS", SECRET)]);
        work(100);
    });
    let idle = both.with_one(|server| server.refresh(&idle.refresh)).tokens();
    both.roll(&[("SECRET", NEW_SECRET)]);
    for tokens in last.iter().chain([&idle]) {
        assert_eq!(both.with_one(|server| server.refresh(&tokens.refresh)).status, 200);
    }

    let url = database.url();
    let settings = [("DATABASE__URL", url.as_str()), ("SECRET", NEW_SECRET)];
    let ended = run(database.folder.path(), &settings, &["sessions", "end", "--all", "--yes"]);
    assert!(ended.status.success(), "{ended:?}");
    both.with_one(|server| server.refresh(&idle.refresh)).is_problem(401, "invalid_refresh_token");
    wait_until("no access token works", || {
        (0..2).all(|_| both.with_one(|server| server.get_as("/protected", &idle.access)).status == 401)
    });
    both.stop();
}

/// While it is under way, instances of either algorithm work side by side.
#[test]
fn rolling_change_of_the_algorithm_fails_no_request() {
    let database = &Database::postgres();
    let both = Balanced::start(database, &[("TOKENS__ALGORITHM", "EdDSA")]);
    both.with_one(|server| server.register("alice"));
    let idle = both.with_one(|server| server.login("alice"));
    let last = while_clients_work(&both, |work| {
        work(100);
        both.roll(&[("TOKENS__ALGORITHM", "ES256")]);
        work(100);
        both.roll(&[("TOKENS__ALGORITHM", "EdDSA")]);
        work(100);
    });
    for tokens in last.iter().chain([&idle]) {
        let shown = both.with_one(|server| server.get_as("/protected", &tokens.access));
        assert_eq!(shown.status, 200, "{shown:?}");
        assert_eq!(both.with_one(|server| server.refresh(&tokens.refresh)).status, 200);
    }
    both.stop();
}
