//! Reports: what the node tells the cloud, kept in an outbox until the broker has acknowledged them.

use crate::json::Members;
use crate::unlisted::Unlisted;
use crate::{ComponentName, FleetName, NodeName, Refusal, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One report. The node's name is in the payload because KubeEdge's router drops it on the way up.
///
/// Members that this version does not know are kept, so that an outbox that a newer agent filled is sent as it was written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Format; 1.
    pub v: u32,
    /// Who says it.
    pub node: NodeName,
    /// Its fleet.
    pub fleet: FleetName,
    /// Rises by one with every report of this node and never starts again: gaps and repeats show.
    pub seq: u64,
    /// The kernel's random name of the boot in which it happened; none from agents of `formats-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The node's wall clock when it happened; may be wrong on a device without a clock.
    pub time: Timestamp,
    /// Which component it is about.
    pub component: ComponentName,
    /// What happened.
    pub event: Event,
    /// The state the component is in now: `idle`, `downloading`, `probation`, …
    pub state: String,
    /// The committed version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The version it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Percent of the current state's work, only with [`Event::Progress`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Why, when something was refused or undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Anything a person should read: evidence of a failure, last log lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Reserved for the node's signature. Nobody writes one yet; whatever is there is passed on and not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<serde_json::Value>,
    /// What a newer agent wrote besides.
    #[serde(flatten)]
    pub more: Members,
}

/// What happened. Names are states that are true now, or what was just done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The new release is current and being watched.
    Activated,
    /// The staged release is being made current.
    Activating,
    /// Looking for a release.
    Checking,
    /// The release passed probation; automatic rollback is over.
    Committed,
    /// An authorised release is being fetched.
    Downloading,
    /// A condemned digest may be tried again.
    #[serde(rename = "forgiven")]
    Unblocked,
    /// Something that the device keeps was damaged and was set right; says what was found.
    Healed,
    /// Neither the new nor the old release could be made to run; says what is needed.
    Inconsistent,
    /// How far the current state's work is. Not kept in the outbox.
    Progress,
    /// Said no, and why.
    Refused,
    /// Something did not work and will be tried again.
    Retrying,
    /// Back on the last committed release.
    RolledBack,
    /// Returning to the last committed release.
    RollingBack,
    /// Verified content is in its slot, not yet in use.
    Staged,
    /// The downloaded artifact is being unpacked to its slot.
    Staging,
    /// The agent started.
    Started,
    /// Already runs what its channel says.
    UpToDate,
    /// Waiting for its wave or window.
    Waiting,
    /// An event that this version does not know, by its name.
    #[serde(untagged)]
    Unlisted(Unlisted),
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"v":1,"node":"n1","fleet":"f1","seq":7,"time":"2026-11-22T12:00:00Z","component":"edgecore","event":"refused","state":"idle","to":"v1.23.1"}"#;

    /// Failed while the members were dropped, and while an unknown event or category was an error.
    #[test]
    fn reports_of_older_and_newer_agents_are_read_and_passed_on() {
        let old: Report = serde_json::from_str(OLD).unwrap();
        assert_eq!((old.seq, &old.boot, old.event), (7, &None, Event::Refused));
        assert_eq!(serde_json::to_string(&old).unwrap(), OLD);

        let new = OLD.replace(
            r#""event":"refused""#,
            r#""boot":"b-1","event":"paused","lease":{"by":["x"]},"signature":{"key":"k","value":"v"},"refusal":{"code":"SLW-X-Y","class":"lease","actor":"neighbor","check":"c","seen":"s","wanted":"w","advice":"a","more":1}"#,
        );
        let report: Report = serde_json::from_str(&new).unwrap();
        assert_eq!((report.boot.as_deref(), report.event), (Some("b-1"), Event::Unlisted("paused".into())));
        let again = serde_json::to_value(&report).unwrap();
        let mut sent: serde_json::Value = serde_json::from_str(&new).unwrap();
        // Of what is inside a refusal only the known members are kept: it is made for people.
        sent["refusal"].as_object_mut().unwrap().remove("more");
        assert_eq!(again, sent);
        for (member, wrong) in [(r#""seq":7"#, r#""seq":"7""#), (r#""node":"n1""#, r#""node":1"#)] {
            assert!(serde_json::from_str::<Report>(&OLD.replace(member, wrong)).is_err(), "{wrong}");
        }
    }
}
