//! The durable record of one component. It is written before any effect is carried out.
//!
//! A record outlives its agent, in both directions: what an older agent wrote is read, and what a newer one added is ignored here
//! and kept by the store. New members have a default. Where an older agent of `formats-1` would refuse them, the store writes them
//! beside the record.

use crate::time::Moment;
use serde::{Deserialize, Serialize};
use slipway_protocol::{ComponentName, Platform, Refusal, Sha256, Version};
use std::path::PathBuf;

/// The only format of a record there is. An agent that reads a newer one stops instead of guessing: it rises only for what no
/// older agent may go on with.
pub const RECORD_FORMAT: u32 = 1;

/// Everything the machine knows about a component.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// Which component.
    pub component: ComponentName,
    /// Rises with every order that is given; answers to older orders are dropped.
    pub epoch: u64,
    /// Where its update is.
    pub state: State,
    /// The release that passed probation last.
    pub committed: Option<Installed>,
    /// The one before, kept for the operator's `rollback`.
    pub previous: Option<Installed>,
    /// The lowest version accepted; only rises.
    pub floor: Option<Version>,
    /// Artifacts that failed here; newest last, at most [`BLOCKED_LIMIT`].
    #[serde(rename = "condemned")]
    pub blocked: Vec<Blocked>,
    /// A trigger that came while an update was in progress.
    #[serde(rename = "ring")]
    pub trigger: Option<Trigger>,
    /// When the last check ended, to keep a storm of notices from becoming a storm of checks.
    pub checked: Option<Moment>,
    /// How the last attempt ended, for `status` and to tell news from repetition.
    pub last: Option<Ending>,
    /// A notice named this release and the repository does not show it: a possible freeze, until it does.
    #[serde(default, rename = "missed", skip_serializing_if = "Option::is_none")]
    pub suspected_freeze: Option<SuspectedFreeze>,
    /// The committed release's slot is not what was committed: it is fetched and proven again, unless another release gets there first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<SlotDamage>,
    /// The device itself stood in the way of an update, which is not tried again for a while.
    #[serde(default, rename = "trouble", skip_serializing_if = "Option::is_none")]
    pub backoff: Option<DeviceBackoff>,
}

/// A committed release that is not in its slot any more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SlotDamage {
    /// What was found.
    pub reason: Refusal,
    /// The slot that was being left when it was found: its snapshot comes back with the release.
    pub from: Option<SlotName>,
    /// Attempts to get it back that have failed.
    pub failures: u32,
}

/// An artifact that could not be activated because of the device: nothing speaks against it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeviceBackoff {
    /// Its SHA-256; another one is tried at once.
    pub artifact: Sha256,
    /// What stood in the way.
    pub reason: Refusal,
    /// How often.
    pub failures: u32,
    /// Not tried again before, unless a person asks or the device restarts.
    pub until: Moment,
}

/// A release that a notice named and the repository did not show.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SuspectedFreeze {
    /// What the notice named. Anybody can send one, so nothing but a word to a person follows from it.
    pub version: Version,
    /// What the repository showed instead.
    pub shown: Version,
    /// Since when, by the device's wall clock.
    pub since: jiff::Timestamp,
    /// A person has seen it and wants it shown no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dismissed: bool,
}

/// Condemned artifacts remembered per component: with a release a week, more than a year.
pub const BLOCKED_LIMIT: usize = 64;

impl Record {
    /// The record of a component that Slipway has never touched.
    #[must_use]
    pub const fn new(component: ComponentName) -> Self {
        Self {
            format: RECORD_FORMAT,
            component,
            epoch: 0,
            state: State::Idle,
            committed: None,
            previous: None,
            floor: None,
            blocked: Vec::new(),
            trigger: None,
            checked: None,
            last: None,
            suspected_freeze: None,
            damage: None,
            backoff: None,
        }
    }
}

/// Where a component's update is. A state is named for what is true in it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum State {
    /// Nothing is under way; the committed release, if any, runs.
    Idle,
    /// It is being found out which release should run, and whether it may.
    Checking {
        /// Who asked.
        #[serde(rename = "ring")]
        trigger: Trigger,
        /// Failures so far and when to try again.
        retry: Retry,
    },
    /// An authorised release is being fetched.
    Downloading {
        /// What.
        plan: Plan,
        /// Failures so far and when to try again.
        retry: Retry,
    },
    /// The downloaded artifact is being unpacked to its slot.
    Staging {
        /// What.
        plan: Plan,
    },
    /// Verified content is in its slot; everything runs as before.
    Staged {
        /// What.
        plan: Plan,
        /// SHA-256 of what was unpacked.
        payload: Sha256,
    },
    /// The new release is being made current.
    Activating {
        /// What.
        plan: Plan,
        /// SHA-256 of what was unpacked.
        payload: Sha256,
        /// Which half of it.
        step: Activation,
    },
    /// The new release is current and watched.
    Probation {
        /// What.
        plan: Plan,
        /// SHA-256 of what was unpacked.
        payload: Sha256,
        /// What the watch has seen.
        watch: Watch,
    },
    /// The outgoing release is being brought back.
    RollingBack {
        /// The slot of the failed release; its name is also that of the snapshot to restore.
        from: Option<SlotName>,
        /// What was being installed, for reports.
        plan: Option<Plan>,
        /// The release that runs afterwards; `None` puts back the state without any.
        to: Option<Installed>,
        /// Why.
        reason: Refusal,
        /// What is condemned when this is over.
        #[serde(rename = "condemn")]
        block: Option<Blocked>,
        /// Failures so far and when to try again.
        retry: Retry,
    },
    /// Neither release could be made to run. Tried again from time to time, and when the operator says so.
    Inconsistent {
        /// The release that should run.
        to: Option<Installed>,
        /// The slot that was being left.
        from: Option<SlotName>,
        /// What is in the way and what is needed.
        reason: Refusal,
        /// When it is tried again.
        retry: Retry,
    },
}

