//! The state of the node as `slipway-agent status` shows it: as data and as a table.

use crate::storage::store::OUTBOX_LIMIT;
use crate::text::{columns, dash, day, kebab, minute};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipway_machine::record::{Ending, Installed, Record, SuspectedFreeze};
use slipway_protocol::{ChannelName, ComponentName, FleetName, NodeName, Refusal, Sha256, Version};
use std::fmt::Write;

slipway_protocol::refusals! {
    pub UNKNOWN_COMPONENT = "SLW-A-UNKNOWN-COMPONENT", Configuration, Operator, "component is not in the configuration",
        "name a component of the configuration";
}

/// The node at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub node: NodeName,
    /// Its fleet.
    pub fleet: FleetName,
    /// Whether the service reaches the broker; absent when none is configured or no service runs.
    pub broker: Option<bool>,
    /// Whether a broker is configured.
    #[serde(default)]
    pub broker_configured: bool,
    /// Reports that the broker has not acknowledged yet.
    pub outbox: usize,
    /// The latest time that is certain: metadata is judged by it if the clock is behind.
    pub latest_known_time: Timestamp,
    /// The clock is not believed.
    pub time_unsure: bool,
    /// Versions and expiries of the operator's TUF roles.
    pub roles: Vec<Role>,
    /// Every component.
    pub components: Vec<ComponentStatus>,
}

/// One TUF role.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
}

/// One component.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ComponentStatus {
    /// Its name.
    pub component: ComponentName,
    /// The channel it follows.
    pub channel: ChannelName,
    /// Where its update is: `idle`, `downloading`, …
    pub state: String,
    /// The version that is being installed.
    pub target: Option<Version>,
    /// The release that passed probation last.
    pub committed: Option<Installed>,
    /// The one before.
    pub previous: Option<Installed>,
    /// The lowest version accepted.
    pub floor: Option<Version>,
    /// How the last attempt ended.
    pub last: Option<Ending>,
    /// A release that a notice named and the repository does not show: a possible freeze.
    #[serde(default, rename = "missed", skip_serializing_if = "Option::is_none")]
    pub suspected_freeze: Option<SuspectedFreeze>,
    /// Artifacts that failed here.
    #[serde(rename = "condemned")]
    pub blocked: Vec<BlockedStatus>,
}

/// A condemned artifact.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BlockedStatus {
    /// Its version.
    pub version: Version,
    /// Its SHA-256.
    pub artifact: Sha256,
    /// Why.
    pub reason: Refusal,
    /// When.
    pub at: Timestamp,
}

impl Status {
    /// As a table for a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "Node:      {} (fleet {})", self.node, self.fleet);
        let _ = writeln!(out, "Broker:    {}", self.broker_line());
        let trust: Vec<String> =
            self.roles.iter().map(|role| format!("{} v{} until {}", role.name, role.version, day(role.expires))).collect();
        let _ = writeln!(out, "Metadata:  {}", if trust.is_empty() { "none yet".to_owned() } else { trust.join(", ") });
        if self.time_unsure {
            let _ = writeln!(out, "Time:      clock not trusted; it is at least {}", minute(self.latest_known_time));
        }
        let header = ["COMPONENT", "CHANNEL", "STATE", "COMMITTED", "PREVIOUS", "FLOOR", "LAST"].map(str::to_owned);
        let rows: Vec<[String; 7]> = std::iter::once(header).chain(self.components.iter().map(ComponentStatus::row)).collect();
        let _ = write!(out, "\n{}", columns(&rows));
        for component in &self.components {
            if let Some(suspected_freeze) =
                component.suspected_freeze.as_ref().filter(|suspected_freeze| !suspected_freeze.dismissed)
            {
                let SuspectedFreeze { version, shown, since, .. } = suspected_freeze;
                let _ = writeln!(
                    out,
                    "\n{}: possible freeze: a notice named {version} on {}, the repository shows {shown}; run `slipway-agent unblock --freeze` to dismiss this warning",
                    component.component,
                    day(*since)
                );
            }
            if let Some(refusal) = component.last.as_ref().and_then(|last| last.refusal.as_ref()) {
                let _ = write!(out, "\n{}: {}", component.component, refusal.explain());
            }
            for blocked in &component.blocked {
                let _ = writeln!(
                    out,
                    "\n{}: blocked {} ({}) on {}: {}",
                    component.component,
                    blocked.version,
                    blocked.artifact.short(),
                    day(blocked.at),
                    blocked.reason.code
                );
            }
        }
        out
    }
}

impl Status {
    fn broker_line(&self) -> String {
        let broker = match (self.broker, self.broker_configured) {
            (Some(true), _) => "connected",
            (Some(false), _) => "not connected",
            (None, true) => "configured; the service does not run",
            (None, false) => "none configured",
        };
        let reports = if self.outbox == 1 { "report" } else { "reports" };
        match self.outbox {
            0 if !self.broker_configured => broker.to_owned(),
            waiting if waiting >= OUTBOX_LIMIT => {
                format!("{broker}; {waiting} {reports} waiting; the outbox is full and drops the oldest, results last")
            }
            waiting => format!("{broker}; {waiting} {reports} waiting"),
        }
    }
}

impl ComponentStatus {
    /// From the record, of a component that follows `channel`.
    #[must_use]
    pub fn of(channel: &ChannelName, record: &Record) -> Self {
        let blocked = |c: &slipway_machine::record::Blocked| BlockedStatus {
            version: c.version.clone(),
            artifact: c.artifact,
            reason: c.reason.clone(),
            at: c.at,
        };
        Self {
            component: record.component.clone(),
            channel: channel.clone(),
            state: record.state.name().to_owned(),
            target: record.state.plan().map(|plan| plan.version.clone()),
            committed: record.committed.clone(),
            previous: record.previous.clone(),
            floor: record.floor.clone(),
            last: record.last.clone(),
            suspected_freeze: record.suspected_freeze.clone(),
            blocked: record.blocked.iter().map(blocked).collect(),
        }
    }

    fn row(&self) -> [String; 7] {
        let version = |installed: &Option<Installed>| {
            installed.as_ref().map_or_else(dash, |it| format!("{}{}", it.version, if it.adopted { " (adopted)" } else { "" }))
        };
        let state = self.target.as_ref().map_or_else(|| self.state.clone(), |target| format!("{} {target}", self.state));
        let last = self.last.as_ref().map_or_else(dash, |last| {
            let version = last.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            format!("{}{version} ({})", kebab(last.event), minute(last.at))
        });
        [
            self.component.to_string(),
            self.channel.to_string(),
            state,
            version(&self.committed),
            version(&self.previous),
            self.floor.as_ref().map_or_else(dash, ToString::to_string),
            last,
        ]
    }
}
