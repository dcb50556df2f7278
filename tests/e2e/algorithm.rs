//! A change of the algorithm that signs access tokens.

use serde_json::{Value, json};

use crate::corpus::forgery::Genuine;
use crate::database::Database;
use crate::on_both_databases;
use crate::server::{Server, Tokens, wait_until};

/// Either direction of the change.
const CHANGES: [(&str, &str); 2] = [("EdDSA", "ES256"), ("ES256", "EdDSA")];

fn algorithm(tokens: &Tokens) -> String {
    Genuine::of(&tokens.access).alg()
}

/// The published keys: id and algorithm.
fn published(server: &Server) -> Vec<(String, String)> {
    let set = server.get("/.well-known/jwks.json").json();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    set["keys"].as_array().unwrap().iter().map(|key| (text(key, "kid"), text(key, "alg"))).collect()
}

#[track_caller]
fn accepts(server: &Server, tokens: &Tokens) {
    for path in ["/protected", "/protected", "/me"] {
        let answer = server.get_as(path, &tokens.access);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

fn logout_with_access_token(server: &Server, tokens: &Tokens) -> u16 {
    let bearer = format!("Bearer {}", tokens.access);
    server.call("POST", "/logout", &[("authorization", &bearer)], None).status
}

on_both_databases! {
    fn a_changed_algorithm_keeps_users_signed_in(database: &Database) {
        for (n, (before, after)) in CHANGES.into_iter().enumerate() {
            let name = format!("alice-{n}");
            let server = Server::start_with(database, &[("TOKENS__ALGORITHM", before)]);
            server.register(&name);
            let [kept, ended] = [(); 2].map(|()| server.login(&name));
            assert_eq!(algorithm(&kept), before);
            let keys = published(&server);
            server.terminate();

            let server = Server::start_with(database, &[("TOKENS__ALGORITHM", after)]);
            server.wait_until_ready();
            accepts(&server, &kept);
            let refreshed = server.refresh(&kept.refresh).tokens();
            assert_eq!(algorithm(&refreshed), after);
            accepts(&server, &refreshed);
            accepts(&server, &kept);

            // A session that ends takes its tokens of the other algorithm with it.
            accepts(&server, &ended);
            assert_eq!(logout_with_access_token(&server, &ended), 204);
            server.get_as("/protected", &ended.access).is_problem(401, "invalid_token");
            server.refresh(&ended.refresh).is_problem(401, "invalid_refresh_token");

            // Verifiers elsewhere had all keys before; only the order changes.
            let [mut keys, mut now] = [keys, published(&server)];
            let algorithms: Vec<_> = now.iter().map(|(_, alg)| alg.as_str()).collect();
            assert_eq!(algorithms, [[after; 3], [before; 3]].concat());
            for tokens in [&kept, &refreshed] {
                let id = Genuine::of(&tokens.access).kid();
                assert!(now.contains(&(id, algorithm(tokens))), "{now:?}");
            }
            keys.sort();
            now.sort();
            assert_eq!(now, keys);
            for document in ["oauth-authorization-server", "openid-configuration"] {
                let metadata = server.get(&format!("/.well-known/{document}")).json();
                assert_eq!(metadata["id_token_signing_alg_values_supported"], json!([after, before]));
            }
        }
    }

    fn a_token_of_the_other_algorithm_expires_in_its_time(database: &Database) {
        for (n, (before, after)) in CHANGES.into_iter().enumerate() {
            let name = format!("alice-{n}");
            let short = ("TOKENS__ACCESS_LIFETIME", "4s");
            let [before, after] = [before, after].map(|algorithm| {
                let server = Server::start_with(database, &[("TOKENS__ALGORITHM", algorithm), short]);
                server.wait_until_ready();
                server
            });
            before.register(&name);
            let tokens = before.login(&name);
            accepts(&after, &tokens);
            wait_until("it expires", || after.get_as("/protected", &tokens.access).status == 401);
            after.get_as("/protected", &tokens.access).is_problem(401, "invalid_token");

            // It still names its session, for a logout.
            assert_eq!(logout_with_access_token(&after, &tokens), 204);
            after.refresh(&tokens.refresh).is_problem(401, "invalid_refresh_token");
        }
    }
}

#[test]
fn instances_of_different_algorithms_accept_each_others_tokens() {
    let database = &Database::postgres();
    let servers =
        ["EdDSA", "ES256"].map(|algorithm| Server::start_with(database, &[("TOKENS__ALGORITHM", algorithm)]));
    for server in &servers {
        server.wait_until_ready();
    }
    servers[0].register("alice");
    for (here, there) in [(&servers[0], &servers[1]), (&servers[1], &servers[0])] {
        let tokens = here.login("alice");
        accepts(there, &tokens);
        accepts(here, &tokens);
        let refreshed = there.refresh(&tokens.refresh).tokens();
        assert_ne!(algorithm(&refreshed), algorithm(&tokens));
        accepts(here, &refreshed);
        assert_eq!(logout_with_access_token(here, &refreshed), 204);
        wait_until("the other instance knows of the logout", || {
            [&tokens, &refreshed]
                .iter()
                .all(|tokens| there.get_as("/protected", &tokens.access).status == 401)
        });
    }
}

#[test]
fn a_narrowed_key_set_still_accepts_both_algorithms() {
    let database = &Database::sqlite();
    for (n, (before, after)) in CHANGES.into_iter().enumerate() {
        let name = format!("alice-{n}");
        let server = Server::start_with(database, &[("TOKENS__ALGORITHM", before)]);
        server.register(&name);
        let tokens = server.login(&name);
        server.terminate();
        let narrowed = [("TOKENS__ALGORITHM", after), ("TOKENS__PUBLISHED_KEYS", "signing")];
        let server = Server::start_with(database, &narrowed);
        server.wait_until_ready();
        accepts(&server, &tokens);
        let keys = published(&server);
        assert_eq!(keys.iter().map(|(_, alg)| alg.as_str()).collect::<Vec<_>>(), [after; 3]);
        let metadata = server.get("/.well-known/openid-configuration").json();
        assert_eq!(metadata["id_token_signing_alg_values_supported"], json!([after]));
    }
}
