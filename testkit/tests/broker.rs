//! The broker runs, with and without certificates, and comes back.

use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::tls::{Authority, Identity, client_config};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// CONNECT of MQTT 5, client id `t`, clean start.
const CONNECT: [u8; 16] = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b't'];

/// The reason code of the CONNACK.
fn connect(mut stream: impl std::io::Read + std::io::Write) -> std::io::Result<u8> {
    stream.write_all(&CONNECT)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer[0], 0x20, "a CONNACK");
    Ok(answer[3])
}

fn tcp(broker: &Mosquitto) -> TcpStream {
    let stream = TcpStream::connect(broker.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn tls(broker: &Mosquitto, ca: &Path, identity: Option<&Identity>) -> std::io::Result<u8> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut config = client_config(ca).unwrap();
    if let Some(identity) = identity {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
            )
            .unwrap();
    }
    let client = rustls::ClientConnection::new(Arc::new(config), broker.host().try_into().unwrap()).unwrap();
    connect(rustls::StreamOwned::new(client, tcp(broker)))
}

#[test]
fn plain_answers_and_comes_back_on_the_same_port() {
    let mut broker = Mosquitto::start(Access::Plain).unwrap();
    assert_eq!(broker.url(), format!("mqtt://{}", broker.address()));
    assert_eq!(connect(tcp(&broker)).unwrap(), 0);
    let (address, pid) = (broker.address(), broker.pid());
    broker.stop();
    assert!(TcpStream::connect(address).is_err());
    broker.restart().unwrap();
    assert_eq!(broker.address(), address);
    assert_ne!(broker.pid(), pid);
    assert_eq!(connect(tcp(&broker)).unwrap(), 0);
}

#[test]
fn a_frozen_broker_says_nothing_until_it_thaws() {
    let broker = Mosquitto::start(Access::Plain).unwrap();
    let mut stream = tcp(&broker);
    broker.freeze().unwrap();
    stream.write_all(&CONNECT).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(stream.read(&mut [0; 4]).is_err());
    broker.thaw().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(stream.read(&mut [0; 4]).unwrap() > 0);
}

#[test]
fn tls_is_for_those_who_trust_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(&dir.path().join("ours")).unwrap();
    let theirs = Authority::new(&dir.path().join("theirs")).unwrap();
    let broker = Mosquitto::start(Access::Tls(ours.server().unwrap())).unwrap();
    assert_eq!(tls(&broker, &ours.ca(), None).unwrap(), 0);
    assert!(tls(&broker, &theirs.ca(), None).is_err());
    let expired = Mosquitto::start(Access::Tls(ours.expired_server().unwrap())).unwrap();
    assert!(tls(&expired, &ours.ca(), None).is_err());
}

#[test]
fn mutual_tls_is_for_those_with_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(&dir.path().join("ours")).unwrap();
    let theirs = Authority::new(&dir.path().join("theirs")).unwrap();
    let broker = Mosquitto::start(Access::MutualTls(ours.server().unwrap())).unwrap();
    assert_eq!(tls(&broker, &ours.ca(), Some(&ours.client("node-1").unwrap())).unwrap(), 0);
    assert!(tls(&broker, &ours.ca(), None).is_err());
    assert!(tls(&broker, &ours.ca(), Some(&theirs.client("node-1").unwrap())).is_err());
}

#[test]
fn a_broken_configuration_is_reported_with_the_log() {
    let error = Mosquitto::start_with(Access::Plain, "no_such_setting 1").unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}
