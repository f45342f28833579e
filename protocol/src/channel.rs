//! A channel: the release that its devices should run.
//!
//! TUF target `channels/<component>/<channel>.json`, signed by the rollout key.

use crate::growth::{self, Unreadable};
use crate::json::Members;
use crate::{ChannelName, ComponentName, NodeName, Version, json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What devices on this channel should run, and how far the rollout has come.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Channel {
    /// Format; 1. An agent holds on a higher one.
    pub v: u32,
    /// The component.
    pub component: ComponentName,
    /// The channel's name, again, so that one channel cannot be shown as another.
    pub channel: ChannelName,
    /// The release to run.
    pub release: Version,
    /// The lowest version acceptable from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Version>,
    /// No device begins this update while true.
    #[serde(default)]
    pub halted: bool,
    /// Versions that must not be installed any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Version>,
    /// The rollout's steps; empty means everyone at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// Until when devices may install this channel's release from an offline bundle although its timestamp has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_until: Option<Timestamp>,
    /// Members that a follower of this channel must understand. See [`crate::growth`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
    /// Members that this version does not know: kept, so that an older operator's tool does not drop them from the channel.
    #[serde(flatten, skip_deserializing)]
    pub more: Members,
}

/// From `start` on, this share of the fleet may take the release.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wave {
    /// When the wave begins.
    pub start: Timestamp,
    /// The share of the fleet that is let in, in percent, 1 to 100.
    pub percent: u8,
    /// Members that this version does not know, kept as those of a channel; a `critical` of its own among them.
    #[serde(flatten)]
    pub more: Members,
}

/// A channel file is under 1 KiB; waves and withdrawn versions may add some.
pub const CHANNEL_LIMITS: json::Limits = json::Limits { bytes: 64 * 1024, depth: 6 };
/// More waves than anyone plans.
const WAVE_LIMIT: usize = 64;

impl Channel {
    /// The TUF target path of a channel.
    #[must_use]
    pub fn target(component: &ComponentName, channel: &ChannelName) -> String {
        format!("channels/{component}/{channel}.json")
    }

    /// Parses a channel file and checks everything that can be checked without trust.
    ///
    /// ```
    /// use slipway_protocol::{Channel, Version, channel::Admission};
    ///
    /// let file = br#"{
    ///     "v": 1, "component": "edgecore", "channel": "stable", "release": "v1.23.1",
    ///     "waves": [{"start": "2026-11-30T06:00:00Z", "percent": 100}]
    /// }"#;
    /// let channel = Channel::parse(file).map_err(|why| why.to_string())?;
    /// assert_eq!(channel.release, "v1.23.1".parse::<Version>()?);
    ///
    /// let node = "node-1".parse()?;
    /// let start = "2026-11-30T06:00:00Z".parse().unwrap();
    /// let before = "2026-11-30T05:00:00Z".parse().unwrap();
    /// assert_eq!(channel.admits(&node, before), Admission::At(start));
    /// assert_eq!(channel.admits(&node, start), Admission::Now);
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// Says which member is wrong and why, or that only a newer agent may follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (mut channel, more): (Self, Members) = growth::read("channel", bytes, CHANNEL_LIMITS)?;
        channel.more = more;
        for wave in &channel.waves {
            let object = json::members_of(wave).map_err(|error| format!("wave is malformed: {error}"))?;
            growth::understood("wave", &object, &["start", "percent", growth::CRITICAL])?;
        }
        channel.consistent()?;
        Ok(channel)
    }

    fn consistent(&self) -> Result<(), String> {
        let channel = self;
        if channel.floor.as_ref().is_some_and(|floor| *floor > channel.release) {
            return Err(format!("channel has release {} below its own floor", channel.release));
        }
        if channel.withdrawn.contains(&channel.release) {
            return Err(format!("channel has release {} and withdraws it", channel.release));
        }
        if channel.waves.len() > WAVE_LIMIT {
            return Err(format!("channel has {} waves, expected at most {WAVE_LIMIT}", channel.waves.len()));
        }
        let rising = |pair: &[Wave]| matches!(pair, [a, b] if a.start < b.start && a.percent < b.percent);
        if !channel.waves.windows(2).all(rising) || channel.waves.iter().any(|wave| wave.percent == 0 || wave.percent > 100) {
            return Err("waves do not rise in time and percent, each 1 to 100".to_owned());
        }
        Ok(())
    }

    /// Says whether the rollout has reached `node`, or when it will. A node that no wave reaches waits for one that does.
    #[must_use]
    pub fn admits(&self, node: &NodeName, now: Timestamp) -> Admission {
        if self.waves.is_empty() {
            return Admission::Now;
        }
        let place = place(&self.component, &self.release, node);
        match self.waves.iter().find(|wave| place < u32::from(wave.percent).saturating_mul(100)) {
            Some(wave) if wave.start <= now => Admission::Now,
            Some(wave) => Admission::At(wave.start),
            None => Admission::NotPlanned,
        }
    }
}

