//! One connection to the broker: packets sent and received.
//!
//! A node can be connected and deaf: mosquitto 2.0.11 drops a publish larger than the node takes, as it must, but counts it as
//! unacknowledged forever, and after a receive maximum of those the session hears nothing more. Nobody says so, and the session
//! outlives connections. So the node listens to its own presence: when it does not hear itself, it begins a new session.

use super::in_flight::{Confused, InFlight, OutgoingPublish};
use super::settings::Address;
use super::shared::{DIAL_SECS, Shared};
use super::{AckToken, FromBroker, ToBroker, WINDOW, reason};
use crate::clock;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, Packet, PubAck, PubAckReason, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ClientError, Event, EventLoop};
use slipway_protocol::refusal::printable;
use slipway_protocol::{Notice, Report};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Presence while the connection stands.
pub(super) const ONLINE: &str = r#"{"v":1,"state":"online"}"#;
/// Presence afterwards: last will, or our own goodbye.
pub(super) const OFFLINE: &str = r#"{"v":1,"state":"offline"}"#;

/// An acknowledgement that is owed this long never comes on this connection.
const ANSWER: Duration = Duration::from_secs(60);
/// After the broker refused a topic, when to ask again, by a new connection.
const REFUSED: Duration = Duration::from_secs(300);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// Reports kept while the window is full. The driver offers no more than [`WINDOW`]; the rest is for one that does.
const WAITING: usize = 2 * WINDOW;

/// How long our own words may take to come back.
const ECHO: Duration = Duration::from_secs(30);
/// Checks of hearing without an answer that are lived with where none ever came, before a new session is tried after all.
const TOLERATED: u32 = 24;
/// Acknowledgements that may wait; a broker with more unanswered notices ignores the receive maximum.
const ACKS: usize = 4096;
/// Of those, how many are in the library's queue at once.
const ACKS_IN_LINE: usize = 32;

/// How a connection ended.
pub(super) enum End {
    /// The driver wanted it.
    Stopped,
    /// Anything else, for a person.
    Lost(String),
}

impl From<ClientError> for End {
    fn from(_: ClientError) -> Self {
        // Its queue holds all that may be handed over at once.
        Self::Lost("the MQTT library's request queue is full".into())
    }
}

impl From<Confused> for End {
    fn from(_: Confused) -> Self {
        Self::Lost("the broker acknowledged a packet that was not sent".into())
    }
}

/// What belongs to one connection.
struct Session {
    client: AsyncClient,
    in_flight: InFlight,
    waiting: VecDeque<Report>,
    /// Acknowledgements to be handed over, in the order of their notices.
    acks: VecDeque<u16>,
    /// Acknowledgements that the library has not sent yet.
    acks_in_line: usize,
    window: usize,
    /// Largest packet that the broker takes.
    largest: usize,
    /// The broker answered CONNECT.
    met: bool,
    /// Subscribed: from here on, what is rung is heard.
    up: bool,
    stopping: bool,
    /// An answer came or the first one became owed: the wait starts again.
    answered: bool,
    /// A topic that the broker refused, in words.
    refused: Option<String>,
    /// The session began with this connection.
    new_session: bool,
    /// We said online and have not heard it yet.
    echo_owed: bool,
    /// We heard ourselves on this connection.
    echoed: bool,
}

/// Serves one connection until it ends.
pub(super) async fn serve(shared: &mut Shared, client: AsyncClient, mut event_loop: EventLoop, address: &Address) -> End {
    let mut session = Session {
        client,
        in_flight: InFlight::default(),
        waiting: VecDeque::new(),
        acks: VecDeque::new(),
        acks_in_line: 0,
        window: WINDOW,
        largest: usize::MAX,
        met: false,
        up: false,
        stopping: false,
        answered: false,
        refused: None,
        new_session: false,
        echo_owed: false,
        echoed: false,
    };
    let Err(end) = session.run(shared, &mut event_loop, address).await;
    // What arrived together with the end still counts.
    for event in std::mem::take(&mut event_loop.state.events) {
        if session.on_event(shared, event).is_err() {
            break;
        }
    }
    end
}

