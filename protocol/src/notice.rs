//! The notice: a message that triggers a check. Anyone may send it, and nothing in it is trusted.

use crate::{ChannelName, ComponentName, Version, json};
use serde::{Deserialize, Serialize};

/// A message that something may have changed. Every member is a hint: which component to look at first, and which version
/// the sender believes is out, so that a device that cannot find it can report a freeze.
///
/// Members that this version does not know are ignored, so that newer operators can talk to older devices.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Notice {
    /// Format; 1. Of a higher one only the members that are known here count: a notice triggers a check and orders nothing.
    pub v: u32,
    /// The component to check; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// The channel that moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
    /// The version said to be out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The version of the repository's timestamp role when the notice was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_version: Option<u64>,
}

/// A notice is a few hundred bytes; anything larger is not one. Also bounds what a flood of them costs.
pub const NOTICE_LIMITS: json::Limits = json::Limits { bytes: 4096, depth: 4 };

/// The only format that is written.
pub const NOTICE_FORMAT: u32 = 1;

impl Notice {
    /// Parses a notice as it came from the broker.
    ///
    /// ```
    /// use slipway_protocol::Notice;
    ///
    /// let notice = Notice::parse(br#"{"v": 1, "component": "edgecore", "version": "v1.23.1"}"#)?;
    /// assert_eq!(notice.component.unwrap().as_str(), "edgecore");
    ///
    /// let twice = Notice::parse(br#"{"v": 1, "v": 1}"#).unwrap_err();
    /// assert!(twice.starts_with("notice is malformed: member \"v\" appears twice"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// Says what is wrong with it, for the log; a device never answers a bad notice with more than that.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let notice: Self = json::parse(bytes, NOTICE_LIMITS).map_err(|error| format!("notice is malformed: {error}"))?;
        if notice.v < NOTICE_FORMAT {
            return Err(format!("notice has format {}, the first is {NOTICE_FORMAT}", notice.v));
        }
        Ok(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let flood = format!(r#"{{"v":1,"x":"{}"}}"#, "x".repeat(5000));
        for (text, ok) in [
            (r#"{"v":1}"#, true),
            (r#"{"v":1,"component":"edgecore","channel":"stable","version":"v1.23.1","timestamp_version":7}"#, true),
            (r#"{"v":1,"from_the_future":true}"#, true),
            (r#"{"v":2,"critical":["from_the_future"],"from_the_future":1}"#, true),
            (r#"{"v":0}"#, false),
            (r#"{"v":1,"v":1}"#, false),
            (r#"{"v":1,"component":"../../etc"}"#, false),
            (r#"{"v":1,"version":"latest"}"#, false),
            (r#"{"v":"1"}"#, false),
            ("", false),
            ("[]", false),
            (&flood, false),
        ] {
            assert_eq!(Notice::parse(text.as_bytes()).is_ok(), ok, "{text}");
        }
    }
}