impl State {
    /// The state's name, as in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Checking { .. } => "checking",
            Self::Downloading { .. } => "downloading",
            Self::Staging { .. } => "staging",
            Self::Staged { .. } => "staged",
            Self::Activating { .. } => "activating",
            Self::Probation { .. } => "probation",
            Self::RollingBack { .. } => "rolling-back",
            Self::Inconsistent { .. } => "inconsistent",
        }
    }

    /// What is being installed, if anything is.
    #[must_use]
    pub const fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Downloading { plan, .. }
            | Self::Staging { plan }
            | Self::Staged { plan, .. }
            | Self::Activating { plan, .. }
            | Self::Probation { plan, .. } => Some(plan),
            Self::RollingBack { plan, .. } => plan.as_ref(),
            Self::Idle | Self::Checking { .. } | Self::Inconsistent { .. } => None,
        }
    }
}

/// The two halves of an activation: before the link moves, and after.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Verified again, stopped, configuration and data backed up. The link still names the outgoing release.
    Preparing,
    /// The link is swapped and the component started.
    Switching,
}

/// What is to be installed: an intention, without authority. What it names is authorized again before each use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    /// The release.
    pub version: Version,
    /// Which of its artifacts.
    pub platform: Platform,
    /// The artifact's SHA-256.
    pub artifact: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Where it will be.
    pub slot: SlotName,
    /// Where it comes from.
    pub source: Source,
    /// The floor that the channel demands, applied at commit.
    pub floor: Option<Version>,
}

/// The directory name of a slot: `<version>-<first twelve hex digits of the artifact's SHA-256>`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotName(String);

impl SlotName {
    /// The slot of a release.
    #[must_use]
    pub fn of(version: &Version, artifact: &Sha256) -> Self {
        Self(format!("{version}-{}", artifact.short()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SlotName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        let good =
            !text.is_empty() && text.len() <= 96 && text.bytes().all(safe) && !text.starts_with('.') && !text.contains("..");
        if good {
            Ok(Self(text))
        } else {
            Err(format!("{:?} is not a valid slot name", slipway_protocol::refusal::printable(&text)))
        }
    }
}
impl From<SlotName> for String {
    fn from(name: SlotName) -> Self {
        name.0
    }
}
impl std::fmt::Display for SlotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Where metadata and artifacts come from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The operator's repository.
    Network,
    /// An offline bundle at this path.
    Bundle(PathBuf),
}

/// A release that is in a slot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Installed {
    /// Its version.
    pub version: Version,
    /// SHA-256 of the artifact it came from.
    pub artifact: Sha256,
    /// SHA-256 of the installed file.
    pub payload: Sha256,
    /// Where it is.
    pub slot: SlotName,
    /// It ran here before Slipway and is unproven: a release of the same version replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// An artifact that failed here and is not tried again until forgiven.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Blocked {
    /// Its SHA-256.
    pub artifact: Sha256,
    /// The version it was a release of.
    pub version: Version,
    /// Why.
    pub reason: Refusal,
    /// When, by the device's wall clock.
    pub at: jiff::Timestamp,
}

/// A reason to look for a release.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trigger {
    /// What triggered the check.
    pub by: TriggerSource,
    /// Where to look.
    pub source: Source,
    /// The version that the notice said is out; a hint, used only to report a freeze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Version>,
}

/// What triggered the check.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerSource {
    /// The refresh timer.
    Timer,
    /// A notice over MQTT.
    Notice,
    /// A person on the device.
    Operator,
}

/// Failures of the current work and when it is tried again.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Retry {
    /// Failures in a row.
    pub failures: u32,
    /// When the first of them was: retries are bounded by time, not by count.
    pub since: Option<Moment>,
    /// When the next try is due; `None` while one is under way.
    pub at: Option<Moment>,
}

/// What the watch over a release on probation has seen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Watch {
    /// Not healthy for a whole soak by then: rolled back.
    pub deadline: Moment,
    /// How often the agent or the device started during this probation.
    pub starts: u32,
    /// The process that was first seen running; another one later means it died.
    pub process: Option<Process>,
    /// Since when everything required has been well without a break.
    pub healthy_since: Option<Moment>,
    /// Required checks failed in a row after they had once been well.
    pub failures: u32,
    /// What was wrong at the last look, for whom the deadline passes between two looks.
    #[serde(default, rename = "ill", skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<String>,
}

/// One life of a process: a restart changes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Restarts counted by the service manager.
    pub restarts: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ending {
    /// The event, as reported.
    pub event: slipway_protocol::Event,
    /// The version it was about.
    pub version: Option<Version>,
    /// Why, if it was refused or undone.
    pub refusal: Option<Refusal>,
    /// When, by the wall clock.
    pub at: jiff::Timestamp,
}

/// What one look at a component on probation saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its process.
    pub process: ProcessState,
    /// Its checks.
    pub checks: Vec<CheckResult>,
}

/// Whether the component's process runs.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessState {
    /// It runs.
    Running(Process),
    /// It is being started; no process yet.
    Starting,
    /// It ended, or is between crashes. Evidence: exit status and last log lines.
    Dead(String),
    /// A component without a process: a file, a command-line tool.
    None,
}

/// One health check's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// Its name in the configuration.
    pub name: String,
    /// Whether the release is rolled back for it; else it only warns.
    pub required: bool,
    /// Whether it was well, or what was seen and wanted.
    pub outcome: Result<(), String>,
}
