//! Changes to valid JSON, chosen by the fuzzer's bytes: what a fuzzer of plain bytes would hardly ever find behind base64 and signatures.

use crate::tape::Tape;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The name under which a member is written twice; put right in the text, since a parsed object cannot hold it.
const TWICE: &str = "\u{1}twice";

/// Changes `document` in one to four places and writes it. `others` are valid documents of the same kind, to take parts from.
#[must_use]
pub fn mutant(document: &Value, others: &[Value], tape: &mut Tape<'_>) -> Vec<u8> {
    let mut changed = document.clone();
    let mut renames = Vec::new();
    for _ in 0..=tape.byte() % 4 {
        change(&mut changed, others, tape, &mut renames);
    }
    let mut text = changed.to_string();
    for (number, name) in renames.iter().enumerate() {
        text = text.replace(&json!(format!("{TWICE}{number}")).to_string(), &json!(name).to_string());
    }
    let mut bytes = text.into_bytes();
    match tape.byte() {
        // Seldom, since what is no JSON any more ends at the first gate.
        250..=252 if !bytes.is_empty() => {
            let at = tape.below(bytes.len());
            bytes[at] ^= tape.byte() | 1;
        }
        253 => bytes.truncate(tape.below(bytes.len())),
        254 => bytes.extend_from_slice(b" \n"),
        255 => bytes.extend_from_slice(b"{}"),
        _ => {}
    }
    bytes
}

/// Every place in a document, as JSON pointers.
#[must_use]
pub fn places(document: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    walk(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    walk(element, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(document, "", &mut found);
    found
}

/// Takes the member or element at `place` away.
pub fn remove(document: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(elements)) => {
            if let Some(index) = name.parse().ok().filter(|index| *index < elements.len()) {
                elements.remove(index);
            }
        }
        _ => {}
    }
}

fn change(document: &mut Value, others: &[Value], tape: &mut Tape<'_>, renames: &mut Vec<String>) {
    let all = places(document);
    let Some(place) = tape.pick(&all) else { return };
    let here = document.pointer(place).cloned().unwrap_or_default();
    let there = |tape: &mut Tape<'_>, same: bool| -> Option<Value> {
        let other = tape.pick(others)?;
        let place = if same { place.clone() } else { tape.pick(&places(other))?.clone() };
        other.pointer(&place).cloned()
    };
    let new = match tape.byte() % 13 {
        0 => return remove(document, place),
        1 => return twice(document, place, renames),
        2 => {
            let Some(second) = tape.pick(&all) else { return };
            let other = document.pointer(second).cloned().unwrap_or_default();
            set(document, second, here);
            other
        }
        3 | 4 => there(tape, true).unwrap_or_default(),
        5 => there(tape, false).unwrap_or_default(),
        6 | 7 => bits(&here, tape),
        8 => number(&here, tape),
        9 => constant(tape),
        10 => return add(document, place, tape),
        11 => spelled(&here, tape),
        _ => spliced(&here, tape),
    };
    set(document, place, new);
}

fn set(document: &mut Value, place: &str, value: Value) {
    if let Some(slot) = document.pointer_mut(place) {
        *slot = value;
    }
}

/// The same member or element again: next to itself in an array, under its own name in an object.
fn twice(document: &mut Value, place: &str, renames: &mut Vec<String>) {
    let Some(value) = document.pointer(place).cloned() else { return };
    let Some((parent, name)) = place.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.insert(format!("{TWICE}{}", renames.len()), value);
            renames.push(name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(elements)) => elements.push(value),
        _ => {}
    }
}

/// A flipped bit or a shorter end, of what base64 holds where it is base64, else of the text.
fn bits(value: &Value, tape: &mut Tape<'_>) -> Value {
    let Value::String(text) = value else { return number(value, tape) };
    let change = |bytes: &mut Vec<u8>, tape: &mut Tape<'_>| {
        let at = tape.below(bytes.len());
        match (tape.byte(), bytes.get_mut(at)) {
            (0..=31, _) => bytes.truncate(at),
            (32..=47, _) => bytes.push(0),
            (bit, Some(byte)) => *byte ^= 1 << (bit % 8),
            _ => {}
        }
    };
    let mut bytes = match STANDARD.decode(text) {
        Ok(mut decoded) if decoded.len() > 3 => {
            change(&mut decoded, tape);
            return Value::String(STANDARD.encode(decoded));
        }
        _ => text.clone().into_bytes(),
    };
    change(&mut bytes, tape);
    Value::String(String::from_utf8_lossy(&bytes).into_owned())
}

/// Another number, or the same as text or as a number.
fn number(value: &Value, tape: &mut Tape<'_>) -> Value {
    let old = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .unwrap_or_default();
    let new = match tape.byte() % 8 {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => old.wrapping_neg(),
        3 => i64::MAX,
        4 => i64::MIN,
        5 => 0,
        6 => i64::from(tape.byte()),
        _ => old,
    };
    match tape.byte() % 5 {
        0 => json!(new),
        1 => json!(format!("+{new}")),
        2 => json!(format!("0{new}")),
        3 => json!(new as f64),
        _ => json!(new.to_string()),
    }
}

fn constant(tape: &mut Tape<'_>) -> Value {
    match tape.byte() % 8 {
        0 => Value::Null,
        1 => json!({}),
        2 => json!([]),
        3 => json!(""),
        4 => json!(true),
        5 => json!([[], {}]),
        6 => json!("application/vnd.dev.sigstore.bundle+json;version=0.1"),
        _ => json!("application/vnd.dev.sigstore.bundle+json;version=0.2"),
    }
}

/// A member that nobody knows, or one that belongs elsewhere.
fn add(document: &mut Value, place: &str, tape: &mut Tape<'_>) {
    const NAMES: [&str; 8] = [
        "unknown",
        "keyid",
        "publicKey",
        "certificate",
        "x509CertificateChain",
        "messageSignature",
        "inclusionPromise",
        "integratedTime",
    ];
    let value = constant(tape);
    match document.pointer_mut(place) {
        Some(Value::Object(members)) => {
            members.insert(NAMES[tape.below(NAMES.len())].to_owned(), value);
        }
        Some(Value::Array(elements)) => elements.insert(0, value),
        Some(slot) => *slot = json!([slot.take()]),
        None => {}
    }
}

/// The same bytes in another spelling of base64, or the same text with something around it.
fn spelled(value: &Value, tape: &mut Tape<'_>) -> Value {
    let Value::String(text) = value else { return value.clone() };
    match (STANDARD.decode(text), tape.byte() % 5) {
        (Ok(bytes), 0) => json!(URL_SAFE_NO_PAD.encode(bytes)),
        (Ok(_), 1) => json!(text.trim_end_matches('=')),
        (_, 2) => json!(format!("{text}\n")),
        (_, 3) => json!(format!(" {text}")),
        _ => json!(text.to_uppercase()),
    }
}

/// A few of the tape's bytes in the middle.
fn spliced(value: &Value, tape: &mut Tape<'_>) -> Value {
    let Value::String(text) = value else { return constant(tape) };
    let decoded = STANDARD.decode(text).ok().filter(|bytes| bytes.len() > 3);
    let mut bytes = decoded.clone().unwrap_or_else(|| text.clone().into_bytes());
    let at = tape.below(bytes.len() + 1);
    let piece: Vec<u8> = (0..=tape.byte() % 4).map(|_| tape.byte()).collect();
    bytes.splice(at..at, piece);
    json!(decoded.map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), |_| STANDARD.encode(&bytes)))
}
