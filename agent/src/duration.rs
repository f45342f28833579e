//! Durations in configuration files: `"90s"`, `"5m"`, `"1h 30m"`, `"7d"`.
//!
//! Use it with `#[serde(with = "crate::duration")]` on a [`Duration`]. A bare number is refused: nobody can tell seconds from
//! minutes by looking at it.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserializer, Serializer, de};
use std::time::Duration;

/// What is wanted, for every message about a duration.
const WANTED: &str = "a duration such as \"90s\", \"5m\" or \"1h 30m\"";

/// Reads a duration. A day is 24 hours.
///
/// # Errors
/// Says what was seen and what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .and_then(|signed| Duration::try_from(signed).ok())
        .ok_or_else(|| format!("{:?} is not {WANTED}", slipway_protocol::refusal::printable(text)))
}

/// Writes a duration so that [`parse`] reads it.
#[must_use]
pub fn show(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| format!("{}s", duration.as_secs()), |signed| format!("{signed:#}"))
}

/// For serde's `with`.
///
/// # Errors
/// Only the serializer's own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*duration))
}

/// For serde's `with`.
///
/// # Errors
/// If it is no text, or no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Duration;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(WANTED)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, serde::Serialize)]
    struct Settings {
        #[serde(with = "super")]
        soak: Duration,
    }

    #[test]
    fn reads_what_people_write() {
        for (text, secs) in
            [("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1h 30m", 5400), ("7d", 604_800), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn refuses_what_could_mean_anything() {
        for text in ["", "90", "-5s", "5 parsecs", "1mo", "99999999999999999999h", "s"] {
            assert!(parse(text).is_err(), "{text} was read as {:?}", parse(text));
        }
        let error = toml::from_str::<Settings>("soak = 90").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("such as \"90s\""), "{error}");
    }

    #[test]
    fn is_written_as_it_is_read() {
        for secs in [0, 1, 59, 90, 3600, 5400, 604_800] {
            let soak = Duration::from_secs(secs);
            let text = toml::to_string(&Settings { soak }).unwrap();
            assert_eq!(toml::from_str::<Settings>(&text).unwrap().soak, soak, "{text}");
        }
    }
}
