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
    let test = r#""1.2.3" = { level = 1, asks = "x", test = ["a.rs::it_holds"] }"#;
    let tagged = "// ASVS 1.2.3\n#[test]\nfn it_holds() {}\n";
    let missing = "1.2.3: a.rs::it_holds does not run, or lacks the number";
    check(test, &[("a.rs", tagged)], &[]);
    check(test, &[("a.rs", "#[test]\nfn it_holds() {}\n")], &[missing]);
    check(test, &[("a.rs", &tagged.replace("#[test]", "#[actix_web::test]").replace("fn", "async fn"))], &[]);
    check(
        test,
        &[("a.rs", &tagged.replace("#[test]\n", "#[test]\n#[expect(\n    x,\n    reason = \"y\"\n)]\n"))],
        &[],
    );
    check(test, &[("a.rs", &tagged.replace("1.2.3", "1.2.3 1.2.4"))], &["a.rs:1: there is no row 1.2.4"]);
    let none = [missing, "a.rs:1: there is no test under the numbers that runs"];
    check(test, &[("a.rs", &tagged.replace("#[test]\n", ""))], &none);
    check(test, &[("a.rs", &tagged.replace("#[test]\n", "#[test]\n#[ignore]\n"))], &none);
    check(test, &[("a.rs", &tagged.replace("#[test]\n", "\n"))], &none);
    check(test, &[("a.rs", "// ASVS 1.2.3\n")], &none);
    let unnamed = tagged.replace("it_holds", "it_holds_too");
    check(test, &[("a.rs", tagged), ("b.rs", tagged)], &["1.2.3: the row does not name b.rs::it_holds"]);
    check(test, &[("a.rs", &unnamed)], &[missing, "1.2.3: the row does not name a.rs::it_holds_too"]);
    check(
        &test.replace(r#"test = ["a.rs::it_holds"]"#, r#"open = "not yet""#),
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
fn numbers_within_a_test_belong_to_their_lines() {
    let table = "#[test]\nfn it_holds() {\n    for (method, path) in [\n        (\"GET\", \"/x\"),\n        \
                 (\"TRACE\", \"/x\"), // ASVS 1.2.3\n    ] {\n    }\n}\n";
    let above = "#[test]\nfn it_holds() {\n    let x = 1;\n    // ASVS 1.2.3\n    assert_eq!(x, 1);\n}\n";
    for source in [table, above] {
        assert!(is_proved_by("a.rs", &[("a.rs", source)]));
        assert!(!is_proved_by("a.rs", &[("a.rs", &source.replace("#[test]\n", ""))]));
        let without: Vec<_> = source.lines().filter(|line| !line.contains("ASVS")).collect();
        assert!(!is_proved_by("a.rs", &[("a.rs", &without.join("\n"))]), "the line takes its number along");
    }
    let behind = "#[test]\nfn it_holds() {\n}\n\nmod more {\n    // ASVS 1.2.3\n    const X: u8 = 1;\n}\n";
    assert!(!is_proved_by("a.rs", &[("a.rs", behind)]), "behind the end of a test there is none");
}

#[test]
fn three_numbers_above_one_test_are_too_many() {
    let row = |id: &str| format!("\"{id}\" = {{ level = 1, asks = \"x\", test = [\"a.rs::it_holds\"] }}\n");
    let rows = format!("[rows]\n{}{}{}", row("1.2.3"), row("1.2.4"), row("1.2.5"));
    let source = "// ASVS 1.2.3 1.2.4 1.2.5\n#[test]\nfn it_holds() {\n}\n";
    let faults = Scoreboard::parse(&rows, &[(Path::new("a.rs"), source)]).faults();
    assert_eq!(faults, ["a.rs:1: more than 2 numbers; put each beside what tests it"]);
    let apart = "// ASVS 1.2.3 1.2.4\n#[test]\nfn it_holds() {\n    check(); // ASVS 1.2.5\n}\n";
    assert!(Scoreboard::parse(&rows, &[(Path::new("a.rs"), apart)]).faults().is_empty());
}

#[test]
fn attacks_count_while_the_corpus_runs_them() {
    let family = "pub(super) const CASES: &[Case] =\n    &[(\"HT-01\", another), (\"HT-02\", it_holds)];\n\n\
                  // ASVS 1.2.3\nfn it_holds(attack: &mut Attack<'_>) {\n}\n";
    let corpus = "const FAMILIES: &[&[Case]] = &[\n    bearer::CASES,\n    framing::CASES,\n];\n";
    let path = "tests/e2e/corpus/framing.rs";
    let counts =
        |family: &str, corpus: &str| is_proved_by(path, &[(path, family), ("tests/e2e/corpus.rs", corpus)]);
    assert!(counts(family, corpus));
    assert!(!counts(&family.replace(", (\"HT-02\", it_holds)", ""), corpus), "it is not registered");
    assert!(!counts(family, &corpus.replace("    framing::CASES,\n", "")), "its family is not run");
    assert!(!counts(&family.replace("// ASVS 1.2.3\n", ""), corpus));
    assert!(!is_proved_by(
        "tests/e2e/framing.rs",
        &[("tests/e2e/framing.rs", family), ("tests/e2e/corpus.rs", corpus)]
    ));
}

/// Removes each tagged attack from the corpus, and checks that the rows that name it turn red.
#[test]
fn removing_any_tagged_attack_turns_its_rows_red() {
    let texts = scoreboard::texts();
    let rows = std::fs::read_to_string(root().join("docs/security/asvs.toml")).unwrap();
    let faults = |texts: &[(std::path::PathBuf, String)]| {
        let sources: Vec<_> = texts.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
        Scoreboard::parse(&rows, &sources).faults()
    };
    let is_family = |path: &Path| path.parent() == Some(Path::new("tests/e2e/corpus"));
    let named: Vec<_> = rows.split('"').filter_map(|text| text.split_once(".rs::")).collect();
    let mut removed = 0;
    for (path, text) in texts.iter().filter(|(path, _)| is_family(path)) {
        let own = |(file, name): &(&str, &str)| {
            (Path::new(&format!("{file}.rs")) == path).then(|| (*name).to_owned())
        };
        for name in named.iter().filter_map(own).collect::<std::collections::BTreeSet<_>>() {
            let fewer: Vec<_> = texts
                .iter()
                .map(|(other, text)| match other == path {
                    true => (other.clone(), text.replace(&format!(", {name})"), ", another_case)")),
                    false => (other.clone(), text.clone()),
                })
                .collect();
            assert_ne!(
                fewer.iter().find(|(other, _)| other == path).unwrap().1,
                *text,
                "{name} is registered"
            );
            let fault = format!("{}::{name} does not run, or lacks the number", path.display());
            assert!(faults(&fewer).iter().any(|found| found.ends_with(&fault)), "no row misses {name}");
            removed += 1;
        }
    }
    assert!(removed >= 20, "{removed} attacks carry numbers");
}

/// Whether `it_holds` of this file proves a row, over these sources.
fn is_proved_by(path: &str, sources: &[(&str, &str)]) -> bool {
    let row = format!("[rows]\n\"1.2.3\" = {{ level = 1, asks = \"x\", test = [\"{path}::it_holds\"] }}");
    let sources: Vec<_> = sources.iter().map(|(path, text)| (Path::new(path), *text)).collect();
    Scoreboard::parse(&row, &sources).faults().is_empty()
}

#[test]
fn tests_that_macros_make_count_where_they_are_listed() {
    let counts = |sources: &[(&str, &str)]| is_proved_by(sources[0].0, sources);
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
    let path = "crates/testkit/src/contract/store_contract.rs";
    assert!(counts(&[contract, (path, &list("it_holds,"))]));
    assert!(!counts(&[contract, (path, &list("it_holds_too,"))]));
    assert!(!counts(&[contract, (path, &list("it_holds,").replace("user_store", "session_store"))]));
    assert!(!counts(&[contract]));
    let called = "#[test]\nfn it() {\n    user_store::it_holds(&own());\n}\n";
    assert!(counts(&[contract, ("crates/adapters/tests/contract/tokens.rs", called)]));
    assert!(!counts(&[contract, ("crates/testkit/tests/fakes.rs", called)]), "a fake proves nothing");
}
