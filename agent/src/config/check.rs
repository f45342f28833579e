//! Finds every mistake in a configuration's text, with its line, for the service and `config check`.
//!
//! Two passes: first each key and its type, then rules about values and between keys. The second pass needs the complete configuration, so
//! it runs only when the first one finds nothing.

use super::{CONFIG, Config};
use serde::Deserialize as _;
use slipway_protocol::Refusal;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Where, counted from 1; none for what is missing altogether.
    pub line: Option<usize>,
    /// What.
    pub refusal: Refusal,
}

impl Mistake {
    /// The refusal with the place in what was seen.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self.line {
            Some(line) => Refusal { seen: format!("line {line}: {}", self.refusal.seen), ..self.refusal },
            None => self.refusal,
        }
    }
}

/// `LINE: CODE: …`, to be put behind the file's name as compilers do.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{line}: {}", self.refusal),
            None => write!(f, " {}", self.refusal),
        }
    }
}

/// A value that breaks a rule: the key to blame, written as `component.0.run.unit`, and why.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) key: String,
    pub(super) refusal: Refusal,
}

/// Reads a configuration.
///
/// # Errors
/// All mistakes that the text alone shows, by line.
pub(super) fn read(text: &str) -> Result<Config, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What was meant by a line that is no TOML is a guess, and so is each mistake that follows from it.
        let mut mistakes = by_line(errors.iter().map(|error| unreadable(text, error.span(), error.message())).collect());
        // The parser may stumble over one line more than once.
        mistakes.dedup_by_key(|mistake| mistake.line);
        return Err(mistakes);
    }
    let config = keys(text, table.clone()).map_err(by_line)?;
    let locate = |key: &str| line(text, spot(table.get_ref(), key));
    let violations = config.violations().into_iter();
    let mistakes: Vec<_> = violations.map(|wrong| Mistake { line: locate(&wrong.key), refusal: wrong.refusal }).collect();
    if mistakes.is_empty() { Ok(config) } else { Err(by_line(mistakes)) }
}

fn by_line(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|mistake| mistake.line);
    mistakes
}

fn unreadable(text: &str, span: Option<Range<usize>>, message: &str) -> Mistake {
    let idn = message.contains(&url::ParseError::IdnaError.to_string());
    let expected = if idn { "a host name in ASCII; an international one in its form that begins with xn--" } else { "" };
    Mistake { line: line(text, span), refusal: CONFIG.with(message, expected) }
}

/// The line that a place is in. What spans all of the file is in none.
fn line(text: &str, span: Option<Range<usize>>) -> Option<usize> {
    let span = span.filter(|span| !(span.start == 0 && span.end >= text.trim_end().len()))?;
    Some(text.get(..span.start)?.matches('\n').count().saturating_add(1))
}

/// Reads all keys. serde ends at the first mistake, so what is mistaken is taken out and the rest is read again: each round takes one
/// entry out, so there are no more rounds than entries.
fn keys(text: &str, mut table: Spanned<DeTable<'_>>) -> Result<Config, Vec<Mistake>> {
    let (mut mistakes, mut gone) = (Vec::new(), Vec::<Taken>::new());
    loop {
        let error: Error = match Config::deserialize(Deserializer::from(table.clone())) {
            Ok(config) if mistakes.is_empty() => return Ok(config),
            Ok(_) => return Err(mistakes),
            Err(error) => error,
        };
        let (message, at) = (error.message(), error.span());
        let all = table.span();
        let taken = at.as_ref().and_then(|at| take(table.get_mut(), &all, at, message));
        // What is missing may be what was taken out, or what an unknown key was meant to be.
        let missing = quoted(message).filter(|_| message.starts_with("missing field"));
        let follows =
            |gone: &Taken| missing == Some(&gone.key) || (gone.unknown && at.as_ref().is_some_and(|at| *at == gone.table));
        if !gone.iter().any(follows) {
            let blamed = taken.as_ref().and_then(|taken| taken.blamed.clone());
            mistakes.push(unreadable(text, blamed.or(at), message));
        }
        let Some(taken) = taken else { return Err(mistakes) };
        gone.push(taken);
    }
}

/// The first word in backticks.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// An entry that was taken out.
struct Taken {
    /// Its key; empty for an element of an array.
    key: String,
    /// Whether there is no such key.
    unknown: bool,
    /// The place of the table that it was in.
    table: Range<usize>,
    /// The place of the key inside it that the mistake's message begins with, where a table was read and then refused.
    blamed: Option<Range<usize>>,
}

/// Takes out the deepest entry whose key or value is at a place. `span` is the table's own.
fn take(table: &mut DeTable<'_>, span: &Range<usize>, at: &Range<usize>, message: &str) -> Option<Taken> {
    if let Some(taken) = table.iter_mut().find_map(|(_, value)| take_inside(value, at, message)) {
        return Some(taken);
    }
    let (key, _) = table.iter().find(|(key, value)| covers(&key.span(), at) || covers(&value.span(), at))?;
    let key = key.get_ref().to_string();
    let value = table.remove(key.as_str())?;
    let unknown = message.starts_with("unknown field");
    Some(Taken { key, unknown, table: span.clone(), blamed: blamed(&value, message) })
}

fn take_inside(value: &mut Spanned<DeValue<'_>>, at: &Range<usize>, message: &str) -> Option<Taken> {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => take(table, &span, at, message),
        DeValue::Array(array) => {
            if let Some(taken) = array.iter_mut().find_map(|value| take_inside(value, at, message)) {
                return Some(taken);
            }
            let wrong = array.iter().find(|value| covers(&value.span(), at))?;
            let (gone, blamed) = (wrong.span(), blamed(wrong, message));
            *array = std::mem::replace(array, DeArray::new()).into_iter().filter(|value| value.span() != gone).collect();
            Some(Taken { key: String::new(), unknown: false, table: span, blamed })
        }
        _ => None,
    }
}

fn covers(span: &Range<usize>, at: &Range<usize>) -> bool {
    span.start <= at.start && at.end <= span.end
}

fn blamed(value: &Spanned<DeValue<'_>>, message: &str) -> Option<Range<usize>> {
    let key = quoted(message).filter(|_| message.starts_with('`'))?;
    let DeValue::Table(table) = value.get_ref() else { return None };
    table.get_key_value(key).map(|(key, _)| key.span())
}

/// Where a key is, or the last table on the way to it that is there.
fn spot(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let (mut found, mut inner) = (None, Some(table));
    let mut steps = key.split('.').peekable();
    while let Some(step) = steps.next() {
        let Some((key, value)) = inner.and_then(|table| table.get_key_value(step)) else { break };
        found = Some(key.span());
        inner = match value.get_ref() {
            DeValue::Table(table) => Some(table),
            DeValue::Array(array) => {
                let Some(index) = steps.peek().and_then(|index| index.parse::<usize>().ok()) else { break };
                steps.next();
                let Some(element) = array.get(index) else { break };
                found = Some(element.span());
                match element.get_ref() {
                    DeValue::Table(table) => Some(table),
                    _ => None,
                }
            }
            _ => None,
        };
    }
    found
}
