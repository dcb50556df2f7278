//! Clients that use two instances of any version all the time, and count what goes wrong.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Answer, Server, Tokens};

/// An instance and the version that it runs.
pub(crate) struct Instance {
    pub server: Server,
    pub version: &'static str,
}

/// Two instances behind something that sends each request to one that takes it, as a balancer does.
pub(crate) struct Balanced {
    places: [RwLock<Option<Instance>>; 2],
    next: AtomicUsize,
    record: Mutex<Record>,
}

/// What happened since it was last taken.
#[derive(Default)]
pub(crate) struct Record {
    pub times: Vec<Duration>,
    pub failures: Vec<String>,
    pub ends: Vec<End>,
}

/// An ended session that the other instance learned of.
pub(crate) struct End {
    pub ended_by: &'static str,
    pub known_by: &'static str,
    /// From the answer to the logout on.
    pub after: Duration,
}

impl Balanced {
    pub(crate) fn new(first: Instance, second: Instance) -> Self {
        let places = [RwLock::new(Some(first)), RwLock::new(Some(second))];
        Self { places, next: AtomicUsize::new(0), record: Mutex::default() }
    }

    /// Replaces the instance at a place when its requests are done, and returns the log of the one that stopped.
    pub(crate) fn replace(&self, place: usize, start: impl FnOnce() -> Instance) -> Vec<String> {
        let mut place = self.places[place].write().unwrap();
        let (status, log) = place.take().unwrap().server.terminate();
        assert!(status.success(), "{log:#?}");
        let instance = start();
        instance.server.wait_until_ready();
        *place = Some(instance);
        log
    }

    pub(crate) fn take_record(&self) -> Record {
        std::mem::take(&mut self.record.lock().unwrap())
    }

    /// Calls one instance after the other. One that is being replaced takes no requests.
    fn with_one<T>(&self, call: impl FnOnce(&Instance) -> T) -> T {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if let Ok(place) = self.places[n % 2].try_read()
                && let Some(instance) = place.as_ref()
            {
                return call(instance);
            }
        }
    }

    /// Makes a request, and records how long it took and whether its status is the expected one.
    fn request(&self, what: &str, expected: u16, call: impl FnOnce(&Server) -> Answer) -> Option<Answer> {
        let (answer, took, version) = self.with_one(|instance| {
            let asked = Instant::now();
            (call(&instance.server), asked.elapsed(), instance.version)
        });
        let mut record = self.record.lock().unwrap();
        record.times.push(took);
        if answer.status != expected {
            record.failures.push(format!("{what} at {version}: {} {}", answer.status, answer.text));
            return None;
        }
        Some(answer)
    }

    fn refreshed(&self, tokens: &Tokens) -> Option<Tokens> {
        Some(self.request("refresh", 200, |server| server.refresh(&tokens.refresh))?.tokens())
    }

    /// One user's life: registers, logs in, uses and refreshes the tokens on any instance, and logs out.
    fn live(&self, name: &str, password: &str) -> Option<()> {
        self.request("register", 201, |server| server.register(name))?;
        let login = self.request("login", 200, |server| server.try_login(name, password));
        let mut tokens = login?.tokens();
        for _ in 0..3 {
            self.request("me", 200, |server| server.get_as("/me", &tokens.access))?;
            self.request("protected", 200, |server| server.get_as("/protected", &tokens.access))?;
            tokens = self.refreshed(&tokens)?;
        }
        self.log_out(&tokens)
    }

    /// Logs out at one instance and waits until the other refuses the access token, if both are there.
    fn log_out(&self, tokens: &Tokens) -> Option<()> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % 2;
        let (here, there) = (self.places[at].try_read(), self.places[1 - at].try_read());
        let (Ok(here), Ok(there)) = (here, there) else {
            self.request("logout", 204, |server| server.logout(&tokens.refresh))?;
            return Some(());
        };
        let (Some(here), Some(there)) = (here.as_ref(), there.as_ref()) else { return Some(()) };
        let asked = Instant::now();
        let answer = here.server.logout(&tokens.refresh);
        let took = asked.elapsed();
        let answered = Instant::now();
        while there.server.get_as("/protected", &tokens.access).status == 200 && answered.elapsed() < GIVE_UP
        {
            thread::sleep(Duration::from_millis(5));
        }
        let after = answered.elapsed();
        let refused = there.server.refresh(&tokens.refresh).status;
        let mut record = self.record.lock().unwrap();
        record.times.push(took);
        let (ended_by, known_by) = (here.version, there.version);
        record.ends.push(End { ended_by, known_by, after });
        if answer.status != 204 {
            record.failures.push(format!("logout at {ended_by}: {} {}", answer.status, answer.text));
        }
        if refused != 401 {
            record
                .failures
                .push(format!("{known_by} answered a refresh after a logout at {ended_by}: {refused}"));
        }
        Some(())
    }
}

/// Runs `steps` while clients work on both instances.
pub(crate) fn while_clients_work(both: &Balanced, password: &str, steps: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (is_done, both) = (&is_done, &both);
            scope.spawn(move || {
                // One session lasts from the beginning to the end.
                let name = format!("client-{client}");
                both.request("register", 201, |server| server.register(&name));
                let login = both.request("login", 200, |server| server.try_login(&name, password));
                let mut lasting = login.map(|answer| answer.tokens());
                let mut round = 0;
                while !is_done.load(Ordering::Relaxed) {
                    both.live(&format!("user-{client}-{round}"), password);
                    lasting = lasting.and_then(|tokens| both.refreshed(&tokens));
                    round += 1;
                    thread::sleep(PAUSE);
                }
            });
        }
        let _done = SetWhenDropped(&is_done);
        steps();
    });
}

/// Stops the clients, also when a step fails.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const CLIENTS: usize = 4;

/// Between two rounds of a client.
const PAUSE: Duration = Duration::from_millis(20);

/// How long an end is waited for.
const GIVE_UP: Duration = Duration::from_secs(10);