impl Session {
    async fn run(&mut self, shared: &mut Shared, event_loop: &mut EventLoop, address: &Address) -> Result<Infallible, End> {
        // Silence and owed answers are watched here: the library does not notice a peer that takes no more bytes.
        let own_keep_alive = event_loop.options.keep_alive();
        let mut patience = Duration::from_secs(DIAL_SECS).saturating_mul(2);
        let (silence, owed, goodbye, again) = (sleep(patience), sleep(ANSWER), sleep(GOODBYE), sleep(REFUSED));
        let (listen, echo_wait) = (sleep(shared.hearing_check), ECHO.min(shared.hearing_check));
        tokio::pin!(silence, owed, goodbye, again, listen);
        loop {
            let polled = {
                // Polled to its end: dropping it halfway would dial again.
                let poll = event_loop.poll();
                tokio::pin!(poll);
                loop {
                    if std::mem::take(&mut self.answered) {
                        owed.as_mut().reset(later(ANSWER));
                    }
                    let check_hearing = tokio::select! {
                        polled = &mut poll => break polled,
                        command = shared.commands.recv(), if !self.stopping => {
                            self.on_command(shared, command.unwrap_or(ToBroker::Stop))?;
                            goodbye.as_mut().reset(later(GOODBYE));
                            false
                        }
                        permit = shared.events.reserve(), if !shared.out.is_empty() => match (permit, shared.out.pop_front()) {
                            (Ok(permit), Some(event)) => {
                                permit.send(event);
                                false
                            }
                            _ => return Err(End::Stopped),
                        },
                        () = &mut silence => return Err(End::Lost("no packet arrived within the keep-alive time; the network may be down".into())),
                        () = &mut owed, if self.met && (!self.up || self.in_flight.awaits()) => {
                            return Err(End::Lost("the broker does not acknowledge packets".into()));
                        }
                        () = &mut listen, if self.up && !self.stopping => true,
                        () = &mut goodbye, if self.stopping => return Err(End::Stopped),
                        () = &mut again, if self.refused.is_some() => return Err(End::Lost(self.refused.take().unwrap_or_default())),
                    };
                    if check_hearing {
                        if self.echo_owed {
                            self.not_echoed(shared)?;
                        } else {
                            self.presence(shared, OutgoingPublish::Online)?;
                        }
                        listen.as_mut().reset(later(if self.echo_owed { echo_wait } else { shared.hearing_check }));
                    }
                }
            };
            silence.as_mut().reset(later(patience));
            let event = match polled {
                Ok(event) => event,
                Err(error) => {
                    shared.poisoned |= self.met && reason::poisoned(&error);
                    return Err(End::Lost(reason::describe(&error, address)));
                }
            };
            match &event {
                Event::Incoming(Packet::ConnAck(_)) => {
                    // A broker that wants no keep-alive says 0, at which the library would ping without pause.
                    if event_loop.options.keep_alive().is_zero() {
                        event_loop.options.set_keep_alive(own_keep_alive);
                    }
                    patience = event_loop.options.keep_alive().max(own_keep_alive).saturating_mul(3);
                    silence.as_mut().reset(later(patience));
                    self.answered = true;
                }
                Event::Incoming(Packet::Publish(_)) => {
                    if let Some(pause) = shared.flood.brake(clock::now().moment.secs) {
                        sleep(pause).await;
                    }
                }
                Event::Outgoing(Outgoing::Disconnect) if self.stopping => return Err(End::Stopped),
                _ => {}
            }
            let (was_refused, was_owed) = (self.refused.is_some(), self.echo_owed);
            self.on_event(shared, event)?;
            if self.echo_owed != was_owed {
                listen.as_mut().reset(later(if self.echo_owed { echo_wait } else { shared.hearing_check }));
            }
            if self.refused.is_some() && !was_refused {
                again.as_mut().reset(later(REFUSED));
            }
        }
    }

    /// What the driver wants.
    fn on_command(&mut self, shared: &Shared, command: ToBroker) -> Result<(), End> {
        match command {
            ToBroker::Stop if self.up => {
                self.stopping = true;
                self.presence(shared, OutgoingPublish::Offline)
            }
            ToBroker::Stop => Err(End::Stopped),
            // A number of an older connection means another notice now, or none. That notice comes again.
            ToBroker::Acknowledge(token) if token.connection == shared.connection => self.acknowledge(token.pkid),
            ToBroker::Report(report) if self.up => self.offer(shared, report),
            ToBroker::Progress(report) if self.up && self.in_flight.in_line() == 0 => {
                self.send(shared, OutgoingPublish::Progress, report)
            }
            ToBroker::Acknowledge(_) | ToBroker::Report(_) | ToBroker::Progress(_) => Ok(()),
        }
    }

