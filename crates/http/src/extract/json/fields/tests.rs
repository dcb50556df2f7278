use super::super::value::read_object;
use super::*;

/// A request with members of every kind.
#[derive(Debug, PartialEq)]
struct CreateClient {
    name: String,
    note: Option<String>,
    max_age: u32,
    enabled: bool,
    roles: Vec<String>,
    owner: Owner,
    keys: Vec<Owner>,
}

impl FromFields for CreateClient {
    fn read(fields: &mut Fields) -> Read<Self> {
        let name = fields.string("name");
        let note = fields.optional("note", Input::string);
        let max_age = fields.integer("max_age", 0..=3600);
        let enabled = fields.boolean("enabled");
        let roles = fields.list("roles", 0..=16, Input::string);
        let owner = fields.object("owner");
        let keys = fields.list("keys", 0..=4, Input::object);
        Ok(Self {
            name: name?,
            note: note?,
            max_age: max_age?,
            enabled: enabled?,
            roles: roles?,
            owner: owner?,
            keys: keys?,
        })
    }
}

#[derive(Debug, PartialEq)]
struct Owner {
    id: i64,
    label: Option<String>,
}

impl Owner {
    fn new(id: i64, label: Option<&str>) -> Self {
        Self { id, label: label.map(str::to_owned) }
    }
}

impl FromFields for Owner {
    fn read(fields: &mut Fields) -> Read<Self> {
        let id = fields.integer("id", -1..=i64::MAX);
        let label = fields.nullable("label", Input::string);
        Ok(Self { id: id?, label: label? })
    }
}

