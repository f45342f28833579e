//! An MQTT 5 broker inside this process, rumqttd 0.20, for the demo on machines without mosquitto.

use anyhow::{Context as _, Result};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use slipway_testkit::wait;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Starts a broker that speaks MQTT 5 on a loopback address of its own, for as long as this process lives. Returns its URL.
///
/// # Errors
/// When it does not accept connections within a minute.
pub fn start() -> Result<String> {
    let address = slipway_testkit::address();
    let config = config(address);
    std::thread::Builder::new().name("broker".into()).spawn(move || {
        if let Err(error) = Broker::new(config).start() {
            eprintln!("the broker ended: {error}");
        }
    })?;
    wait::try_until("the broker accepts connections", Duration::from_secs(60), || TcpStream::connect(address).is_ok())
        .context("the broker did not start")?;
    Ok(format!("mqtt://{address}"))
}

fn config(address: SocketAddr) -> Config {
    let router = RouterConfig {
        max_connections: 1000,
        max_outgoing_packet_count: 200,
        max_segment_size: 1024 * 1024,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 256 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "v5".into(), listen: address, tls: None, next_connection_delay_ms: 1, connections };
    Config { id: 0, router, v5: Some(HashMap::from([("v5".to_owned(), server)])), ..Config::default() }
}
