//! Limits of the machine: few open files, few threads, file systems that lack something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::database::Database;
use crate::server::{Server, command, command_as, output_of};

/// The binary under limits that a shell sets first.
fn limited(limits: &str, bare: &Command) -> Command {
    let mut limited = Command::new("/bin/bash");
    limited
        .arg("-c")
        .arg(format!("{limits} && exec \"$0\" \"$@\""))
        .arg(bare.get_program())
        .args(bare.get_args());
    limited.current_dir(bare.get_current_dir().unwrap()).env_clear().stdin(Stdio::null());
    limited.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}

#[track_caller]
fn is_refused(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{error}");
    let line = error.lines().last().unwrap_or_default();
    assert!(words.iter().all(|word| line.contains(word)), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn workers_are_reduced_to_the_limit_of_files() {
    let database = Database::sqlite();
    let mut bare = command(database.folder.path());
    bare.env("PORTCULLIS_SERVER__WORKERS", "256");
    let server = Server::of(limited("ulimit -n 1024", &bare));
    assert_eq!(server.register("alice").status, 201);
    server.login("alice");
    let (status, log) = server.terminate();
    assert!(status.success(), "{log:#?}");
    let warned = log.iter().find(|line| line.contains("fewer workers than configured")).unwrap();
    assert!(warned.contains(r#""server_workers":256"#) && warned.contains("ulimit -n"), "{warned}");
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
}

#[test]
fn soft_limit_of_files_is_raised_to_the_hard_one() {
    let database = Database::sqlite();
    let mut bare = command(database.folder.path());
    bare.env("PORTCULLIS_SERVER__WORKERS", "128");
    let server = Server::of(limited("ulimit -Sn 256 && ulimit -Hn 4096", &bare));
    assert_eq!(server.register("alice").status, 201);
    assert_eq!(server.lines_with("fewer workers than configured"), 0);
}

#[test]
fn too_few_files_are_refused_with_the_remedy() {
    let database = Database::sqlite();
    let mut bare = command(database.folder.path());
    bare.env("PORTCULLIS_SERVER__WORKERS", "16");
    for limit in ["64", "90"] {
        let output = output_of(limited(&format!("ulimit -n {limit}"), &bare));
        is_refused(&output, &[&format!("limit of open files is {limit}"), "ulimit -n", "LimitNOFILE"]);
    }
}

#[test]
fn more_workers_than_the_http_stack_has_are_refused() {
    let database = Database::sqlite();
    let mut bare = command(database.folder.path());
    bare.env("PORTCULLIS_SERVER__WORKERS", "513");
    is_refused(&output_of(bare), &["server.workers", "512"]);
}

#[test]
fn too_little_memory_for_threads_is_refused() {
    let database = Database::sqlite();
    let mut bare = command(database.folder.path());
    bare.env("PORTCULLIS_SERVER__WORKERS", "256");
    is_refused(&output_of(limited("ulimit -v 500000", &bare)), &["threads can be started", "ulimit -u"]);
}

/// The limit does not bind root, so another user runs the command.
#[test]
fn too_few_processes_for_threads_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let database = Database::sqlite();
    let folder = database.folder.path();
    std::os::unix::fs::chown(folder, Some(LONELY), Some(LONELY)).unwrap();
    for arguments in [&["serve"][..], &["sessions", "end", "--all", "--yes"]] {
        let mut bare = command_as(LONELY, LONELY, folder);
        bare.args(arguments);
        is_refused(&output_of(limited("ulimit -u 5", &bare)), &["threads can be started", "ulimit -u"]);
    }
}

/// A user with no other processes.
const LONELY: u32 = 54_321;

/// Builds a library that takes a feature away from the file systems that a process sees.
fn without(folder: &Path, code: &str) -> PathBuf {
    let (source, library) = (folder.join("without.c"), folder.join("without.so"));
    fs::write(&source, code).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(compiler.status().unwrap().success(), "a C compiler builds SQLite, and this");
    library
}

fn start_without(database: &Database, code: &str) -> Command {
    let mut bare = command(database.folder.path());
    bare.env("LD_PRELOAD", without(database.folder.path(), code)).env_remove("PORTCULLIS_SECRET");
    bare
}

#[test]
fn first_start_works_without_hard_links() {
    let database = Database::sqlite();
    let code = "#include <errno.h>
        int link(const char *a, const char *b) { errno = EPERM; return -1; }
        int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }";
    let server = Server::of(start_without(&database, code));
    assert_eq!(server.register("alice").status, 201);
    server.terminate();
    let again = Server::start_with(&database, &[("SECRET", "")]);
    again.login("alice");
    let names = fs::read_dir(database.folder.path().join("data")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains(".tmp")), "{names:?}");
}

#[test]
fn first_start_works_without_syncing_folders() {
    let database = Database::sqlite();
    let code = "#define _GNU_SOURCE
        #include <errno.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int fsync(int fd) {
            struct stat s;
            if (!fstat(fd, &s) && S_ISDIR(s.st_mode)) { errno = EINVAL; return -1; }
            return syscall(SYS_fsync, fd);
        }";
    let server = Server::of(start_without(&database, code));
    assert_eq!(server.register("alice").status, 201);
}

#[test]
fn file_system_without_shared_memory_is_named() {
    let database = Database::sqlite();
    let code = "#define _GNU_SOURCE
        #include <errno.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        void *mmap(void *a, size_t l, int p, int f, int fd, off_t o) {
            if (fd >= 0 && (f & MAP_SHARED) && (p & PROT_WRITE)) { errno = EINVAL; return MAP_FAILED; }
            return (void *)syscall(SYS_mmap, a, l, p, f, fd, o);
        }
        void *mmap64(void *a, size_t l, int p, int f, int fd, off_t o) { return mmap(a, l, p, f, fd, o); }";
    let output = output_of(start_without(&database, code));
    is_refused(&output, &["portcullis.db", "keep the database on a local file system", "PostgreSQL"]);
}

#[test]
fn file_system_without_locks_is_named() {
    let database = Database::sqlite();
    let code = "#include <errno.h>
        int flock(int fd, int operation) { errno = ENOLCK; return -1; }";
    let output = output_of(start_without(&database, code));
    is_refused(&output, &["portcullis.db", "keep the database on a local file system", "PostgreSQL"]);
}
