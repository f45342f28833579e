//! Formats words, times and tables for the terminal.

use jiff::Timestamp;

/// What a table shows where there is nothing.
#[must_use]
pub fn dash() -> String {
    "-".to_owned()
}

/// An event by the name it has on the wire.
#[must_use]
pub fn kebab(event: slipway_protocol::Event) -> String {
    serde_json::to_value(event).ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// Columns as wide as their widest cell, two spaces apart; nothing trails.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0_usize; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A day, UTC.
#[must_use]
pub fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// A time to the minute, UTC.
#[must_use]
pub fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}
