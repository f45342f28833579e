//! The agent's MQTT side against brokers that violate the protocol, played by the tests themselves.
//!
//! mosquitto cannot be made to misbehave like this. Each test says what its broker does; apart from that they answer as MQTT 5.0 asks,
//! but keep no sessions and route nothing.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic and look at the clock")]

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Filter, Packet, PingResp, PubAck, PubAckReason, Publish,
    RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode,
};
use slipway_agent::mqtt::{self, FromBroker, MqttSettings, ToBroker};
use slipway_protocol::{FleetName, NodeName, topics};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

fn start_with(port: u16, extra: &str) -> (mpsc::Sender<ToBroker>, mpsc::Receiver<FromBroker>) {
    let settings: MqttSettings = toml::from_str(&format!("url = 'mqtt://127.0.0.1:{port}'\nkeep_alive = '5s'\n{extra}")).unwrap();
    let (node, fleet): (NodeName, FleetName) = ("n1".parse().unwrap(), "f1".parse().unwrap());
    mqtt::start(settings, &node, &fleet).unwrap()
}

fn start(port: u16) -> (mpsc::Sender<ToBroker>, mpsc::Receiver<FromBroker>) {
    start_with(port, "")
}

fn notice(pkid: u16, payload: impl Into<Vec<u8>>) -> Packet {
    let topic = topics::fleet_notice(&"f1".parse().unwrap());
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload.into(), None);
    publish.pkid = pkid;
    Packet::Publish(publish)
}

fn notices_of(subscribe: &Subscribe) -> impl Iterator<Item = &Filter> {
    subscribe.filters.iter().filter(|filter| filter.path.ends_with("/notice"))
}

/// The broker's end of one connection.
struct Peer {
    stream: TcpStream,
    bytes: BytesMut,
}

impl Peer {
    /// Takes a connection as far as the subscription.
    async fn accept(listener: &TcpListener, properties: Option<ConnAckProperties>) -> (Self, Connect, Subscribe) {
        let (stream, _) = timeout(SOON, listener.accept()).await.expect("the node dials").unwrap();
        let mut peer = Self { stream, bytes: BytesMut::new() };
        let Packet::Connect(connect, will, _) = peer.next().await else { panic!("no CONNECT") };
        assert!(will.is_some_and(|will| will.retain), "a retained last will");
        let session_present = !connect.clean_start;
        peer.send(Packet::ConnAck(ConnAck { session_present, code: ConnectReturnCode::Success, properties })).await;
        let Packet::Subscribe(subscribe) = peer.next().await else { panic!("no SUBSCRIBE") };
        assert!(subscribe.filters.iter().any(|filter| filter.path == "slipway/f1/node/n1/presence"), "it listens to itself");
        let return_codes = subscribe.filters.iter().map(|_| SubscribeReasonCode::Success(QoS::AtLeastOnce)).collect();
        peer.send(Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None })).await;
        (peer, connect, subscribe)
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        // The node may hang up in the middle.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The next packet; none when the node hangs up.
    async fn maybe_next(&mut self) -> Option<Packet> {
        timeout(SOON, async {
            loop {
                if let Ok(packet) = Packet::read(&mut self.bytes, None) {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.bytes).await {
                    Ok(read) if read > 0 => {}
                    _ => return None,
                }
            }
        })
        .await
        .expect("the node says something")
    }

    async fn next(&mut self) -> Packet {
        self.maybe_next().await.expect("the node stays connected")
    }

    async fn next_publish(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.next().await {
                return publish;
            }
        }
    }
}

async fn until<T>(from: &mut mpsc::Receiver<FromBroker>, mut want: impl FnMut(FromBroker) -> Option<T>) -> T {
    timeout(SOON, async {
        loop {
            if let Some(found) = want(from.recv().await.expect("the MQTT task lives")) {
                return found;
            }
        }
    })
    .await
    .expect("it comes")
}

