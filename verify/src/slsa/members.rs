//! Reading of JSON objects that leaves no member unnoticed: members are taken out, and what nobody took is an input.

use crate::error::Check;
use serde_json::{Map, Value};
use slipway_protocol::Refusal;
use std::collections::BTreeMap;

/// The members of an object that nobody has read yet. An array is no object.
#[derive(Debug)]
pub(super) struct Members<'v> {
    /// Where the object is, for messages.
    at: String,
    left: BTreeMap<&'v str, &'v Value>,
}

impl<'v> Members<'v> {
    /// Of a value that must be an object.
    pub(super) fn of(value: &'v Value, at: &str) -> Result<Self, Refusal> {
        let members: &Map<String, Value> =
            value.as_object().ok_or_else(|| Check::ProvenanceMalformed.refuse(value, format_args!("an object: {at}")))?;
        Ok(Self { at: at.to_owned(), left: members.iter().map(|(name, value)| (name.as_str(), value)).collect() })
    }

    /// Of nothing.
    pub(super) fn none() -> Self {
        Self { at: String::new(), left: BTreeMap::new() }
    }

    /// Whether a member has something in it and was not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_null())
    }

    /// A member, whatever it is; null is nothing.
    pub(super) fn take(&mut self, name: &str) -> Option<&'v Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A member that is an object if it is there.
    pub(super) fn object(&mut self, name: &str) -> Result<Self, Refusal> {
        let at = format!("{}.{name}", self.at);
        match self.take(name) {
            Some(value) => Self::of(value, &at),
            None => Ok(Self { at, left: BTreeMap::new() }),
        }
    }

    /// A member that must be there and an object.
    pub(super) fn need_object(&mut self, name: &str) -> Result<Self, Refusal> {
        if self.has(name) { self.object(name) } else { Err(self.missing("nothing", name)) }
    }

    /// A member that is an array if it is there.
    pub(super) fn list(&mut self, name: &str) -> Result<&'v [Value], Refusal> {
        match self.take(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(Check::ProvenanceMalformed.refuse(other, format_args!("an array: {}.{name}", self.at))),
        }
    }

    /// One fact under all its names, in small letters and capitals alike: each is read, and they must agree. Nothing if none is there, or
    /// all are empty.
    pub(super) fn fact(&mut self, names: &[&str], check: Check) -> Result<Option<String>, Refusal> {
        let told = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut values = Vec::new();
        self.left.retain(|name, value| {
            let taken = told(name);
            if taken {
                values.push(*value);
            }
            !taken
        });
        let values: Vec<String> = values.into_iter().map(plain).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        fact(values, check)
    }

    /// A text that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<String, Refusal> {
        self.fact(&[name], Check::ProvenanceMalformed)?.ok_or_else(|| self.missing("no text", name))
    }

    fn missing(&self, seen: &str, name: &str) -> Refusal {
        Check::ProvenanceMalformed.refuse(seen, format_args!("{}.{name}", self.at))
    }

    /// Whatever is left counts as an input. `head` goes before the names.
    pub(super) fn into_inputs(self, head: &str, inputs: &mut Inputs) {
        for (name, value) in self.left {
            inputs.add(&if head.is_empty() { name.to_owned() } else { format!("{head}.{name}") }, value);
        }
    }
}

/// One fact that several places tell: all must say the same.
pub(super) fn fact(values: impl IntoIterator<Item = String>, check: Check) -> Result<Option<String>, Refusal> {
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return Ok(None) };
    match values.find(|value| *value != first) {
        Some(other) => Err(check.refuse(format_args!("{other}, under another name"), first)),
        None => Ok(Some(first)),
    }
}

/// A text or a number, as text; nothing if it is missing or empty. Of another type it could not be compared, and would count as missing.
fn plain(value: &Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(Check::ProvenanceMalformed.refuse(other, "a text or a number")),
    }
}

/// What a build was given from outside, by name.
#[derive(Debug, Default)]
pub(super) struct Inputs(pub(super) BTreeMap<String, String>);

impl Inputs {
    /// Adds an input as text: the members of an object one by one, as `name.member`. Null and what has nothing in it is no input. The same
    /// name with another value elsewhere gets a name that no policy can pin.
    pub(super) fn add(&mut self, name: &str, value: &Value) {
        let value = match value {
            Value::Null => return,
            Value::Array(items) if items.is_empty() => return,
            Value::Object(members) => {
                members.iter().for_each(|(member, value)| self.add(&format!("{name}.{member}"), value));
                return;
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.0.get(name) {
            Some(known) if *known != value => self.0.insert(format!("{name} (a second value)"), value),
            _ => self.0.insert(name.to_owned(), value),
        };
    }

    /// Adds inputs that are listed by name.
    pub(super) fn add_named(&mut self, value: Option<&Value>) {
        match value {
            None => {}
            Some(Value::Object(members)) => members.iter().for_each(|(name, value)| self.add(name, value)),
            Some(value) => self.add("inputs", value),
        }
    }
}
