//! The priority of the threads that hash.

/// Lowers the priority of the current thread. If that fails, hashing works and slows other threads.
#[cfg(target_os = "linux")]
pub(super) fn lower_priority() {
    use rustix::process::{getpriority_process, setpriority_process};
    use rustix::thread::gettid;

    // Linux keeps the priority for each thread, which these calls take for a process.
    let thread = Some(gettid());
    let lowered = getpriority_process(thread).and_then(|own| setpriority_process(thread, own + NICER));
    if let Err(error) = lowered {
        log::warn!("passwords are hashed with the usual priority: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn lower_priority() {}

/// By how much the threads are nicer than the process; Linux stops at 19. Beside threads that never pause, 14 gets a
/// thread about 4 % of a core, 19 gets it 1.5 % and `SCHED_IDLE` 0.3 %: logins would stand still while everything else
/// is under full load. And it is nice enough: a thread that wakes up to answer takes the core from one that is 14
/// nicer as soon as from one that is 19 nicer, which it does not from one that is 5 or 10 nicer.
#[cfg(target_os = "linux")]
pub(super) const NICER: i32 = 14;
