//! What `docs/security/asvs.toml` says is true: each proof is there, and what the pages say in numbers is what the code does.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, and in their helpers, it fails the test"
)]

#[path = "asvs/numbers.rs"]
mod numbers;
#[path = "asvs/scoreboard.rs"]
mod scoreboard;

use std::path::Path;

use scoreboard::{Scoreboard, root};

#[test]
fn every_green_row_has_its_proof() {
    let faults = Scoreboard::read().faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// As many as the standard has, at each of its levels.
#[test]
fn every_requirement_has_one_row() {
    let board = Scoreboard::read();
    let of_level = |level| board.rows().filter(|row| row.level == level).count();
    assert_eq!([1, 2, 3].map(of_level), [70, 183, 92]);
    assert_eq!(board.rows().filter(|row| row.applies()).count(), 249);
}

#[test]
fn what_the_pages_say_in_numbers_holds() {
    let numbers = numbers::of_pages(&root().join("docs/security"));
    assert!(numbers.len() > 25, "the tables are found: {numbers:?}");
    let wrong: Vec<_> = numbers.iter().filter_map(numbers::Number::fault).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_proof_that_is_missing_is_named() {
    let check = |row: &str, sources: &[(&str, &str)], expected: &[&str]| {
        let sources: Vec<_> = sources.iter().map(|(path, text)| (Path::new(path), *text)).collect();
        let faults = Scoreboard::parse(&format!("[rows]\n{row}"), &sources).faults();
        assert_eq!(faults, expected, "{row}");
    };
    let test = r#""1.2.3" = { level = 1, asks = "x", test = true }"#;
    let tagged = "// ASVS 1.2.3\n#[test]\nfn it_holds() {}\n";
    check(test, &[("a.rs", tagged)], &[]);
    check(test, &[("a.rs", "#[test]\nfn it_holds() {}\n")], &["1.2.3: no test has its number"]);
    check(test, &[("a.rs", &tagged.replace("#[test]", "#[actix_web::test]").replace("fn", "async fn"))], &[]);
    check(
        test,
        &[("a.rs", &tagged.replace("#[test]\n", "#[test]\n#[expect(\n    x,\n    reason = \"y\"\n)]\n"))],
        &[],
    );
    check(test, &[("a.rs", &tagged.replace("1.2.3", "1.2.3 1.2.4"))], &["a.rs:1: there is no row 1.2.4"]);
    let none = ["1.2.3: no test has its number", "a.rs:1: there is no test under the numbers that runs"];
    check(test, &[("a.rs", &tagged.replace("#[test]\n", ""))], &none);
    check(test, &[("a.rs", &tagged.replace("#[test]\n", "#[test]\n#[ignore]\n"))], &none);
    check(test, &[("a.rs", &tagged.replace("#[test]\n", "\n"))], &none);
    check(test, &[("a.rs", "// ASVS 1.2.3\n")], &none);
    check(
        &test.replace("test = true", r#"open = "not yet""#),
        &[("a.rs", tagged)],
        &["1.2.3: a test has its number, and the row is open"],
    );

    let here = |file: &str, line: &str| {
        format!(r#""1.2.3" = {{ level = 1, asks = "x", static = {{ file = "{file}", line = "{line}" }} }}"#)
    };
    check(
        &here("rustfmt.toml", "edition = \\\"1999\\\""),
        &[],
        &["1.2.3: rustfmt.toml has no line `edition = \"1999\"`"],
    );
    check(&here("nowhere.toml", "x"), &[], &["1.2.3: nowhere.toml has no line `x`"]);
    check(&here("Cargo.toml", "overflow-checks = true"), &[], &[]);

    let page = |page: &str| format!(r#""1.2.3" = {{ level = 1, asks = "x", document = "{page}" }}"#);
    check(&page("docs/audit.md#the-format"), &[], &[]);
    check(
        &page("docs/audit.md#no-such-heading"),
        &[],
        &["1.2.3: docs/audit.md#no-such-heading is no heading"],
    );
    check(&page("docs/no-such-page.md#x"), &[], &["1.2.3: docs/no-such-page.md#x is no heading"]);
    check(&page("docs/audit.md"), &[], &["1.2.3: docs/audit.md is no heading"]);
}

#[test]
fn tests_that_macros_make_count_where_they_are_listed() {
    let row = "[rows]\n\"1.2.3\" = { level = 1, asks = \"x\", test = true }";
    let counts = |sources: &[(&str, &str)]| {
        let sources: Vec<_> = sources.iter().map(|(path, text)| (Path::new(path), *text)).collect();
        Scoreboard::parse(row, &sources).faults().is_empty()
    };
    let inside =
        "on_both_databases! {\n    // ASVS 1.2.3\n    fn it_holds(database: &Database) {\n    }\n}\n";
    assert!(counts(&[("tests/e2e/a.rs", inside)]));
    assert!(!counts(&[("tests/e2e/a.rs", &inside.replace("on_both_databases", "some_other_macro"))]));
    assert!(!counts(&[("tests/e2e/a.rs", &inside.replace("fn it_holds(", "#[ignore]\n    fn it_holds("))]));

    let listed =
        "// ASVS 1.2.3\nfn it_holds(dialect: Dialect) {}\n\non_both_databases! {\n    it_holds,\n}\n";
    assert!(counts(&[("a.rs", listed)]));
    assert!(!counts(&[("a.rs", &listed.replace("    it_holds,", "    it_holds_too,"))]));

    let contract =
        ("crates/testkit/src/contract/user_store.rs", "// ASVS 1.2.3\npub fn it_holds(stores: &Stores) {}\n");
    let list =
        |names: &str| format!("contract_tests! {{ $stores;\n    user_store::{{\n{names}\n    }}\n}}\n");
    let path = "crates/testkit/src/contract.rs";
    assert!(counts(&[contract, (path, &list("it_holds,"))]));
    assert!(!counts(&[contract, (path, &list("it_holds_too,"))]));
    assert!(!counts(&[contract, (path, &list("it_holds,").replace("user_store", "session_store"))]));
    assert!(!counts(&[contract]));
    let called = "#[test]\nfn it() {\n    user_store::it_holds(&own());\n}\n";
    assert!(counts(&[contract, ("crates/adapters/tests/contract/tokens.rs", called)]));
    assert!(!counts(&[contract, ("crates/testkit/tests/fakes.rs", called)]), "a fake proves nothing");
}
