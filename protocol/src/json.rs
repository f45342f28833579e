//! Strict JSON: bounded size and depth, no duplicate members, no arrays in place of objects.
//!
//! Parsers differ on duplicates (first wins, last wins); whoever signs with one and installs with another can be made to
//! disagree about what was signed. So signed bytes with a duplicate are refused before anything reads them. Likewise serde
//! reads `["a", 1]` for a struct of two members, which no other parser does; [`from_slice`] does not.

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

mod objects;

/// An object's members that are not of a type of ours.
pub type Members = serde_json::Map<String, serde_json::Value>;

/// What a JSON document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the whole document.
    pub bytes: usize,
    /// Nested arrays and objects. `serde_json` itself ends at 128.
    pub depth: usize,
}

/// Why a document was not read.
#[derive(Debug)]
pub enum Error {
    /// Larger than allowed: (bytes, limit).
    TooLarge(usize, usize),
    /// Not JSON, too deep, a member twice, or not the expected shape. Has line and column.
    Syntax(serde_json::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes, limit) => write!(f, "{bytes} bytes, more than the limit of {limit}"),
            Self::Syntax(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Parses `bytes` into `T` after [`check`].
///
/// ```
/// use slipway_protocol::json::{Limits, parse};
///
/// let limits = Limits { bytes: 64, depth: 2 };
/// assert_eq!(parse::<Vec<u8>>(b"[1, 2]", limits).unwrap(), [1, 2]);
/// assert!(parse::<serde_json::Value>(br#"{"a": 1, "a": 2}"#, limits).is_err());
/// assert!(parse::<serde_json::Value>(b"[[[1]]]", limits).is_err());
/// ```
///
/// # Errors
/// As [`check`] and [`from_slice`].
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, Error> {
    check(bytes, limits)?;
    from_slice(bytes).map_err(Error::Syntax)
}

/// Parses `bytes` that [`check`] has passed before. As `serde_json::from_slice`, but a struct is an object only, never an
/// array of its members' values.
///
/// # Errors
/// The document does not have the shape of `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(objects::Objects(&mut reader))?;
    reader.end()?;
    Ok(value)
}

/// As [`from_slice`], of a value that is parsed already.
///
/// # Errors
/// The value does not have the shape of `T`.
pub fn from_value<T: DeserializeOwned>(value: &serde_json::Value) -> Result<T, serde_json::Error> {
    T::deserialize(objects::Objects(value))
}

/// The members of what is written as an object.
///
/// # Errors
/// It is written as something else.
pub fn members_of(value: &impl serde::Serialize) -> Result<Members, serde_json::Error> {
    match serde_json::to_value(value)? {
        serde_json::Value::Object(members) => Ok(members),
        _ => Err(serde::ser::Error::custom("not an object")),
    }
}

/// Checks size, syntax, depth and that no object names a member twice; nothing else.
///
/// # Errors
/// [`Error::TooLarge`] or [`Error::Syntax`].
pub fn check(bytes: &[u8], limits: Limits) -> Result<(), Error> {
    if bytes.len() > limits.bytes {
        return Err(Error::TooLarge(bytes.len(), limits.bytes));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Unique(limits.depth).deserialize(&mut reader).map_err(Error::Syntax)?;
    reader.end().map_err(Error::Syntax)
}

/// Walks any JSON value and keeps nothing; the number is the remaining depth.
struct Unique(usize);

impl Unique {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Unique).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth = self.deeper::<A::Error>()?.0;
        while seq.next_element_seed(Unique(depth))?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.deeper::<A::Error>()?.0;
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(Unique(depth))?;
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("member {name:?} appears twice")));
            }
            seen.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { bytes: 200, depth: 3 };

    #[test]
    fn table() {
        let deep = "[[[[1]]]]";
        let wide = format!("\"{}\"", "x".repeat(200));
        for (text, ok) in [
            (r#"{"a":1,"b":[1,2.5,null,"x",true,-1]}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":2}"#, false),
            (r#"[{"b":{"a":1,"a":2}}]"#, false),
            (r#"{"a":{"x":1},"b":{"x":1}}"#, true),
            ("[[[1]]]", true),
            (deep, false),
            ("{} {}", false),
            ("", false),
            (&wide, false),
        ] {
            assert_eq!(check(text.as_bytes(), SMALL).is_ok(), ok, "{text}");
        }
    }
}
