//! Declaring a request: which members its object has, and of which kinds.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use portcullis_domain::password::PlaintextPassword;
use zeroize::Zeroizing;

use super::value::{Object, Value};
use crate::respond::violation::{Violation, ViolationCode};

/// The result of reading a part of a request.
pub(crate) type Read<T> = Result<T, Noted>;

/// A part of a request is missing or wrong. The violation is in the report already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted(());

/// A request, or an object in one, that is read from the members of a JSON object:
///
/// ```ignore
/// fn read(fields: &mut Fields) -> Read<Self> {
///     let name = fields.string("name");
///     let note = fields.optional("note", Input::string);
///     let max_age = fields.integer("max_age", 0..=3600);
///     let roles = fields.list("roles", 0..=16, Input::string);
///     Ok(Self { name: name?, note: note?, max_age: max_age?, roles: roles? })
/// }
/// ```
pub(crate) trait FromFields: Sized {
    /// Reads all members, and only then uses `?`: a member that was not read is reported as unknown.
    ///
    /// # Errors
    /// [`Noted`] if a member is missing or wrong.
    fn read(fields: &mut Fields<'_>) -> Read<Self>;

    /// Returns what a request without a body means, if its body is optional.
    fn when_empty() -> Option<Self> {
        None
    }
}

/// Reads a request from the members of its body.
///
/// # Errors
/// All violations, in the order in which the members are read; of each object the unknown members come last.
pub(super) fn read_request<T>(
    object: Object,
    read: impl FnOnce(&mut Fields<'_>) -> Read<T>,
) -> Result<T, Vec<Violation>> {
    let report = RefCell::default();
    let request = Location { pointer: "#".to_owned(), report: &report }.read(object, read);
    let violations = report.into_inner().violations;
    match request {
        Ok(request) if violations.is_empty() => Ok(request),
        Ok(_) => Err(violations),
        Err(Noted(())) => {
            debug_assert!(!violations.is_empty(), "what is noted is in the report");
            Err(violations)
        }
    }
}

/// The members of an object that were not read yet.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    unread: Object,
    location: Location<'a>,
}

impl<'a> Fields<'a> {
    /// Reads a string.
    pub(crate) fn string(&mut self, name: &'static str) -> Read<String> {
        self.required(name, Input::string)
    }

    /// Reads a string that is wiped from memory.
    pub(crate) fn secret<T: From<Zeroizing<String>>>(&mut self, name: &'static str) -> Read<T> {
        self.required(name, Input::secret)
    }

    /// Reads a password.
    pub(crate) fn password(&mut self, name: &'static str) -> Read<PlaintextPassword> {
        self.secret(name)
    }

    /// Reads a username and a password.
    pub(crate) fn credentials(&mut self) -> Read<(String, PlaintextPassword)> {
        let username = self.string("username");
        let password = self.password("password");
        Ok((username?, password?))
    }

    /// Reads an integer within `range`.
    #[cfg_attr(not(any(test, fuzzing)), expect(dead_code, reason = "no route has integers yet"))]
    pub(crate) fn integer<N: Integer>(&mut self, name: &'static str, range: RangeInclusive<N>) -> Read<N> {
        self.required(name, |input| input.integer(range))
    }

    /// Reads a boolean.
    #[cfg_attr(not(test), expect(dead_code, reason = "no route has booleans yet"))]
    pub(crate) fn boolean(&mut self, name: &'static str) -> Read<bool> {
        self.required(name, Input::boolean)
    }

    /// Reads a list whose number of elements is within `length`.
    #[cfg_attr(not(test), expect(dead_code, reason = "no route has lists yet"))]
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        length: RangeInclusive<usize>,
        read: impl FnMut(Input<'a>) -> Read<T>,
    ) -> Read<Vec<T>> {
        self.required(name, |input| input.list(length, read))
    }

    /// Reads an object.
    #[cfg_attr(not(test), expect(dead_code, reason = "no route has nested objects yet"))]
    pub(crate) fn object<T: FromFields>(&mut self, name: &'static str) -> Read<T> {
        self.required(name, Input::object)
    }

    /// Reads a member that must be present but may be `null`.
    #[cfg_attr(
        not(any(test, fuzzing)),
        expect(dead_code, reason = "no route has members that may be `null` yet")
    )]
    pub(crate) fn nullable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Input<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.required(name, |input| input.nullable(read))
    }

    /// Reads a member that may be missing. `null` is a value like any other: a member that may also be `null` is
    /// [`Input::nullable`].
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Input<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.take(name).map(read).transpose()
    }

    fn required<T>(&mut self, name: &'static str, read: impl FnOnce(Input<'a>) -> Read<T>) -> Read<T> {
        match self.take(name) {
            Some(input) => read(input),
            None => Err(self.location.inside(name).note(ViolationCode::Required, "is required")),
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Input<'a>> {
        self.unread.remove(name).map(|value| Input { value, location: self.location.inside(name) })
    }
}

/// A value of a request that was not read yet.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    value: Value,
    location: Location<'a>,
}

impl<'a> Input<'a> {
    /// Reads a string.
    pub(crate) fn string(self) -> Read<String> {
        self.text().map(|mut text| std::mem::take(&mut *text))
    }

    /// Reads a string that is wiped from memory: it goes from one owner that wipes it to the next.
    pub(crate) fn secret<T: From<Zeroizing<String>>>(self) -> Read<T> {
        self.text().map(T::from)
    }

    fn text(self) -> Read<Zeroizing<String>> {
        match self.value {
            Value::Text(text) if text.contains('\0') => {
                Err(self.location.note(ViolationCode::InvalidCharacter, "must not contain the character NUL"))
            }
            Value::Text(text) => Ok(text),
            _ => Err(self.location.note(ViolationCode::WrongType, "must be a string")),
        }
    }

