//! MQTT 5: receives notices, sends reports and presence. No other module uses the MQTT library.
//!
//! | module | what it does |
//! |---|---|
//! | `settings` | what the configuration may say, and which topics are refused |
//! | `link` | one connection after the other: dial, subscribe, serve, wait |
//! | `shared` | what outlives a connection |
//! | `session` | one connection: what goes out and what came in |
//! | `in_flight` | which packet identifier carries which report. Pure |
//! | `pace` | how long to wait before dialling again, and how much of a flood is read. Pure |
//! | `reason` | the library's errors in words that say what to do |
//!
//! What the driver must know, and nothing else:
//! - A notice is acknowledged to the broker when its [`AckToken`] comes back, not before: one that was not comes again.
//! - After [`FromBroker::Connected`] the driver offers the oldest reports of its outbox again, at most [`WINDOW`] of them, and on each
//!   [`FromBroker::Delivered`] the next. Offering one that is already on its way changes nothing. While disconnected, offers are dropped.
//! - A report that was delivered just before a connection broke is delivered again; its `seq` tells.

mod in_flight;
mod link;
mod pace;
mod reason;
mod session;
pub(crate) mod settings;
mod shared;

pub use settings::MqttSettings;

use slipway_protocol::{FleetName, NodeName, Notice, Refusal, Report};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How many reports are on their way at once: offer the oldest this many of the outbox.
pub const WINDOW: usize = 16;

/// What the broker's side has to say to the driver.
#[derive(Debug)]
pub enum FromBroker {
    /// Connected and subscribing: offer what is in the outbox.
    Connected,
    /// Not connected, and why, for a person. Said again whenever another attempt failed.
    Disconnected(String),
    /// A notice. Return `ack` once it is in the record or refused.
    Notice {
        /// What it hints at.
        notice: Notice,
        /// What [`ToBroker::Acknowledge`] wants.
        ack: AckToken,
    },
    /// Something that is no notice came; it is already acknowledged. Said rarely, however many come.
    BadNotice(String),
    /// The broker has the report with this `seq`: it may leave the outbox.
    Delivered(u64),
}

/// What the driver wants of the broker's side.
#[derive(Debug)]
pub enum ToBroker {
    /// A report of the outbox: QoS 1, sent until [`FromBroker::Delivered`] or the connection breaks.
    Report(Report),
    /// Progress: QoS 0, dropped when it cannot go now.
    Progress(Report),
    /// The notice is in the record or refused.
    Acknowledge(AckToken),
    /// Say offline, disconnect and end. The same happens when the sender is dropped.
    Stop,
}

/// The right to acknowledge one notice. While it lives, the notice counts as unprocessed; of those only so many are let in.
#[derive(Debug)]
pub struct AckToken {
    connection: u64,
    pkid: u16,
    _place: OwnedSemaphorePermit,
}

/// Checks the settings, reads the files they name, and starts the connection as a task of the current runtime.
///
/// # Errors
/// Settings that cannot work: see [`MqttSettings::validate`]. An unreachable broker is no error: dialing is retried.
pub fn start(
    settings: MqttSettings,
    node: &NodeName,
    fleet: &FleetName,
) -> Result<(mpsc::Sender<ToBroker>, mpsc::Receiver<FromBroker>), Refusal> {
    settings.validate()?;
    let (to_broker, commands) = mpsc::channel(64);
    let (events, from_broker) = mpsc::channel(64);
    let link = link::Link::new(settings, node, fleet, commands, events);
    link.check_files()?;
    tokio::spawn(link.run());
    Ok((to_broker, from_broker))
}
