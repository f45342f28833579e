//! Turns the MQTT library's errors into texts that say what to do.

use super::settings::Address;
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError};
use slipway_protocol::refusal::printable;
use std::io;

/// Why there is no connection, for a person.
pub(super) fn describe(error: &ConnectionError, address: &Address) -> String {
    let Address { host, port, .. } = address;
    let text = match error {
        ConnectionError::Timeout(_) => {
            format!("{host}:{port} did not answer in time: check for a firewall, and whether it is an MQTT 5 broker")
        }
        ConnectionError::Io(error) => io_error(error, address),
        ConnectionError::Tls(TlsError::Io(error)) => io_error(error, address),
        ConnectionError::Tls(TlsError::TLS(error)) => tls_error(error, address),
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::NotConnAck(_) => format!("{host}:{port} answered, but not with MQTT"),
        ConnectionError::MqttState(StateError::Io(error) | StateError::Deserialization(CodecError::Io(error))) => {
            io_error(error, address)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => hung_up(address),
        ConnectionError::MqttState(StateError::AwaitPingResp) => "the broker no longer answers".to_owned(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let said = reason_string.as_deref().map(|said| format!(" ({said})")).unwrap_or_default();
            match reason_code {
                DisconnectReasonCode::SessionTakenOver => {
                    format!("another client connected with our client id: give each node its own mqtt.client_id{said}")
                }
                other => format!("the broker ended the connection: {other:?}{said}"),
            }
        }
        other => other.to_string(),
    };
    printable(&text)
}

/// Whether the broker sent something that the library cannot take, and would send it again: a publish larger than we said we take, or
/// one it cannot parse. Only a new session helps then, or the node never receives anything again.
pub(super) fn poisoned(error: &ConnectionError) -> bool {
    match error {
        // A bare DISCONNECT or PINGRESP-like packet without a body is what the library calls "payload required"; nothing is sent again.
        ConnectionError::MqttState(StateError::Deserialization(error)) => {
            !matches!(error, CodecError::Io(_) | CodecError::PayloadRequired)
        }
        ConnectionError::MqttState(StateError::IncomingPacketTooLarge { .. } | StateError::WrongPacket) => true,
        _ => false,
    }
}

fn refused(code: ConnectReturnCode) -> String {
    match code {
        ConnectReturnCode::BadUserNamePassword => {
            "the broker rejected user name and password: check mqtt.username and mqtt.password_file".into()
        }
        ConnectReturnCode::NotAuthorized => {
            "the broker denied this node access: check its user list, mqtt.username, and the name in the certificate".into()
        }
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            "the broker does not speak MQTT 5: use mosquitto 1.6 or later, or another MQTT 5 broker".into()
        }
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            "the broker rejected the client id: set mqtt.client_id to one that it accepts".into()
        }
        other => format!("the broker refused the connection: {other:?}"),
    }
}

fn hung_up(Address { host, port, .. }: &Address) -> String {
    format!(
        "{host}:{port} closed the connection; if this recurs, check that it speaks MQTT 5, with or without TLS as mqtt.url says"
    )
}

fn io_error(error: &io::Error, address: &Address) -> String {
    let Address { host, port, .. } = address;
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_error(error, address);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens at {host}:{port}: check that the broker runs and that the port is right")
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => hung_up(address),
        _ if error.to_string().contains("lookup") => format!("cannot find {host}: {error}"),
        _ => format!("{host}:{port}: {error}"),
    }
}

fn tls_error(error: &rustls::Error, address: &Address) -> String {
    let host = &address.host;
    match error {
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the broker requires a client certificate: set mqtt.tls.cert and mqtt.tls.key".into()
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError,
        ) => {
            format!("the broker rejected our certificate ({error}): set mqtt.tls.cert to one from an authority that it trusts")
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "our certificate mqtt.tls.cert has expired: renew it".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("{host}'s certificate is not from an authority in mqtt.tls.ca")
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            format!("{host}'s certificate is for another name: use that name in mqtt.url")
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("{host}'s certificate has expired, or this node's clock is wrong")
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("{host}'s certificate is not valid yet: this node's clock is behind")
        }
        rustls::Error::InvalidMessage(_) => {
            format!("{host} does not speak TLS on port {}: use mqtt:// or another port", address.port)
        }
        other => format!("TLS with {host}: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address { host: "broker.example".into(), port: 8883, tls: true }
    }

    #[test]
    fn the_common_ones_say_what_to_do() {
        let tls = |error: rustls::Error| ConnectionError::Tls(TlsError::Io(io::Error::new(io::ErrorKind::InvalidData, error)));
        let later = |error: rustls::Error| {
            ConnectionError::MqttState(StateError::Deserialization(CodecError::Io(io::Error::new(
                io::ErrorKind::InvalidData,
                error,
            ))))
        };
        for (error, want) in [
            (later(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)), "mqtt.tls.cert and mqtt.tls.key"),
            (later(rustls::Error::AlertReceived(AlertDescription::UnknownCA)), "authority that it trusts"),
            (tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)), "mqtt.tls.ca"),
            (tls(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)), "another name"),
            (tls(rustls::Error::InvalidCertificate(CertificateError::NotValidYet)), "clock is behind"),
            (ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized), "mqtt.username"),
            (ConnectionError::Io(io::ErrorKind::ConnectionRefused.into()), "nothing listens at broker.example:8883"),
            (
                ConnectionError::MqttState(StateError::ServerDisconnect {
                    reason_code: DisconnectReasonCode::SessionTakenOver,
                    reason_string: Some("\u{1b}[2J".into()),
                }),
                "mqtt.client_id (\u{fffd}[2J)",
            ),
        ] {
            let text = describe(&error, &address());
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn only_what_would_come_again_poisons_a_session() {
        let state = ConnectionError::MqttState;
        for (error, want) in [
            (state(StateError::Deserialization(CodecError::PayloadSizeLimitExceeded { pkt_size: 1 << 20, max: 1 })), true),
            (state(StateError::Deserialization(CodecError::InvalidPropertyType(99))), true),
            (state(StateError::Deserialization(CodecError::PayloadRequired)), false),
            (state(StateError::Deserialization(CodecError::Io(io::ErrorKind::ConnectionReset.into()))), false),
            (state(StateError::ConnectionAborted), false),
            (ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy), false),
        ] {
            assert_eq!(poisoned(&error), want, "{error}");
        }
    }
}
