//! Reports: what the node tells the cloud, kept in an outbox until the broker has acknowledged them.

use crate::{ComponentName, FleetName, NodeName, Refusal, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One report. The node's name is in the payload because KubeEdge's router drops it on the way up.
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
    /// An event this version does not know.
    #[serde(other)]
    Unknown,
}
