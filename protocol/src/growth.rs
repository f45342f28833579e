//! How a format grows: a document that a newer operator or agent wrote is read by older ones.
//!
//! | what is new | what an older reader does |
//! |---|---|
//! | a member | ignores it, and keeps it where it writes the document again |
//! | a member that `critical` names | does not use the document, and says that the agent is too old |
//! | a platform, an artifact format | skips the artifact |
//! | an event, a category, a responsible party | shows it as it came: a [`crate::Unlisted`] name |
//! | a format number | as with a critical member; it rises only for what no older reader may use |
//!
//! `critical` is a list of member names, as `crit` of a JWS (RFC 7515 section 4.1.11). It stands in the same object as the
//! members that it names.

use crate::json::{self, Limits, Members};
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use std::fmt;

/// The member that lists what must be understood.
pub const CRITICAL: &str = "critical";

/// Why a document was not read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unreadable {
    /// It is wrong for every reader.
    Malformed(String),
    /// It has a member that must be understood and that this version does not know.
    Critical(String),
    /// It has a format number above the one that this version knows.
    Format(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::Critical(why) | Self::Format(why) => write!(f, "{why}: update the agent first"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<String> for Unreadable {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

/// Reads a document of format 1 whose unknown members are ignored unless it says that they are critical. Returns those members.
///
/// # Errors
/// As [`Unreadable`] says; `what` names the document there.
pub(crate) fn read<T: DeserializeOwned>(what: &str, bytes: &[u8], limits: Limits) -> Result<(T, Members), Unreadable> {
    let malformed = |error: json::Error| Unreadable::Malformed(format!("{what} is malformed: {error}"));
    json::check(bytes, limits).map_err(malformed)?;
    let mut object: Members = json::from_slice(bytes).map_err(|error| malformed(json::Error::Syntax(error)))?;
    // Before anything else is read: what such a document looks like is not known here.
    match object.get("v").and_then(serde_json::Value::as_u64) {
        Some(0) => return Err(Unreadable::Malformed(format!("{what} has format 0, the first is 1"))),
        Some(v) if v > 1 => return Err(Unreadable::Format(format!("{what} has format {v}, this agent knows 1"))),
        _ => {}
    }
    let known = members::<T>();
    understood(what, &object, known)?;
    let document = json::from_slice(bytes).map_err(|error| malformed(json::Error::Syntax(error)))?;
    object.retain(|name, _| !known.contains(&name.as_str()));
    Ok((document, object))
}

/// Whether every member of `object` that its `critical` names is among the `known`.
///
/// # Errors
/// [`Unreadable::Critical`] names the first that is not; a list that makes no sense is malformed.
pub fn understood(what: &str, object: &Members, known: &[&str]) -> Result<(), Unreadable> {
    let Some(critical) = object.get(CRITICAL) else { return Ok(()) };
    let names: Option<Vec<&str>> = critical.as_array().and_then(|list| list.iter().map(|name| name.as_str()).collect());
    let names = names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| Unreadable::Malformed(format!("{what}: `{CRITICAL}` must be a list of one or more member names")))?;
    for name in names {
        let shown = crate::refusal::printable(name);
        if known.contains(&name) {
            continue;
        }
        return Err(if object.contains_key(name) {
            Unreadable::Critical(format!("{what} has the critical member {shown:?}"))
        } else {
            Unreadable::Malformed(format!("{what}: `{CRITICAL}` names {shown:?}, which is not there"))
        });
    }
    Ok(())
}

/// The names of a struct's members, as its derived `Deserialize` asks for them; none for any other type.
#[must_use]
pub fn members<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    let _ = T::deserialize(Names(&mut names));
    names
}

/// A deserializer that has nothing to give, and notes what it is asked for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("no value"))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = names;
        self.deserialize_any(visitor)
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_critical_must_be_known() {
        let read = |text: &str| understood("it", &serde_json::from_str(text).unwrap(), &["a", CRITICAL]);
        assert_eq!(read(r#"{"a":1,"b":2}"#), Ok(()));
        assert_eq!(read(r#"{"a":1,"b":2,"critical":["a"]}"#), Ok(()));
        let unknown = read(r#"{"a":1,"b":2,"critical":["a","b"]}"#);
        assert_eq!(unknown, Err(Unreadable::Critical("it has the critical member \"b\"".to_owned())));
        for wrong in [r#"{"critical":[]}"#, r#"{"critical":"a"}"#, r#"{"critical":[1]}"#, r#"{"critical":["b"]}"#] {
            assert!(matches!(read(wrong), Err(Unreadable::Malformed(_))), "{wrong}");
        }
    }
}
