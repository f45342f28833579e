//! A record as it is in the database, also one that an older or a newer agent wrote.
//!
//! | what is not known here | what becomes of it |
//! |---|---|
//! | a member of the record | kept, and written again |
//! | a member further inside | ignored |
//! | a state, or one with members that are missing here | the witness says what it meant: see `rebuild` |
//! | any other part without which an update can go on | left out |
//! | floor, blocks, committed releases | never left out: the record is damaged then |

use crate::storage::beside;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use slipway_machine::record::Record;
use slipway_protocol::growth::members;
use slipway_protocol::json::Members;

/// A record and when it was committed.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) generation: u64,
    pub(super) record: Record,
    /// Members of the record that a newer agent wrote.
    pub(super) more: Members,
}

/// How it is written. Agents of `formats-1` read the first two.
#[derive(Deserialize, Serialize)]
struct Written {
    generation: u64,
    record: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beside: Option<Value>,
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serde_json::to_value(&self.record).map_err(serde::ser::Error::custom)?;
        beside::join(&mut record, Value::Object(self.more.clone()));
        let beside = beside::split(&mut record, &beside::RECORD);
        Written { generation: self.generation, record, beside }.serialize(serializer)
    }
}

/// Parts of a record without which it is still one.
const SPARE: [&str; 7] = ["state", "ring", "checked", "last", "missed", "damage", "trouble"];

impl Stored {
    /// Reads one, and says which parts could not be read and were left out.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, Vec<&'static str>), serde_json::Error> {
        let Written { generation, mut record, beside } = serde_json::from_slice(bytes)?;
        beside.into_iter().for_each(|beside| beside::join(&mut record, beside));
        let (record, more, left_out) = match serde_json::from_value::<Record>(record.clone()) {
            Ok(known) => (known, more(record), Vec::new()),
            Err(error) => {
                let (known, left_out) = without_unreadable(&record).ok_or(error)?;
                (known, more(record), left_out)
            }
        };
        Ok((Self { generation, record, more }, left_out))
    }
}

fn more(record: Value) -> Members {
    let Value::Object(mut object) = record else { return Members::new() };
    let known = members::<Record>();
    object.retain(|name, _| !known.contains(&name.as_str()));
    object
}

fn without_unreadable(record: &Value) -> Option<(Record, Vec<&'static str>)> {
    let all = record.as_object()?;
    let read = |object: &Members| serde_json::from_value::<Record>(Value::Object(object.clone())).ok();
    let mut least = all.clone();
    for name in SPARE {
        least.insert(name.to_owned(), Value::Null);
    }
    least.insert("state".to_owned(), serde_json::json!({ "name": "idle" }));
    let mut known = read(&least)?;
    let mut left_out = Vec::new();
    for name in SPARE {
        let Some(part) = all.get(name) else { continue };
        let before = least.insert(name.to_owned(), part.clone());
        match read(&least) {
            Some(more) => known = more,
            None => {
                left_out.push(name);
                least.insert(name.to_owned(), before.unwrap_or_default());
            }
        }
    }
    Some((known, left_out))
}
