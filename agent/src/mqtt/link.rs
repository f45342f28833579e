//! Keeps the connection: dials, serves, waits, and dials again.
//!
//! Every connection has a new event loop of the library: what an old one kept for sending again, the outbox keeps better, and no
//! packet identifier, collision or keep-alive of an old connection can leak into the next.

use super::pace;
use super::session::{self, End};
use super::settings::Address;
use super::shared::{DIAL_SECS, Shared};
use super::{FromBroker, MqttSettings, ToBroker};
use crate::{clock, tls};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use slipway_protocol::{FleetName, NodeName, Refusal};
use std::time::Duration;
use tokio::sync::mpsc;

/// Largest packet we take, said in CONNECT: a notice is at most 4 KiB, the rest is topic and properties. A broker must drop what is larger.
const PACKET_BYTES: u32 = 16 * 1024;
/// Unacknowledged notices that the broker may send at once.
const RECEIVE_MAXIMUM: u16 = 16;
/// How long the broker keeps notices for a node that is away.
const SESSION_SECS: u32 = 7 * 24 * 3600;
/// A connection that held this long was a good one: the next wait is short again.
const GOOD_SECS: u64 = 60;
/// The library's table of what it has sent; more than [`super::WINDOW`], so that numbers are not reused at once. Its default costs 10 MB.
const INFLIGHT: u16 = 64;
/// The library's queue: everything that may be handed over at once, with room.
const REQUESTS: usize = 128;

/// What dials.
pub(super) struct Link {
    settings: MqttSettings,
    client_id: String,
    shared: Shared,
}

impl Link {
    pub(super) fn new(
        settings: MqttSettings,
        node: &NodeName,
        fleet: &FleetName,
        commands: mpsc::Receiver<ToBroker>,
        events: mpsc::Sender<FromBroker>,
    ) -> Self {
        Self {
            client_id: settings.client_id.clone().unwrap_or_else(|| format!("slipway-{node}")),
            shared: Shared::new(settings.topics(node, fleet), settings.hearing_check, commands, events),
            settings,
        }
    }

    /// Whether the files that the settings name can be used.
    pub(super) fn check_files(&self) -> Result<(), Refusal> {
        self.dial().map(drop)
    }

    /// Connects, and connects again, until the driver says stop.
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let began = clock::now().moment;
            self.shared.connection = self.shared.connection.wrapping_add(1);
            let end = match self.dial() {
                Ok((client, event_loop, address)) => session::serve(&mut self.shared, client, event_loop, &address).await,
                Err(refusal) => End::Lost(refusal.to_string()),
            };
            let End::Lost(reason) = end else { break };
            let now = clock::now();
            failures =
                if now.moment.since(&began).is_some_and(|secs| secs >= GOOD_SECS) { 1 } else { failures.saturating_add(1) };
            let wait = pace::backoff(failures, now.dice);
            if reason == self.shared.last_reason {
                tracing::debug!(%reason, retry_in = ?wait, "MQTT connection failed again; retrying");
            } else {
                tracing::warn!(%reason, retry_in = ?wait, "MQTT connection failed; retrying");
                self.shared.last_reason.clone_from(&reason);
            }
            self.shared.say_state(FromBroker::Disconnected(reason));
            if self.rest(wait).await {
                break;
            }
        }
    }

    /// Waits, and lets the driver speak meanwhile; true when it says stop.
    async fn rest(&mut self, wait: Duration) -> bool {
        let sleep = tokio::time::sleep(wait);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return false,
                command = self.shared.commands.recv() => match command {
                    None | Some(ToBroker::Stop) => return true,
                    // Reports are offered again after `Connected`; a token that is dropped frees its place.
                    Some(ToBroker::Report(_) | ToBroker::Progress(_) | ToBroker::Acknowledge(_)) => {}
                },
                permit = self.shared.events.reserve(), if !self.shared.out.is_empty() => match (permit, self.shared.out.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => return true,
                },
            }
        }
    }

    /// Everything for one connection, with certificates and password as their files are now.
    fn dial(&self) -> Result<(AsyncClient, EventLoop, Address), Refusal> {
        let address = self.settings.address()?;
        let mut options = MqttOptions::new(&self.client_id, &address.host, address.port);
        // Set first: setters of single properties would otherwise begin with none.
        options.set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(SESSION_SECS),
            receive_maximum: Some(RECEIVE_MAXIMUM),
            max_packet_size: Some(PACKET_BYTES),
            topic_alias_max: None,
            request_response_info: None,
            request_problem_info: None,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        });
        options.set_clean_start(self.shared.poisoned);
        options.set_manual_acks(true);
        options.set_outgoing_inflight_upper_limit(INFLIGHT);
        options.set_connection_timeout(DIAL_SECS);
        options.set_keep_alive(self.settings.keep_alive.max(Duration::from_secs(5)));
        options.set_last_will(LastWill::new(&self.shared.topics.presence, session::OFFLINE, QoS::AtLeastOnce, true, None));
        if let Some((username, password)) = self.settings.credentials()? {
            options.set_credentials(username, password);
        }
        if address.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls::client_config(&self.settings.tls)?)));
        }
        let (client, event_loop) = AsyncClient::new(options, REQUESTS);
        Ok((client, event_loop, address))
    }
}
