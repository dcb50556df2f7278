//! The values of a body: the grammar is `serde_json`'s, and what it leaves to its caller is decided here.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// The most objects and lists that may enclose each other, the body's own object included.
pub(super) const MAX_DEPTH: usize = 127;

/// The members of a JSON object.
pub(super) type Object = BTreeMap<String, Value>;

/// A JSON value. Its texts are wiped on drop, because any of them may be a secret.
pub(super) enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    /// A number with a fraction or an exponent, `-0`, or an integer that needs more than 64 bits with a sign.
    OtherNumber,
    Text(Zeroizing<String>),
    List(Vec<Value>),
    Object(Object),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(..)")
    }
}

/// Reads a body, which must be one JSON object without a repeated key at any level.
///
/// # Errors
/// For anything else, including what `serde_json` cannot represent although the grammar of JSON allows it: a number beyond
/// `f64`. The error may quote the body.
pub(super) fn read_object(body: &[u8]) -> serde_json::Result<Object> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Reader { depth_left: MAX_DEPTH }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(serde_json::Error::custom("must be an object")),
    }
}

/// Reads one value with everything inside it.
#[derive(Clone, Copy)]
struct Reader {
    depth_left: usize,
}

impl Reader {
    /// Returns the reader of the values in a list or an object. `serde_json` stops at the same depth by default, but does not
    /// promise to.
    fn inside<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.try_into().map_or(Value::OtherNumber, Value::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(inside)? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Object::new();
        while let Some(key) = members.next_key()? {
            if object.insert(key, members.next_value_seed(inside)?).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// Returns the same value as another reader of JSON has it. Integers beyond 64 bits have no one form there.
    fn as_json(value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Boolean(value) => json!(value),
            Value::Integer(number) => json!(number),
            Value::OtherNumber => json!("other number"),
            Value::Text(text) => json!(**text),
            Value::List(list) => list.iter().map(as_json).collect(),
            Value::Object(object) => {
                object.iter().map(|(key, value)| (key.clone(), as_json(value))).collect()
            }
        }
    }

    /// Replaces the numbers that are no 64-bit integers.
    fn without_other_numbers(value: Json) -> Json {
        match value {
            Json::Number(number) if number.as_i64().is_none() => json!("other number"),
            Json::Array(list) => list.into_iter().map(without_other_numbers).collect(),
            Json::Object(object) => {
                object.into_iter().map(|(key, value)| (key, without_other_numbers(value))).collect()
            }
            other => other,
        }
    }

    fn read(text: &str) -> Option<Json> {
        read_object(text.as_bytes()).ok().map(|object| as_json(&Value::Object(object)))
    }

    #[test]
    fn values_of_each_kind_are_read() {
        let check = |text: &str, expected: Json| {
            assert_eq!(read(&format!("{{\"a\":{text}}}")), Some(json!({ "a": expected })), "{text}");
        };
        check("null", Json::Null);
        check("true", json!(true));
        check("false", json!(false));
        check("\"\\u00e9\\\\\"", json!("é\\"));
        check("[]", json!([]));
        check("[1,[\"x\"],{}]", json!([1, ["x"], {}]));
        check("{\"b\":{\"a\":1}}", json!({"b": {"a": 1}}));
        check("0", json!(0));
        check("-7", json!(-7));
        check("9223372036854775807", json!(i64::MAX));
        check("-9223372036854775808", json!(i64::MIN));
        for other in [
            "9223372036854775808",
            "18446744073709551616",
            "-9223372036854775809",
            "1.0",
            "1e2",
            "1E-2",
            "-0",
            "-0.0",
            "9007199254740993.0",
        ] {
            check(other, json!("other number"));
        }
    }

    #[test]
    fn repeated_keys_at_any_level_are_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[0,{"b":1,"c":2,"b":3}]}"#,
            r#"{"a":[[[{"b":{"c":[],"c":[]}}]]]}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(read(r#"{"a":{"a":[{"a":1},{"a":1}]},"b":{"a":1}}"#).is_some());
    }

    #[test]
    fn bodies_other_than_objects_are_refused() {
        for text in ["", "null", "true", "7", "\"a\"", "[]", "[{}]", "{}{}", "{}]", "{} x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_whatever_the_library_allows() {
        let objects = |levels: usize| (1..levels).fold(json!({}), |inside, _| json!({ "a": inside }));
        let lists = |levels: usize| json!({ "a": (2..levels).fold(json!([]), |inside, _| json!([inside])) });
        for nest in [objects as fn(usize) -> Json, lists] {
            assert!(read(&nest(MAX_DEPTH).to_string()).is_some());
            assert!(read(&nest(MAX_DEPTH + 1).to_string()).is_none());
            // A value that was parsed before has no limit of the library's.
            let read = |json: Json| Reader { depth_left: MAX_DEPTH }.deserialize(json).is_ok();
            assert!(read(nest(MAX_DEPTH)) && !read(nest(MAX_DEPTH + 1)));
        }
    }

    // ASVS 11.7.2
    #[test]
    fn texts_are_wiped_on_drop() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let mut object = read_object(br#"{"a":"hunter2"}"#).unwrap();
        let Some(Value::Text(text)) = object.remove("a") else { panic!("it is a text") };
        is_wiped(&text);
    }

    #[test]
    fn debug_shows_no_value() {
        let object = read_object(br#"{"a":"hunter2","b":[4711,{"c":true}]}"#).unwrap();
        assert_eq!(format!("{object:?}"), r#"{"a": Value(..), "b": Value(..)}"#);
    }

    /// A value as it is written, and whether a key in it is repeated.
    fn written() -> impl Strategy<Value = (String, bool)> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            any::<String>().prop_map(|text| Json::from(text).to_string()),
            "\"(\\\\u00[0-7][0-9a-f]|\\\\[nrtbf\"/\\\\]|[a-c ])*\"",
        ];
        leaf.prop_map(|text| (text, false)).prop_recursive(5, 32, 4, |inner| {
            let keys = prop_oneof![
                "[ab]",
                "\\\\u006[12]",
                any::<String>().prop_map(|key| {
                    let quoted = Json::from(key).to_string();
                    quoted[1..quoted.len() - 1].to_owned()
                })
            ];
            let members = prop::collection::vec(("[ \t\r\n]{0,2}", keys, inner.clone()), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|elements| {
                    let (texts, repeats): (Vec<_>, Vec<_>) = elements.into_iter().unzip();
                    (format!("[{}]", texts.join(" ,")), repeats.contains(&true))
                }),
                members.prop_map(|members| object(&members)),
            ]
        })
    }

    fn object(members: &[(String, String, (String, bool))]) -> (String, bool) {
        let decoded = |key: &str| serde_json::from_str::<String>(&format!("\"{key}\"")).unwrap();
        let mut keys: Vec<_> = members.iter().map(|(_, key, _)| decoded(key)).collect();
        keys.sort();
        keys.dedup();
        let repeats = keys.len() < members.len() || members.iter().any(|(.., (_, repeats))| *repeats);
        let texts: Vec<_> =
            members.iter().map(|(space, key, (text, _))| format!("{space}\"{key}\"{space}:{text}")).collect();
        (format!("{{{}}}", texts.join(",")), repeats)
    }

    proptest! {
        #[test]
        fn objects_read_as_serde_json_reads_them((text, repeats) in written()) {
            let text = format!("{{\"a\":{text}}}");
            let expected = serde_json::from_str::<Json>(&text).ok().filter(|_| !repeats);
            prop_assert_eq!(read(&text), expected.map(without_other_numbers), "{}", text);
        }
    }
}
