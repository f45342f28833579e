//! Reading of JSON objects that leaves no member unnoticed: members are taken out, and what nobody
//! took is an input.

use crate::error::Check;
use serde_json::{Map, Value};
use slipway_protocol::Refusal;
use std::collections::BTreeMap;

/// The members of an object, and which of them were taken. An array is no object.
#[derive(Debug)]
pub(super) struct Members<'v> {
    /// Where the object is, for messages.
    at: String,
    all: Option<&'v Map<String, Value>>,
    taken: Vec<&'v str>,
}

impl<'v> Members<'v> {
    /// Of a value that must be an object.
    pub(super) fn of(value: &'v Value, at: &str) -> Result<Self, Refusal> {
        let all = value.as_object().ok_or_else(|| Check::ProvenanceMalformed.refuse(value, format_args!("an object: {at}")))?;
        Ok(Self { at: at.to_owned(), all: Some(all), taken: Vec::new() })
    }

    /// Of nothing.
    pub(super) fn none() -> Self {
        Self { at: String::new(), all: None, taken: Vec::new() }
    }

    /// What nobody has taken.
    fn left(&self) -> impl Iterator<Item = (&'v str, &'v Value)> {
        let all = self.all.into_iter().flatten().map(|(name, value)| (name.as_str(), value));
        all.filter(|(name, _)| !self.taken.contains(name))
    }

    /// Whether a member has something in it and was not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all.and_then(|all| all.get(name)).is_some_and(|value| !value.is_null()) && !self.taken.contains(&name)
    }

    /// A member, whatever it is; null is nothing.
    pub(super) fn take(&mut self, name: &str) -> Option<&'v Value> {
        let (name, value) = self.all?.get_key_value(name).filter(|(name, _)| !self.taken.contains(&name.as_str()))?;
        self.taken.push(name);
        Some(value).filter(|value| !value.is_null())
    }

    /// A member that is an object if it is there.
    pub(super) fn object(&mut self, name: &str) -> Result<Self, Refusal> {
        let at = format!("{}.{name}", self.at);
        match self.take(name) {
            Some(value) => Self::of(value, &at),
            None => Ok(Self { at, ..Self::none() }),
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

    /// One fact under all its names, in small letters and capitals alike: each is read, and they
    /// must agree. Nothing if none is there, or all are empty.
    pub(super) fn fact(&mut self, names: &[&str], check: Check) -> Result<Option<String>, Refusal> {
        let one_of = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let found: Vec<_> = self.left().filter(|(name, _)| one_of(name)).collect();
        self.taken.extend(found.iter().map(|(name, _)| *name));
        let values: Vec<Option<String>> = found.into_iter().map(|(_, value)| plain(value)).collect::<Result<_, _>>()?;
        fact(values.into_iter().flatten(), check)
    }

    /// A text that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<String, Refusal> {
        self.fact(&[name], Check::ProvenanceMalformed)?.ok_or_else(|| self.missing("no text", name))
    }

    fn missing(&self, seen: &str, name: &str) -> Refusal {
        Check::ProvenanceMalformed.refuse(seen, format_args!("{}.{name}", self.at))
    }

    /// Whatever is left counts as an input. `head` goes before the names.
    pub(super) fn into_inputs(self, head: &str, inputs: &mut Inputs) -> Result<(), Refusal> {
        self.left().try_for_each(|(name, value)| inputs.add(&inputs.joined(head, name)?, value))
    }
}

/// One fact that several places state: all must agree.
pub(super) fn fact(values: impl IntoIterator<Item = String>, check: Check) -> Result<Option<String>, Refusal> {
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return Ok(None) };
    match values.find(|value| *value != first) {
        Some(other) => Err(check.refuse(format_args!("{other}, under another name"), first)),
        None => Ok(Some(first)),
    }
}

/// A text or a number, as text; nothing if it is missing or empty. Of another type it could not be
/// compared, and would count as missing.
fn plain(value: &Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => Err(Check::ProvenanceMalformed.refuse(other, "a text or a number")),
    }
}

/// Bytes of all inputs together, names and values: as much as one statement may have. The name
/// of an input holds those of all objects around it, so without a limit a small statement could
/// ask for any amount of memory.
const INPUT_LIMIT: usize = 1024 * 1024;

/// What the name of an input gets that has another value elsewhere. Policies cannot pin such names.
pub(crate) const SECOND_VALUE: &str = " (a second value)";

/// What a build was given from outside, by name.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    all: BTreeMap<String, String>,
    bytes: usize,
}

impl Inputs {
    /// Adds an input as text: the members of an object one by one, as `name.member`. Null and what
    /// has nothing in it is no input. The same name with another value elsewhere gets a name that
    /// no policy can pin.
    pub(super) fn add(&mut self, name: &str, value: &Value) -> Result<(), Refusal> {
        let value = match value {
            Value::Null => return Ok(()),
            Value::Array(items) if items.is_empty() => return Ok(()),
            Value::Object(members) => {
                return members.iter().try_for_each(|(member, value)| self.add(&self.joined(name, member)?, value));
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut name = name.to_owned();
        while self.all.get(&name).is_some_and(|known| *known != value) {
            name.push_str(SECOND_VALUE);
        }
        self.bytes = self.bytes.saturating_add(name.len()).saturating_add(value.len());
        self.bounded(0)?;
        self.all.insert(name, value);
        Ok(())
    }

    /// Adds inputs that are listed by name.
    pub(super) fn add_named(&mut self, value: Option<&Value>) -> Result<(), Refusal> {
        match value {
            None => Ok(()),
            Some(Value::Object(members)) => members.iter().try_for_each(|(name, value)| self.add(name, value)),
            Some(value) => self.add("inputs", value),
        }
    }

    /// All of them by name.
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.all
    }

    /// The name of a member, with what it is a member of before it.
    fn joined(&self, head: &str, member: &str) -> Result<String, Refusal> {
        self.bounded(head.len().saturating_add(member.len()))?;
        Ok(if head.is_empty() { member.to_owned() } else { format!("{head}.{member}") })
    }

    fn bounded(&self, more: usize) -> Result<(), Refusal> {
        if self.bytes.saturating_add(more) > INPUT_LIMIT {
            return Err(Check::ProvenanceMalformed.refuse("more", format_args!("inputs of at most {INPUT_LIMIT} bytes")));
        }
        Ok(())
    }
}