/// Whether a rollout has reached a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It has.
    Now,
    /// It will at this time.
    At(Timestamp),
    /// No wave so far goes as far as this node.
    NotPlanned,
}

/// A node's place in a rollout, 0 to 9999: stable for one release, reshuffled by the next, so that the same devices are not always first.
fn place(component: &ComponentName, release: &Version, node: &NodeName) -> u32 {
    let digest = crate::Sha256::of(format!("slipway wave\n{component}\n{release}\n{node}\n").as_bytes());
    let head = digest.0.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_be_bytes(head).checked_rem(10_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(more: &str) -> Result<Channel, Unreadable> {
        Channel::parse(format!(r#"{{"v":1,"component":"edgecore","channel":"stable","release":"v1.23.1"{more}}}"#).as_bytes())
    }

    #[test]
    fn contradictions_do_not_parse() {
        for (more, ok) in [
            ("", true),
            (r#","floor":"v1.22.0","halted":true,"withdrawn":["v1.23.0"]"#, true),
            (r#","floor":"v1.24.0""#, false),
            (r#","withdrawn":["1.23.1"]"#, false),
            (r#","waves":[{"start":"2026-01-01T00:00:00Z","percent":10},{"start":"2026-01-02T00:00:00Z","percent":100}]"#, true),
            (r#","waves":[{"start":"2026-01-02T00:00:00Z","percent":10},{"start":"2026-01-01T00:00:00Z","percent":100}]"#, false),
            (r#","waves":[{"start":"2026-01-01T00:00:00Z","percent":0}]"#, false),
            (r#","halted":"no""#, false),
            (r#","floor":"v1.22.0","floor":"v1.22.0""#, false),
        ] {
            assert_eq!(channel(more).is_ok(), ok, "{more}");
        }
    }

    /// Failed while an unknown member was an error, and while it was dropped where the channel is written again.
    #[test]
    fn unknown_members_are_ignored_and_kept_and_critical_ones_hold() {
        let more = r#","waves":[{"start":"2026-01-01T00:00:00Z","percent":10,"labels":["lab"]}],"keep":64"#;
        let read = channel(more).unwrap();
        assert_eq!((read.more.len(), read.waves[0].more.len()), (1, 1));
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(Channel::parse(written.as_bytes()), Ok(read));
        for held in [
            r#","keep":64,"critical":["keep"]"#,
            r#","waves":[{"start":"2026-01-01T00:00:00Z","percent":10,"labels":["lab"],"critical":["labels"]}]"#,
        ] {
            assert!(matches!(channel(held), Err(Unreadable::Critical(_))), "{held}");
        }
        assert!(channel(r#","halted":true,"critical":["halted"]"#).is_ok());
        let newer = br#"{"v":2,"components":["edgecore"]}"#;
        assert!(matches!(Channel::parse(newer), Err(Unreadable::Format(_))));
    }

    #[test]
    fn a_wave_of_ten_percent_reaches_about_a_tenth_and_later_waves_include_it() {
        let plan =
            channel(r#","waves":[{"start":"2026-01-01T00:00:00Z","percent":10},{"start":"2026-01-02T00:00:00Z","percent":50}]"#)
                .unwrap();
        let (first, second): (Timestamp, Timestamp) =
            ("2026-01-01T12:00:00Z".parse().unwrap(), "2026-01-02T12:00:00Z".parse().unwrap());
        let count = |now| (0..1000).filter(|n| plan.admits(&format!("node-{n}").parse().unwrap(), now) == Admission::Now).count();
        let (early, late) = (count(first), count(second));
        assert!((70..130).contains(&early), "{early}");
        assert!((440..560).contains(&late), "{late}");
        assert_eq!(plan.admits(&"node-1".parse().unwrap(), first), plan.admits(&"node-1".parse().unwrap(), first));
    }
}
