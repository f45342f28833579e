//! State that outlives a connection; `link` and `session` both change it.

use super::pace::{Flood, Rarely};
use super::settings::Topics;
use super::{FromBroker, ToBroker};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Notices that the driver has not answered, of every QoS; beyond that they are acknowledged and dropped: a check is pending anyway.
const UNPROCESSED: usize = 32;
/// For name lookup, TCP, TLS and CONNACK together, on a slow link.
pub(super) const DIAL_SECS: u64 = 20;

/// What outlives a connection.
pub(super) struct Shared {
    pub(super) topics: Topics,
    pub(super) commands: mpsc::Receiver<ToBroker>,
    pub(super) events: mpsc::Sender<FromBroker>,
    /// What the driver has not taken yet. Bounded: [`UNPROCESSED`] notices, one state of the connection, a window of deliveries.
    pub(super) out: VecDeque<FromBroker>,
    pub(super) places: Arc<Semaphore>,
    /// Counts connections, so that an acknowledgement cannot go to another one than its notice came by.
    pub(super) connection: u64,
    pub(super) flood: Flood,
    pub(super) bad: Rarely,
    /// The next session is a new one without retained messages: the old one holds something that cannot be read.
    pub(super) poisoned: bool,
    /// The broker does not seem to let this node hear its own presence: how often that is still lived with.
    pub(super) tolerated: u32,
    pub(super) hearing_check: Duration,
    pub(super) last_reason: String,
}

impl Shared {
    pub(super) fn new(
        topics: Topics,
        hearing_check: Duration,
        commands: mpsc::Receiver<ToBroker>,
        events: mpsc::Sender<FromBroker>,
    ) -> Self {
        Self {
            topics,
            commands,
            events,
            out: VecDeque::new(),
            places: Arc::new(Semaphore::new(UNPROCESSED)),
            connection: 0,
            flood: Flood::default(),
            bad: Rarely::default(),
            poisoned: false,
            tolerated: 0,
            hearing_check,
            last_reason: String::new(),
        }
    }

    /// Says connected or disconnected; what the driver has not read of that kind is out of date.
    pub(super) fn say_state(&mut self, state: FromBroker) {
        if matches!(state, FromBroker::Connected) {
            self.last_reason.clear();
        }
        self.out.retain(|event| !matches!(event, FromBroker::Connected | FromBroker::Disconnected(_)));
        self.out.push_back(state);
    }
}