/// A violation: pointer, code and message.
type Found = (String, &'static str, String);

fn read<T>(body: &str, read: impl FnOnce(&mut Fields<'_>) -> Read<T>) -> Result<T, Vec<Found>> {
    read_request(read_object(body.as_bytes()).unwrap(), read).map_err(|violations| {
        let of = |violation: Violation| {
            let json = serde_json::to_value(&violation).unwrap();
            let text = |name: &str| json[name].as_str().unwrap().to_owned();
            let code = *ViolationCode::ALL.iter().find(|code| code.word() == text("code")).unwrap();
            (text("pointer"), code.word(), text("message"))
        };
        violations.into_iter().map(of).collect()
    })
}

fn read_member<T>(value: &str, member: impl FnOnce(Input<'_>) -> Read<T>) -> Result<T, Vec<Found>> {
    read(&format!("{{\"a\":{value}}}"), |fields| fields.required("a", member))
}

#[track_caller]
fn refuses<T: fmt::Debug>(
    member: impl FnOnce(Input<'_>) -> Read<T>,
    value: &str,
    expected: &[(&str, &str, &str)],
) {
    let found = read_member(value, member).unwrap_err();
    let found: Vec<_> =
        found.iter().map(|(pointer, code, message)| (pointer.as_str(), *code, message.as_str())).collect();
    assert_eq!(found, expected, "{value}");
}

// `Input::string` is a function for one lifetime, and these are for any.
fn string(input: Input<'_>) -> Read<String> {
    input.string()
}

fn secret(input: Input<'_>) -> Read<Zeroizing<String>> {
    input.secret()
}

fn boolean(input: Input<'_>) -> Read<bool> {
    input.boolean()
}

#[test]
fn strings_are_read_as_they_are() {
    for (value, expected) in
        [("\"\"", ""), ("\"a\\u00e9\\ud83d\\ude00\"", "a\u{e9}\u{1f600}"), ("\" 7\"", " 7")]
    {
        assert_eq!(read_member(value, string).as_deref(), Ok(expected));
        let secret = read_member(value, secret);
        assert_eq!(secret.as_deref().map(String::as_str), Ok(expected));
    }
    for value in ["7", "true", "null", "[\"x\"]", "{}"] {
        let wrong = [("#/a", "wrong_type", "must be a string")];
        refuses(string, value, &wrong);
        refuses(secret, value, &wrong);
    }
    let nul = [("#/a", "invalid_character", "must not contain the character NUL")];
    refuses(string, "\"a\\u0000\"", &nul);
    refuses(secret, "\"\\u0000\"", &nul);
}

#[test]
fn integers_outside_their_range_are_refused() {
    for (value, expected) in [("0", 0), ("7", 7), ("3600", 3600)] {
        assert_eq!(read_member(value, |input| input.integer(0..=3600_u32)), Ok(expected));
    }
    for value in [
        "-1",
        "3601",
        "4294967296",
        "4294967303",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
        "1.0",
        "1.5",
        "1e2",
        "1E0",
        "-0",
        "0.0",
        "1e300",
        "\"7\"",
        "true",
        "null",
        "[7]",
        "{}",
    ] {
        let wrong = [("#/a", "wrong_type", "must be a whole number from 0 to 3600")];
        refuses(|input| input.integer(0..=3600_u32), value, &wrong);
    }
}

#[test]
fn integers_keep_all_their_digits() {
    for number in [i64::MIN, i64::MIN + 1, 9_007_199_254_740_993, i64::MAX - 1, i64::MAX] {
        let read = read_member(&number.to_string(), |input| input.integer(i64::MIN..=i64::MAX));
        assert_eq!(read, Ok(number));
    }
}

#[test]
fn booleans_are_true_or_false() {
    assert_eq!(read_member("true", boolean), Ok(true));
    assert_eq!(read_member("false", boolean), Ok(false));
    for value in ["0", "1", "\"true\"", "\"\"", "null", "[]", "{}"] {
        refuses(boolean, value, &[("#/a", "wrong_type", "must be true or false")]);
    }
}

#[test]
fn lists_are_read_element_by_element() {
    fn digits(input: Input<'_>) -> Read<Vec<u8>> {
        input.list(1..=3, |element| element.integer(0..=9))
    }
    assert_eq!(read_member("[7]", digits), Ok(vec![7]));
    assert_eq!(read_member("[1,2,3]", digits), Ok(vec![1, 2, 3]));
    refuses(digits, "[]", &[("#/a", "too_short", "must have from 1 to 3 elements")]);
    refuses(digits, "[1,2,3,\"4\"]", &[("#/a", "too_long", "must have from 1 to 3 elements")]);
    let no_digit = "must be a whole number from 0 to 9";
    refuses(digits, "[10,1,null]", &[("#/a/0", "wrong_type", no_digit), ("#/a/2", "wrong_type", no_digit)]);
    for value in ["7", "\"[]\"", "true", "null", "{\"0\":7}"] {
        refuses(digits, value, &[("#/a", "wrong_type", "must be a list")]);
    }
}

#[test]
fn lists_in_lists_have_their_own_pointers() {
    fn flags(input: Input<'_>) -> Read<Vec<Vec<bool>>> {
        input.list(2..=2, |element| element.list(0..=1, Input::boolean))
    }
    assert_eq!(read_member("[[],[true]]", flags), Ok(vec![vec![], vec![true]]));
    let no_flag = "must be true or false";
    let too_short = ("#/a", "too_short", "must have from 2 to 2 elements");
    refuses(flags, "[[1]]", &[too_short, ("#/a/0/0", "wrong_type", no_flag)]);
    let too_long = ("#/a/1", "too_long", "must have from 0 to 1 elements");
    refuses(flags, "[[1],[2,3]]", &[("#/a/0/0", "wrong_type", no_flag), too_long]);
}

#[test]
fn objects_hold_only_their_own_members() {
    fn owner(input: Input<'_>) -> Read<Owner> {
        input.object()
    }
    assert_eq!(read_member("{\"id\":-1,\"label\":\"l\"}", owner), Ok(Owner::new(-1, Some("l"))));
    assert_eq!(read_member("{\"label\":null,\"id\":0}", owner), Ok(Owner::new(0, None)));
    let missing = [("#/a/id", "required", "is required"), ("#/a/label", "required", "is required")];
    refuses(owner, "{}", &missing);
    let wrong = [
        ("#/a/id", "wrong_type", "must be a whole number from -1 to 9223372036854775807"),
        ("#/a/label", "wrong_type", "must be a string"),
        ("#/a/x~1y", "unknown_field", "is not a field of this request"),
    ];
    refuses(owner, "{\"id\":null,\"label\":1,\"x/y\":{\"id\":1}}", &wrong);
    for value in ["null", "7", "[-1,\"l\"]", "\"{}\""] {
        refuses(owner, value, &[("#/a", "wrong_type", "must be an object")]);
    }
}

#[test]
fn null_is_not_the_same_as_missing() {
    let code = |found: Vec<Found>| found[0].1;
    let optional = |body| read(body, |fields| fields.optional("a", Input::boolean)).map_err(code);
    assert_eq!(optional("{}"), Ok(None));
    assert_eq!(optional("{\"a\":true}"), Ok(Some(true)));
    assert_eq!(optional("{\"a\":null}"), Err("wrong_type"));

    let nullable = |body| read(body, |fields| fields.nullable("a", Input::boolean)).map_err(code);
    assert_eq!(nullable("{}"), Err("required"));
    assert_eq!(nullable("{\"a\":true}"), Ok(Some(true)));
    assert_eq!(nullable("{\"a\":null}"), Ok(None));
    assert_eq!(nullable("{\"a\":0}"), Err("wrong_type"));

    let both = |body| read(body, |fields| fields.optional("a", |a| a.nullable(Input::boolean))).map_err(code);
    assert_eq!(both("{}"), Ok(None));
    assert_eq!(both("{\"a\":null}"), Ok(Some(None)));
    assert_eq!(both("{\"a\":false}"), Ok(Some(Some(false))));
    assert_eq!(both("{\"a\":0}"), Err("wrong_type"));
}

#[test]
fn requests_are_read_with_all_their_parts() {
    let body = r#"{"keys":[{"id":1,"label":null},{"id":2,"label":"l"}],"owner":{"label":"o","id":0},
        "roles":["a","b"],"enabled":true,"max_age":3600,"name":"n"}"#;
    let expected = CreateClient {
        name: "n".to_owned(),
        note: None,
        max_age: 3600,
        enabled: true,
        roles: vec!["a".to_owned(), "b".to_owned()],
        owner: Owner::new(0, Some("o")),
        keys: vec![Owner::new(1, None), Owner::new(2, Some("l"))],
    };
    assert_eq!(read(body, CreateClient::read), Ok(expected));
}

#[test]
fn all_violations_are_reported_at_once() {
    let body = r#"{"Name":"x","note":1,"max_age":3601,"enabled":"yes","roles":["a",7,"\u0000"],"owner":null,
        "keys":[{"id":1.5,"label":[]},"k",{"id":1,"label":"l","a/b~c":0}],"\u00e9 ":{}}"#;
    let violations = read(body, CreateClient::read).unwrap_err();
    let found: Vec<_> = violations.iter().map(|(pointer, code, _)| (pointer.as_str(), *code)).collect();
    let expected = [
        ("#/name", "required"),
        ("#/note", "wrong_type"),
        ("#/max_age", "wrong_type"),
        ("#/enabled", "wrong_type"),
        ("#/roles/1", "wrong_type"),
        ("#/roles/2", "invalid_character"),
        ("#/owner", "wrong_type"),
        ("#/keys/0/id", "wrong_type"),
        ("#/keys/0/label", "wrong_type"),
        ("#/keys/1", "wrong_type"),
        ("#/keys/2/a~1b~0c", "unknown_field"),
        ("#/Name", "unknown_field"),
        ("#/%C3%A9%20", "unknown_field"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn long_names_point_to_their_object() {
    let name = "x".repeat(MAX_NAME_REPORTED + 1);
    let found = read(&format!(r#"{{"{name}":1}}"#), |_| Ok(())).unwrap_err();
    assert_eq!(found[0].0, "#");
    let body = format!(r#"{{"owner":{{"id":1,"label":null,"{name}":1}}}}"#);
    let found = read(&body, |fields| fields.object::<Owner>("owner")).unwrap_err();
    assert_eq!(found[0].0, "#/owner");
}

#[test]
fn violations_in_one_answer_are_bounded() {
    let members = |count: usize| (0..count).map(|n| format!("\"f{n}\":1")).collect::<Vec<_>>().join(",");
    let unknown = read(&format!("{{{}}}", members(100)), |_| Ok(()));
    assert_eq!(unknown.unwrap_err().len(), MAX_UNKNOWN_REPORTED);
    let owners = vec![format!(r#"{{"id":1,"label":null,{}}}"#, members(5)); 4].join(",");
    let unknown =
        read(&format!(r#"{{"a":[{owners}]}}"#), |fields| fields.list("a", 0..=4, Input::object::<Owner>));
    assert_eq!(unknown.unwrap_err().len(), MAX_UNKNOWN_REPORTED);
    let zeros = format!("{{\"a\":[{}]}}", vec!["0"; 1_000].join(","));
    let wrong = read(&zeros, |fields| fields.list("a", 0..=1_000, Input::boolean));
    assert_eq!(wrong.unwrap_err().len(), MAX_REPORTED);
}