    /// Reads an integer within `range`. It is written in digits only: `1.0` and `1e3` are refused, because readers of JSON
    /// disagree about them.
    pub(crate) fn integer<N: Integer>(self, range: RangeInclusive<N>) -> Read<N> {
        let number = match self.value {
            Value::Integer(number) => number.try_into().ok().filter(|number| range.contains(number)),
            _ => None,
        };
        number.ok_or_else(|| {
            let message = format!("must be a whole number from {} to {}", range.start(), range.end());
            self.location.note(ViolationCode::WrongType, message)
        })
    }

    /// Reads a boolean.
    pub(crate) fn boolean(self) -> Read<bool> {
        match self.value {
            Value::Boolean(value) => Ok(value),
            _ => Err(self.location.note(ViolationCode::WrongType, "must be true or false")),
        }
    }

    /// Reads a list whose number of elements is within `length`. The elements of a list that is too long are not read.
    pub(crate) fn list<T>(
        self,
        length: RangeInclusive<usize>,
        mut read: impl FnMut(Input<'a>) -> Read<T>,
    ) -> Read<Vec<T>> {
        let Self { value: Value::List(elements), location } = self else {
            return Err(self.location.note(ViolationCode::WrongType, "must be a list"));
        };
        let message = || format!("must have from {} to {} elements", length.start(), length.end());
        if elements.len() > *length.end() {
            return Err(location.note(ViolationCode::TooLong, message()));
        }
        let too_short =
            (elements.len() < *length.start()).then(|| location.note(ViolationCode::TooShort, message()));
        let elements = elements.into_iter().enumerate();
        // All are read before the first wrong one ends it.
        let elements: Vec<_> =
            elements.map(|(n, value)| read(Input { value, location: location.inside(n) })).collect();
        too_short.map_or_else(|| elements.into_iter().collect(), Err)
    }

    /// Reads an object.
    pub(crate) fn object<T: FromFields>(self) -> Read<T> {
        match self.value {
            Value::Object(object) => self.location.read(object, T::read),
            _ => Err(self.location.note(ViolationCode::WrongType, "must be an object")),
        }
    }

    /// Reads a value that may be `null`.
    pub(crate) fn nullable<T>(self, read: impl FnOnce(Self) -> Read<T>) -> Read<Option<T>> {
        match self.value {
            Value::Null => Ok(None),
            _ => read(self).map(Some),
        }
    }
}

/// A type of integers that requests may have.
pub(crate) trait Integer: Copy + PartialOrd + fmt::Display + TryFrom<i64> {}

impl<N: Copy + PartialOrd + fmt::Display + TryFrom<i64>> Integer for N {}

/// A location in a request, with the report of the whole request.
#[derive(Debug)]
struct Location<'a> {
    pointer: String,
    report: &'a RefCell<Report>,
}

impl<'a> Location<'a> {
    fn read<T>(self, object: Object, read: impl FnOnce(&mut Fields<'a>) -> Read<T>) -> Read<T> {
        let mut fields = Fields { unread: object, location: self };
        let value = read(&mut fields);
        let Fields { unread, location } = fields;
        let mut report = location.report.borrow_mut();
        for name in unread.keys() {
            report.note_unknown(&location.pointer, name);
        }
        value
    }

    /// Returns the location of a declared member or of an element: its name needs no escapes.
    fn inside(&self, part: impl fmt::Display) -> Self {
        Self { pointer: format!("{}/{part}", self.pointer), report: self.report }
    }

    fn note(&self, code: ViolationCode, message: impl Into<Cow<'static, str>>) -> Noted {
        self.report.borrow_mut().note(Violation::new(self.pointer.clone(), code, message));
        Noted(())
    }
}

/// The violations of a request. An answer is no echo, so their number is bounded.
#[derive(Debug, Default)]
struct Report {
    violations: Vec<Violation>,
    unknown: usize,
}

impl Report {
    fn note(&mut self, violation: Violation) {
        if self.violations.len() < MAX_REPORTED {
            self.violations.push(violation);
        }
    }

    fn note_unknown(&mut self, object: &str, name: &str) {
        if self.unknown < MAX_UNKNOWN_REPORTED {
            self.unknown += 1;
            let pointer = pointer_into(object, name);
            self.note(Violation::new(pointer, ViolationCode::UnknownField, "is not a field of this request"));
        }
    }
}

/// Returns the JSON pointer to a member of the request, as a URI fragment (RFC 6901, section 6). A name too long to be a
/// slip of the pen is not sent back: the pointer then is to the object.
pub(crate) fn pointer_to(name: &str) -> String {
    pointer_into("#", name)
}

/// Returns the JSON pointer to a member of `object`.
fn pointer_into(object: &str, name: &str) -> String {
    let mut pointer = object.to_owned();
    if name.len() > MAX_NAME_REPORTED {
        return pointer;
    }
    pointer.push('/');
    for byte in name.bytes() {
        match byte {
            b'~' => pointer.push_str("~0"),
            b'/' => pointer.push_str("~1"),
            b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => pointer.push(char::from(byte)),
            _ => {
                pointer.push('%');
                pointer.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
        }
    }
    pointer
}

/// The most violations, and the most unknown members among them, that one answer reports; and the longest name of an unknown
/// member that it contains, in bytes.
const MAX_REPORTED: usize = 64;
const MAX_UNKNOWN_REPORTED: usize = 8;
const MAX_NAME_REPORTED: usize = 64;