/// Without the new session the broker would send the same packet again after every connection, and nothing else would be heard.
#[tokio::test]
async fn a_packet_that_cannot_be_read_costs_the_session_not_the_hearing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_to, mut from) = start(listener.local_addr().unwrap().port());
    let (mut peer, connect, subscribe) = Peer::accept(&listener, None).await;
    assert!(!connect.clean_start, "notices wait in the session");
    let properties = connect.properties.unwrap();
    assert_eq!(properties.max_packet_size, Some(16 * 1024));
    assert!(properties.receive_maximum.unwrap() <= 32 && properties.session_expiry_interval.unwrap() > 3600);
    assert!(notices_of(&subscribe).all(|filter| filter.retain_forward_rule == RetainForwardRule::OnNewSubscribe));
    // A good one and a huge one in one breath.
    peer.send(notice(1, br#"{"v":1,"timestamp_version":1}"#)).await;
    peer.send(notice(2, vec![b'x'; 20_000])).await;
    let first =
        until(
            &mut from,
            |event| if let FromBroker::Notice { notice, .. } = event { Some(notice.timestamp_version) } else { None },
        );
    assert_eq!(first.await, Some(1), "what came before it is heard");
    let reason = until(&mut from, |event| if let FromBroker::Disconnected(reason) = event { Some(reason) } else { None }).await;
    assert!(reason.contains("20"), "{reason}");

    let (mut peer, connect, subscribe) = Peer::accept(&listener, None).await;
    assert!(connect.clean_start, "the old session would send it again");
    assert!(
        notices_of(&subscribe).all(|filter| filter.retain_forward_rule == RetainForwardRule::Never),
        "so would a retained one"
    );
    peer.send(notice(1, br#"{"v":1,"timestamp_version":2}"#)).await;
    let second =
        until(
            &mut from,
            |event| if let FromBroker::Notice { notice, .. } = event { Some(notice.timestamp_version) } else { None },
        );
    assert_eq!(second.await, Some(2));

    drop(peer);
    let (_peer, connect, _) = Peer::accept(&listener, None).await;
    assert!(!connect.clean_start, "and then as before");
}

#[tokio::test]
async fn acknowledgements_out_of_order_twice_or_refused_deliver_nothing_wrongly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to, mut from) = start(listener.local_addr().unwrap().port());
    let (mut peer, ..) = Peer::accept(&listener, None).await;
    until(&mut from, |event| matches!(event, FromBroker::Connected).then_some(())).await;
    let report = |seq: u64| {
        serde_json::from_value(serde_json::json!({
            "v": 1, "node": "n1", "fleet": "f1", "seq": seq, "time": "2026-01-01T00:00:00Z",
            "component": "edgecore", "event": "staged", "state": "staged",
        }))
        .unwrap()
    };
    for seq in 1..=3 {
        to.send(ToBroker::Report(report(seq))).await.unwrap();
    }
    let presence = peer.next_publish().await;
    assert!(presence.retain);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let publish = peer.next_publish().await;
        sent.push((serde_json::from_slice::<slipway_protocol::Report>(&publish.payload).unwrap().seq, publish.pkid));
    }
    let pkid = |seq: u64| sent.iter().find(|(other, _)| *other == seq).unwrap().1;
    let refused = PubAck { pkid: pkid(2), reason: PubAckReason::NotAuthorized, properties: None };
    for ack in [PubAck::new(pkid(3), None), refused, PubAck::new(presence.pkid, None), PubAck::new(pkid(1), None)] {
        peer.send(Packet::PubAck(ack)).await;
    }
    let mut delivered = Vec::new();
    for _ in 0..2 {
        delivered.push(until(&mut from, |event| if let FromBroker::Delivered(seq) = event { Some(seq) } else { None }).await);
    }
    assert_eq!(delivered, [3, 1], "the refused one is not delivered");
    // An acknowledgement of nothing: a new connection, and what is offered there goes its own way.
    peer.send(Packet::PubAck(PubAck::new(pkid(1), None))).await;
    until(&mut from, |event| matches!(event, FromBroker::Disconnected(_)).then_some(())).await;
    let (mut peer, ..) = Peer::accept(&listener, None).await;
    until(&mut from, |event| matches!(event, FromBroker::Connected).then_some(())).await;
    to.send(ToBroker::Report(report(2))).await.unwrap();
    peer.next_publish().await;
    let again = peer.next_publish().await;
    peer.send(Packet::PubAck(PubAck::new(again.pkid, None))).await;
    assert_eq!(until(&mut from, |event| if let FromBroker::Delivered(seq) = event { Some(seq) } else { None }).await, 2);
}

/// `server_keep_alive = 0` means "no pings"; the library takes it for "ping without pause" and then misses the first answer.
#[tokio::test]
async fn a_broker_without_keep_alive_is_not_flooded_with_pings() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_to, mut from) = start(listener.local_addr().unwrap().port());
    let properties = ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(1),
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: Some(0),
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let (mut peer, ..) = Peer::accept(&listener, Some(properties)).await;
    until(&mut from, |event| matches!(event, FromBroker::Connected).then_some(())).await;
    let mut pings = 0;
    let quiet = timeout(Duration::from_secs(2), async {
        loop {
            match peer.next().await {
                Packet::PingReq(_) => {
                    pings += 1;
                    peer.send(Packet::PingResp(PingResp)).await;
                }
                Packet::Publish(publish) => peer.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await,
                _ => {}
            }
        }
    });
    assert!(quiet.await.is_err());
    assert!(pings <= 1, "{pings} pings in two seconds");
    assert!(from.try_recv().is_err(), "still connected");
}

/// Takes every publish of the node and delivers nothing, or with `echo` delivers the node its own words.
async fn serve(peer: &mut Peer, echo: bool) {
    while let Some(packet) = peer.maybe_next().await {
        match packet {
            Packet::PingReq(_) => peer.send(Packet::PingResp(PingResp)).await,
            Packet::Publish(publish) => {
                peer.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await;
                if echo {
                    peer.send(Packet::Publish(publish)).await;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_session_without_delivery_is_replaced_and_a_broker_without_echo_is_tolerated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_to, mut from) = start_with(listener.local_addr().unwrap().port(), "hearing_check = '1s'");
    let (mut peer, connect, _) = Peer::accept(&listener, None).await;
    assert!(!connect.clean_start);
    serve(&mut peer, false).await;
    let reason = until(&mut from, |event| if let FromBroker::Disconnected(reason) = event { Some(reason) } else { None }).await;
    assert!(reason.contains("no longer delivers"), "{reason}");

    let (mut peer, connect, _) = Peer::accept(&listener, None).await;
    assert!(connect.clean_start, "the deaf session is left");
    assert!(timeout(Duration::from_secs(4), serve(&mut peer, true)).await.is_err(), "a hearing session is kept");
    // It turns deaf while it is used.
    serve(&mut peer, false).await;

    let (mut peer, connect, _) = Peer::accept(&listener, None).await;
    assert!(connect.clean_start);
    assert!(
        timeout(Duration::from_secs(4), serve(&mut peer, false)).await.is_err(),
        "a new session that never echoes is not deaf but forbidden to"
    );
}
