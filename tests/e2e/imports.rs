//! Users brought from elsewhere keep their passwords, whatever their names and hashes look like.

use serde_json::json;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{PASSWORD, Server, run};

/// Hashes made by the real Werkzeug 3.1 and the real passlib, of these passwords; `upgraded` says whether a login
/// replaces them by this service's own.
struct Import {
    hash: &'static str,
    password: &'static str,
    upgraded: bool,
}

on_both_databases! {
    // ASVS 11.2.2 11.4.2
    fn imported_users_log_in_and_their_hashes_are_upgraded(database: &Database) {
        let server = Server::start(database);
        for (number, import) in IMPORTS.iter().enumerate() {
            let name = format!("bob+{number}@example.com");
            database.import_user(u8::try_from(number).unwrap(), &name, import.hash);
            let stored = || database.text(&format!("SELECT password_hash FROM users WHERE username = '{name}'"));
            server.try_login(&name, "another password").is_problem(401, "invalid_credentials");
            assert_eq!(stored(), import.hash, "a wrong password upgrades nothing");

            let tokens = server.try_login(&name.to_uppercase(), import.password).tokens();
            assert_eq!(server.get_as("/me", &tokens.access).json()["username"], name.as_str());
            assert_eq!(stored() != import.hash, import.upgraded, "{}", stored());
            assert!(!import.upgraded || stored().starts_with("$bcrypt-sha256$"), "{}", stored());
            assert_eq!(server.try_login(&name, import.password).status, 200, "and once more");
        }
    }

    fn documented_import_lets_users_log_in(database: &Database) {
        run(database.folder.path(), &[("DATABASE__URL", &database.url())], &["migrate"]);
        let dialect = match database.kind {
            Kind::Sqlite => "-- SQLite\n",
            Kind::Postgres { .. } => "-- PostgreSQL\n",
        };
        let advice = include_str!("../../docs/importing.md").split(dialect).nth(1).unwrap();
        let lines = advice.split("```").next().unwrap().lines().filter(|line| !line.starts_with("--"));
        let statements = lines.collect::<Vec<_>>().join("\n");
        for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
            database.execute(statement);
        }
        let server = Server::start(database);
        let tokens = server.try_login("bob", "password").tokens();
        assert_eq!(server.get_as("/me", &tokens.access).json()["username"], "Bob");
    }

    fn unusable_hashes_are_reported_with_their_users(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let check = || {
            let output = run(database.folder.path(), &[("DATABASE__URL", &database.url())], &["user", "check-hashes"]);
            (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
        };
        assert_eq!(check(), (0, "the password hashes of all 1 users can be used\n".to_owned()));
        for (number, (hash, _)) in UNUSABLE.iter().enumerate() {
            database.import_user(u8::try_from(number).unwrap(), &format!("bob{number}"), hash);
        }
        let (code, list) = check();
        let lines: Vec<_> = list.lines().collect();
        assert_eq!((code, lines.len()), (1, UNUSABLE.len()), "{list}");
        for (number, (_, reason)) in UNUSABLE.iter().enumerate() {
            let user = format!("01900000-0000-7000-8000-00000000{number:04x}");
            assert_eq!(lines[number], format!("{user}\tbob{number}\t{reason}"));
            server.try_login(&format!("bob{number}"), "password").is_problem(401, "invalid_credentials");
        }
        let (_, log) = server.terminate();
        for (number, (hash, reason)) in UNUSABLE.iter().enumerate() {
            let user = format!("01900000-0000-7000-8000-00000000{number:04x}");
            let reported = log.iter().find(|line| line.contains("hash cannot be used") && line.contains(&user));
            assert!(reported.is_some_and(|line| line.contains(reason) && line.contains("request_id")), "{log:#?}");
            assert!(!log.iter().any(|line| line.contains(hash)), "{log:#?}");
        }
    }

    fn rows_that_do_not_parse_are_their_users_trouble_alone(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let alice = server.login("alice");
        // Text that is no UTF-8 gets into SQLite alone; PostgreSQL takes none.
        let damages: &[(&str, &str, &str)] = match database.kind {
            Kind::Sqlite => &[
                ("username", "''", "users username"),
                ("username", "CAST(x'ff80' AS TEXT)", "cannot be read"),
                ("password_hash", "CAST(x'2432ff' AS TEXT)", "cannot be read"),
                ("username", "char(10)", "users username"),
            ],
            Kind::Postgres { .. } => &[
                ("username", "''", "users username"),
                ("username", "repeat('x', 300)", "users username"),
                ("username", "chr(10)", "users username"),
            ],
        };
        for (number, (column, value, _)) in damages.iter().enumerate() {
            let name = format!("victim{number}");
            server.register(&name);
            let tokens = server.login(&name);
            database.execute(&format!("UPDATE users SET {column} = {value} WHERE canonical_name = '{name}'"));

            // As if nobody had that name, and again and again.
            for _ in 0..2 {
                server.try_login(&name, PASSWORD).is_problem(401, "invalid_credentials");
            }
            server.register(&name).is_problem(409, "username_taken");
            // Whatever shows or changes the user waits for the operator; sessions go on without.
            server.get_as("/me", &tokens.access).is_problem(503, "storage_unavailable");
            server.change_password(&tokens.access, PASSWORD, "An0ther-horse").is_problem(503, "storage_unavailable");
            let confirm = json!({"current_password": PASSWORD});
            server.send_as("DELETE", "/me", &tokens.access, &confirm).is_problem(503, "storage_unavailable");
            assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
            assert_eq!(server.get_as("/me/sessions", &tokens.access).status, 200);
            let next = server.refresh(&tokens.refresh).tokens();
            assert_eq!(server.logout(&next.refresh).status, 204);
        }
        assert_eq!(server.get_as("/me", &alice.access).json()["username"], "alice", "everybody else is fine");
        server.login("alice");
        assert_eq!(server.get("/ready").status, 200);

        let (_, log) = server.terminate();
        let errors: Vec<_> = log.iter().filter(|line| line.contains(r#""level":"error""#)).collect();
        for (_, _, words) in damages {
            let told = errors.iter().any(|line| words.split(' ').all(|word| line.contains(word)));
            assert!(told, "{words}: {errors:#?}");
        }
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    }

    fn sessions_and_events_that_do_not_parse_are_their_users_trouble_alone(database: &Database) {
        let server = Server::start(database);
        for name in ["alice", "victim"] {
            server.register(name);
        }
        let (alice, victim) = (server.login("alice"), server.login("victim"));
        let of_victim = "user_id = (SELECT id FROM users WHERE canonical_name = 'victim')";
        for table in ["sessions", "security_events"] {
            database.execute(&format!("UPDATE {table} SET address = 'nowhere' WHERE {of_victim}"));
        }
        for path in ["/me/sessions", "/me/activity"] {
            server.get_as(path, &victim.access).is_problem(503, "storage_unavailable");
            assert_eq!(server.get_as(path, &alice.access).status, 200);
        }
        if matches!(database.kind, Kind::Sqlite) {
            for table in ["sessions", "security_events"] {
                database.execute(&format!("UPDATE {table} SET address = NULL, agent = CAST(x'ff' AS TEXT) WHERE {of_victim}"));
            }
            for path in ["/me/sessions", "/me/activity"] {
                server.get_as(path, &victim.access).is_problem(503, "storage_unavailable");
                assert_eq!(server.get_as(path, &alice.access).status, 200);
            }
        }
        // What the user does goes on, and so does the end of what cannot be shown.
        assert_eq!(server.get_as("/me", &victim.access).status, 200);
        let next = server.refresh(&victim.refresh).tokens();
        let changed = server.change_password(&next.access, PASSWORD, "An0ther-horse").tokens();
        assert_eq!(server.get_as("/protected", &victim.access).status, 401);
        assert_eq!(server.get_as("/me/sessions", &changed.access).json()["sessions"].as_array().unwrap().len(), 1);
        let (_, log) = server.terminate();
        for table in ["sessions", "security_events"] {
            assert!(log.iter().any(|line| line.contains("does not parse") && line.contains(table)), "{log:#?}");
        }
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    }
}

/// Hashes that docs/importing.md calls unusable, and why they are.
const UNUSABLE: &[(&str, &str)] = &[
    ("pbkdf2_sha256$1000000$abcdefgh$Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm8=", "unknown scheme"),
    (
        "$pbkdf2-sha256$29000$9t7be09prfXee2/NOUeotQ$Y.RDnnq8vsezSZSKy1QNy6xhKPdoBIwc.0XDdRm9sJ8",
        "unknown scheme",
    ),
    (
        "$bcrypt-sha256$2b,12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "bcrypt-sha256 of another version",
    ),
    ("$2b$16$n79VH.0Q2TMWmt3Oqt9ukuKq4Noyk3094Y2QlB8NdRT8SvGiI4ft2", "bcrypt cost out of bounds"),
    (
        "$argon2id$v=19$m=102400,t=2,p=8$0eEP0Fftx5IHiYL7E8QgkA$U/52qGcWqqZi7syb2Hvokl0I2jgq6BPIv73Qe5X1a00",
        "Argon2id cost out of bounds",
    ),
];

const IMPORTS: &[Import] = &[
    Import {
        hash: "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        password: "password",
        upgraded: false,
    },
    Import {
        hash: "scrypt:32768:8:1$nHXTjuxSTW6eiV1n$c250b9c89c299527ee65fa14278563199e2bc58ea73164f483e04ba4dee7c1a9fecda1f2c13fc7a0e7d50443081924076be0b62dba9eea48f02a048df8380e05",
        password: "password",
        upgraded: true,
    },
    Import {
        hash: "scrypt:32768:8:1$9xu6tl1Ek1ajXwJa$6c6dcfb3052049b91622c091e34456636527edf177ab4b419edb4b5fdf1062c41ddf43af50575d32dc83a7ad74b0a12dda1ca29a71f261da91350e24091e7127",
        password: "Pässwörd-ß€🦀",
        upgraded: true,
    },
    Import {
        hash: "pbkdf2:sha256:1000000$ZuM93k0qhxfMUQAv$f076c9707ac7ea721e9e90cfc02973a9394ebde50728541047a72e89e3ac6920",
        password: "password",
        upgraded: true,
    },
    Import {
        hash: "pbkdf2:sha256:1000000$KCtoOyY0j0lAhbnf$63b2e4d7ff967d75e079dcb06b5602233f17f4fdac6132e402bbceff19dd7671",
        password: "Pässwörd-ß€🦀",
        upgraded: true,
    },
    Import {
        hash: "pbkdf2:sha1:150000$j2clQeIMDgqSU0Nm$8e17cfde6bfda425e89823ee49c74345a99aa6c2",
        password: "password",
        upgraded: true,
    },
    Import {
        hash: "pbkdf2:sha512:210000$0ATeP7tkq5CbYWXJ$842354d3363fd155af7393d60b9973c16ee8dbbbfe82bf3ec01e52276f9c61eac79067310c0f287126c89bec8eecd2e43b6034cc89273811662f8ebb5f054021",
        password: "password",
        upgraded: true,
    },
    Import {
        hash: "$2a$04$f9fx1PsBGKbcPLALBWJUDeHfIOZYUSolUaXnzFA0WQGx8291V4pca",
        password: "password",
        upgraded: true,
    },
    Import {
        hash: "$argon2id$v=19$m=65536,t=3,p=4$kVLKeY8xJsRYq/W+dy5lDA$bIPqnoli0T/DYer2kjY/Lt9Xrg3vj5WNsrjdivf6zcw",
        password: "password",
        upgraded: true,
    },
];
