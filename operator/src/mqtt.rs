//! MQTT 5 from the operator's side: sends notices and receives reports.

use crate::error::BROKER;
use rand_core::RngCore as _;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use slipway_protocol::{FleetName, NodeName, Notice, Refusal, Report, topics};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to reach a broker.
#[derive(Clone, Debug, Default)]
pub struct Broker {
    /// `mqtt://host:1883` or `mqtts://host:8883`, with `user:password@` if needed.
    pub url: String,
    /// Roots to believe, PEM; the system's when absent.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM; only together with `key`.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// Whom a notice is for.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Every node of a fleet.
    Fleet(FleetName),
    /// One node of it.
    Node(FleetName, NodeName),
}

/// Reports are a few KiB, with evidence at most some ten; a broker that passes on more than this is not ours.
const PACKET_LIMIT: u32 = 256 * 1024;
/// From dialling to the broker's acknowledgement.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(20);

/// Publishes a notice with QoS 1 and returns when the broker has acknowledged it.
///
/// # Errors
/// `SLW-O-BROKER` saying what the broker did instead.
pub async fn notify(broker: &Broker, audience: &Audience, notice: &Notice) -> Result<(), Refusal> {
    let topic = match audience {
        Audience::Fleet(fleet) => topics::fleet_notice(fleet),
        Audience::Node(fleet, node) => topics::node_notice(fleet, node),
    };
    let payload = serde_json::to_vec(notice).map_err(|error| BROKER.with(error, "a notice"))?;
    let (client, mut events) = connect(broker)?;
    client.publish(topic, QoS::AtLeastOnce, false, payload).await.map_err(|error| BROKER.with(error, "to publish"))?;
    let acknowledged = async {
        loop {
            if let Packet::PubAck(ack) = incoming(&mut events, broker).await? {
                return match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                    reason => Err(BROKER.with(format_args!("notice refused: {reason:?}"), "an acknowledgement")),
                };
            }
        }
    };
    tokio::time::timeout(NOTIFY_TIMEOUT, acknowledged)
        .await
        .map_err(|_| BROKER.with("no acknowledgement", format_args!("one within {} s", NOTIFY_TIMEOUT.as_secs())))??;
    client.disconnect().await.map_err(|error| BROKER.with(error, "to disconnect"))?;
    // The disconnect leaves with the next turn of the loop; whether the broker still answers does not matter any more.
    let _gone = tokio::time::timeout(Duration::from_secs(1), events.poll()).await;
    Ok(())
}

/// Hands every report of a fleet to `each` until it returns false or the connection breaks.
///
/// # Errors
/// `SLW-O-BROKER` saying what the broker did.
pub async fn watch(broker: &Broker, fleet: &FleetName, mut each: impl FnMut(Report) -> bool) -> Result<(), Refusal> {
    let (client, mut events) = connect(broker)?;
    let filter = Filter::new(topics::fleet_reports(fleet), QoS::AtLeastOnce);
    client.subscribe_many([filter]).await.map_err(|error| BROKER.with(error, "to subscribe"))?;
    loop {
        match incoming(&mut events, broker).await? {
            Packet::SubAck(ack) => {
                use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode::Success;
                if let Some(refused) = ack.return_codes.iter().find(|code| !matches!(code, Success(_))) {
                    return Err(BROKER.with(format_args!("subscription refused: {refused:?}"), "read access to reports"));
                }
            }
            // What does not parse is not a report of this version's agents; a log is no place to fail over it.
            Packet::Publish(publish) => {
                if let Ok(report) = serde_json::from_slice(&publish.payload)
                    && !each(report)
                {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

async fn incoming(events: &mut EventLoop, broker: &Broker) -> Result<Packet, Refusal> {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(packet)) => return Ok(packet),
            Ok(Event::Outgoing(_)) => {}
            Err(error) => return Err(BROKER.with(format_args!("{}: {error}", printable(&broker.url)), "a connection")),
        }
    }
}

fn connect(broker: &Broker) -> Result<(AsyncClient, EventLoop), Refusal> {
    let bad = |why: &str| BROKER.with(format_args!("{}: {why}", printable(&broker.url)), "mqtt://host:port or mqtts://host:port");
    let url = url::Url::parse(&broker.url).map_err(|error| bad(&error.to_string()))?;
    let host = url.host_str().ok_or_else(|| bad("no host"))?.trim_matches(['[', ']']);
    let (port, secure) = match url.scheme() {
        "mqtt" | "tcp" => (1883, false),
        "mqtts" | "ssl" => (8883, true),
        _ => return Err(bad("unknown scheme")),
    };
    let id = format!("slipway-{:08x}", rand_core::OsRng.next_u32());
    let mut options = MqttOptions::new(id, host, url.port().unwrap_or(port));
    options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(Some(PACKET_LIMIT));
    if !url.username().is_empty() {
        options.set_credentials(url.username(), url.password().unwrap_or_default());
    }
    if secure {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls(broker)?))));
    } else if broker.ca.is_some() || broker.cert.is_some() {
        return Err(bad("certificates with a plain connection"));
    }
    Ok(AsyncClient::new(options, 10))
}

fn tls(broker: &Broker) -> Result<rustls::ClientConfig, Refusal> {
    let bad = |error: &dyn std::fmt::Display| BROKER.with(error, "PEM certificates and a PEM key");
    let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, Refusal> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        read.map_err(|error| bad(&format_args!("{}: {error}", path.display())))
    };
    let mut roots = rustls::RootCertStore::empty();
    let believed = match &broker.ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if roots.add_parsable_certificates(believed).0 == 0 {
        return Err(bad(&"no root certificates: give --ca"));
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots);
    match (&broker.cert, &broker.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(&format_args!("{}: {error}", key.display())))?;
            builder.with_client_auth_cert(certificates(cert)?, key).map_err(|error| bad(&error))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(bad(&"--cert and --key go together")),
    }
}

/// The URL without its password.
fn printable(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let (head, tail) = (url.get(..scheme).unwrap_or_default(), url.get(at..).unwrap_or_default());
            format!("{head}://…{tail}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_reach_messages() {
        assert_eq!(printable("mqtts://me:secret@broker:8883"), "mqtts://…@broker:8883");
        assert_eq!(printable("mqtt://broker"), "mqtt://broker");
    }

    #[test]
    fn a_wrong_address_is_explained() {
        for url in ["", "broker:1883", "http://broker", "mqtt://"] {
            let Err(refusal) = connect(&Broker { url: url.to_owned(), ..Broker::default() }) else { panic!("{url}") };
            assert_eq!(refusal.code, "SLW-O-BROKER", "{url}");
        }
        let plain = Broker { url: "mqtt://broker".to_owned(), ca: Some("x".into()), ..Broker::default() };
        assert!(connect(&plain).is_err(), "a CA on a plain connection is a mistake");
    }
}
