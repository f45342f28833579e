//! Feeds what the broker and the agent's socket bring, and the JSON gate before all of it.

use serde_json::Value;
use slipway_agent::control::{Request, Response};
use slipway_protocol::json::{self, Limits};
use slipway_protocol::{Notice, Report};

/// How many members a JSON text names, whether twice or not: colons outside of strings.
#[must_use]
pub fn members_written(json: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for byte in json {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => inside = !inside,
            (false, b':') => count += 1,
            _ => {}
        }
    }
    count
}

/// How deep arrays and objects nest, and how many members a parsed document has.
fn shape(value: &Value) -> (usize, usize) {
    let inner: Vec<(usize, usize)> = match value {
        Value::Object(members) => members.values().map(shape).collect(),
        Value::Array(elements) => elements.iter().map(shape).collect(),
        _ => return (0, 0),
    };
    let own = value.as_object().map_or(0, serde_json::Map::len);
    (1 + inner.iter().map(|(depth, _)| *depth).max().unwrap_or(0), own + inner.iter().map(|(_, members)| members).sum::<usize>())
}

/// The gate says yes exactly where an ordinary parser does and no limit is passed and no member is named twice.
pub fn json(data: &[u8]) {
    let limits = Limits { bytes: 1024, depth: 6 };
    let accepted = json::check(data, limits).is_ok();
    let read: Result<Value, _> = serde_json::from_slice(data);
    let expected = read.as_ref().is_ok_and(|value| {
        let (depth, members) = shape(value);
        data.len() <= limits.bytes && depth <= limits.depth && members == members_written(data)
    });
    assert_eq!(accepted, expected, "{:?} of {}", read.err(), String::from_utf8_lossy(data));
}

/// A notice as it came from the broker: what was read can be written and read again.
pub fn notice(data: &[u8]) {
    if let Ok(notice) = Notice::parse(data) {
        let written = serde_json::to_vec(&notice).expect("a notice can be written");
        assert_eq!(Notice::parse(&written).as_ref(), Ok(&notice));
        for name in [notice.component.map(|c| c.to_string()), notice.channel.map(|c| c.to_string())].into_iter().flatten() {
            assert!(!name.contains(['/', '\0', '+', '#', ' ']) && name != "." && name != "..", "{name:?} as part of a path");
        }
    }
}

/// A report as the operator's tool takes it from the broker; its refusal is shown to a person, so nothing in it may steer a terminal.
pub fn report(data: &[u8]) {
    if let Ok(report) = serde_json::from_slice::<Report>(data) {
        let written = serde_json::to_vec(&report).expect("a report can be written");
        assert_eq!(serde_json::from_slice::<Report>(&written).ok().as_ref(), Some(&report));
        if let Some(refusal) = &report.refusal {
            let shown = refusal.explain().to_string();
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?} steers a terminal");
        }
    }
}

/// Lines of the agent's socket, both ways.
pub fn control(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let written = serde_json::to_vec(&request).expect("a request can be written");
        assert_eq!(serde_json::from_slice::<Request>(&written).ok(), Some(request));
    }
    if let Ok(response) = serde_json::from_slice::<Response>(data) {
        let written = serde_json::to_vec(&response).expect("a response can be written");
        assert_eq!(serde_json::from_slice::<Response>(&written).ok(), Some(response));
    }
}
