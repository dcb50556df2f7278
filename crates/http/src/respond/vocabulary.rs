//! Schemas that several types share.

use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// Returns the schema of a word from a list that grows. It is a plain string, so that generated clients accept words that
/// they do not know.
pub(crate) fn open_list(
    meaning: &str,
    words: impl IntoIterator<Item = String>,
    example: &str,
) -> RefOr<Schema> {
    let words: Vec<_> = words.into_iter().map(|word| format!("- {word}")).collect();
    let description =
        format!("{meaning} The list grows: clients must accept unknown values.\n\n{}", words.join("\n"));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some("^[a-z0-9_]+$"))
        .examples([example])
        .into()
}

/// Returns the schema of a string with only one value.
pub(crate) fn constant(value: &'static str) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String);
    // A keyword of JSON Schema that utoipa does not have.
    object.extensions(Some([("const", value)].into_iter().collect())).into()
}