    /// What the library says.
    fn on_event(&mut self, shared: &mut Shared, event: Event) -> Result<(), End> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.connected(shared, &connack),
            Event::Incoming(Packet::SubAck(suback)) => self.subscribed(shared, &suback),
            Event::Incoming(Packet::Publish(publish)) => self.on_publish(shared, &publish),
            Event::Incoming(Packet::PubAck(puback)) => self.on_puback(shared, &puback),
            Event::Outgoing(Outgoing::Publish(pkid)) => Ok(self.in_flight.sent(pkid)?),
            Event::Outgoing(Outgoing::PubAck(_)) => {
                self.acks_in_line = self.acks_in_line.saturating_sub(1);
                self.hand_over_acks()
            }
            Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
        }
    }

    /// Subscribes, every time: it heals a session that the broker lost or that has other topics, and retained notices only come when
    /// the subscription is new to the broker.
    fn connected(&mut self, shared: &mut Shared, connack: &ConnAck) -> Result<(), End> {
        self.met = true;
        self.new_session = !connack.session_present;
        let properties = connack.properties.as_ref();
        self.largest =
            properties.and_then(|p| p.max_packet_size).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        // One place stays for presence.
        let theirs = properties.and_then(|p| p.receive_max).map_or(usize::MAX, usize::from);
        self.window = WINDOW.min(theirs.saturating_sub(1)).max(1);
        let retained =
            if std::mem::take(&mut shared.poisoned) { RetainForwardRule::Never } else { RetainForwardRule::OnNewSubscribe };
        let filter = |topic: &String, rule| Filter { retain_forward_rule: rule, ..Filter::new(topic, QoS::AtLeastOnce) };
        let notices = shared.topics.notices.iter().map(|topic| filter(topic, retained.clone()));
        self.client.try_subscribe_many(notices.chain([filter(&shared.topics.presence, RetainForwardRule::Never)]))?;
        Ok(())
    }

    fn subscribed(&mut self, shared: &mut Shared, suback: &SubAck) -> Result<(), End> {
        for (topic, code) in shared.topics.notices.iter().zip(&suback.return_codes) {
            if !matches!(code, SubscribeReasonCode::Success(_)) {
                self.complain(format!(
                    "broker refused the subscription to {topic} ({code:?}); allow it in the broker's access list"
                ));
            }
        }
        self.up = true;
        self.presence(shared, OutgoingPublish::Online)?;
        shared.say_state(FromBroker::Connected);
        Ok(())
    }

    /// We did not hear ourselves. In a new session that never worked, the broker does not allow it; otherwise the session is deaf.
    fn not_echoed(&mut self, shared: &mut Shared) -> Result<(), End> {
        self.echo_owed = false;
        if shared.tolerated == 0 && self.new_session && !self.echoed {
            let topic = &shared.topics.presence;
            tracing::warn!(
                topic,
                "node cannot read its own presence topic; delivery checks are disabled until the broker allows it"
            );
            shared.tolerated = TOLERATED;
        }
        if shared.tolerated > 1 {
            shared.tolerated = shared.tolerated.saturating_sub(1);
            return Ok(());
        }
        shared.tolerated = 0;
        shared.poisoned = true;
        Err(End::Lost("the broker no longer delivers to this node; starting a new session".into()))
    }

    /// A message on one of our topics, or of an older configuration.
    fn on_publish(&mut self, shared: &mut Shared, publish: &Publish) -> Result<(), End> {
        if publish.topic == shared.topics.presence.as_bytes() {
            if publish.payload == ONLINE.as_bytes() {
                shared.tolerated = 0;
                (self.echo_owed, self.echoed) = (false, true);
            }
            return self.acknowledge(publish.pkid);
        }
        let Some(topic) = shared.topics.notices.iter().find(|topic| topic.as_bytes() == publish.topic) else {
            return self.acknowledge(publish.pkid);
        };
        if publish.payload.is_empty() {
            // A retained notice was taken back.
            return self.acknowledge(publish.pkid);
        }
        match Notice::parse(&publish.payload) {
            Ok(notice) => match Arc::clone(&shared.places).try_acquire_owned() {
                Ok(place) => {
                    let ack = AckToken { connection: shared.connection, pkid: publish.pkid, _place: place };
                    shared.out.push_back(FromBroker::Notice { notice, ack });
                    Ok(())
                }
                Err(_) => {
                    tracing::debug!(topic, "notice dropped; too many are waiting");
                    self.acknowledge(publish.pkid)
                }
            },
            Err(error) => {
                if let Some(more) = shared.bad.complain(clock::now().moment.secs) {
                    let since = if more == 0 { String::new() } else { format!("; {more} more since the last such warning") };
                    shared.out.push_back(FromBroker::BadNotice(printable(&format!("{topic}: {error}{since}"))));
                }
                self.acknowledge(publish.pkid)
            }
        }
    }

    /// The broker answered a publish of ours.
    fn on_puback(&mut self, shared: &mut Shared, puback: &PubAck) -> Result<(), End> {
        let outgoing = self.in_flight.on_puback(puback.pkid)?;
        self.answered = true;
        let taken = matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        match outgoing {
            OutgoingPublish::Report(seq) if taken => shared.out.push_back(FromBroker::Delivered(seq)),
            OutgoingPublish::Report(_) | OutgoingPublish::Online if !taken => {
                let topic = if outgoing == OutgoingPublish::Online { &shared.topics.presence } else { &shared.topics.report };
                self.complain(format!(
                    "broker refused a message on {topic} ({:?}); allow it in the broker's access list",
                    puback.reason
                ));
            }
            OutgoingPublish::Offline => self.client.try_disconnect()?,
            OutgoingPublish::Online | OutgoingPublish::Report(_) | OutgoingPublish::Progress => {}
        }
        while self.in_flight.reports() < self.window {
            let Some(report) = self.waiting.pop_front() else { break };
            self.send(shared, OutgoingPublish::Report(report.seq), report)?;
        }
        Ok(())
    }

    /// Something that only the operator can change: said once, and everything is tried again after [`REFUSED`].
    fn complain(&mut self, text: String) {
        if self.refused.is_none() {
            tracing::warn!(reason = %text, "broker restricts this node");
            self.refused = Some(text);
        }
    }

    /// The library reads ten packets for each one that it writes, and mosquitto 2.0 sends more than the receive maximum in a flood:
    /// acknowledgements wait here, so that they cannot fill the library's queue.
    fn acknowledge(&mut self, pkid: u16) -> Result<(), End> {
        if pkid != 0 {
            if self.acks.len() >= ACKS {
                return Err(End::Lost("the broker exceeds the receive maximum".into()));
            }
            self.acks.push_back(pkid);
        }
        self.hand_over_acks()
    }

    fn hand_over_acks(&mut self) -> Result<(), End> {
        while self.acks_in_line < ACKS_IN_LINE {
            let Some(pkid) = self.acks.pop_front() else { break };
            let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new(), None);
            publish.pkid = pkid;
            self.client.try_ack(&publish)?;
            self.acks_in_line = self.acks_in_line.saturating_add(1);
        }
        Ok(())
    }

    /// Takes a report unless it is on its way already.
    fn offer(&mut self, shared: &Shared, report: Report) -> Result<(), End> {
        if self.in_flight.carries(report.seq) || self.waiting.iter().any(|other| other.seq == report.seq) {
            return Ok(());
        }
        if self.in_flight.reports() < self.window {
            return self.send(shared, OutgoingPublish::Report(report.seq), report);
        }
        if self.waiting.len() < WAITING {
            self.waiting.push_back(report);
        } else {
            tracing::debug!(seq = report.seq, "report not accepted for sending; too many are waiting");
        }
        Ok(())
    }

    fn send(&mut self, shared: &Shared, outgoing: OutgoingPublish, mut report: Report) -> Result<(), End> {
        let topic = &shared.topics.report;
        // Header, length, topic, identifier and no properties.
        let room = self.largest.saturating_sub(topic.len()).saturating_sub(16);
        let mut payload = serde_json::to_vec(&report).unwrap_or_default();
        if payload.len() > room {
            // Better without the evidence than never.
            report.text = Some("omitted: the broker accepts no packets of that size".into());
            payload = serde_json::to_vec(&report).unwrap_or_default();
        }
        if payload.is_empty() || payload.len() > room {
            self.complain(format!("broker accepts no packet as large as a report ({} bytes); raise its limit", payload.len()));
            return Ok(());
        }
        let qos = if outgoing == OutgoingPublish::Progress { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        self.publish(outgoing, topic, qos, false, payload)
    }

    fn presence(&mut self, shared: &Shared, outgoing: OutgoingPublish) -> Result<(), End> {
        let payload = if outgoing == OutgoingPublish::Online { ONLINE } else { OFFLINE };
        self.echo_owed |= outgoing == OutgoingPublish::Online;
        self.publish(outgoing, &shared.topics.presence, QoS::AtLeastOnce, true, payload.into())
    }

    fn publish(&mut self, outgoing: OutgoingPublish, topic: &str, qos: QoS, retain: bool, payload: Vec<u8>) -> Result<(), End> {
        self.client.try_publish(topic, qos, retain, payload)?;
        self.answered |= !self.in_flight.awaits();
        self.in_flight.enqueue(outgoing);
        Ok(())
    }
}

fn later(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}
