//! The TLS configuration that HTTP and MQTT share: roots, client certificate, provider and time.
//!
//! The time is the later of the clock and the latest known time, so a device whose clock begins in 1970 still finds certificates valid.
//! A server's certificate may be younger than anything such a device knows; then, and only then, it is taken to be valid from now on:
//! a device that slept long would otherwise never hear what time it is. What is fetched is proven by its signatures, never by TLS.

use crate::clock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use slipway_protocol::Refusal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Whom to believe on a TLS connection, and who we are.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// Roots, PEM; only these are believed then. Unset: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate with its intermediates, PEM. Only together with `key`.
    pub cert: Option<PathBuf>,
    /// The key of `cert`: PKCS#8, SEC1 or PKCS#1, PEM, unencrypted.
    pub key: Option<PathBuf>,
}

impl TlsSettings {
    /// Rules that are broken whatever the files hold: the key to blame and why.
    #[must_use]
    pub fn violations(&self) -> Vec<(&'static str, Refusal)> {
        match (&self.cert, &self.key) {
            (Some(cert), None) => {
                vec![("cert", SETTINGS.with(format_args!("cert = {} without key", cert.display()), "both or neither"))]
            }
            (None, Some(key)) => {
                vec![("key", SETTINGS.with(format_args!("key = {} without cert", key.display()), "both or neither"))]
            }
            _ => Vec::new(),
        }
    }
}

slipway_protocol::refusals! {
    SETTINGS = "SLW-A-TLS-SETTINGS", Configuration, Operator, "TLS settings are invalid",
        "correct the [tls] table of the configuration or the file that it names";
}

/// The configuration that HTTP and MQTT share.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, Refusal> {
    if let Some((_, refusal)) = settings.violations().into_iter().next() {
        return Err(refusal);
    }
    let roots = match &settings.ca {
        Some(path) => roots_of(path)?,
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(TrustedTime))
        .with_safe_default_protocol_versions()
        .map_err(|error| SETTINGS.with(error, "TLS 1.2 and 1.3"))?;
    let builder = if roots.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier::new(roots, provider, || clock::known().unsure)?))
    };
    let config = match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|error| {
            SETTINGS.with(format_args!("{} with {}: {error}", cert.display(), key.display()), "a certificate and its own key")
        })?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The later of the clock and the latest known time.
#[derive(Debug)]
struct TrustedTime;

impl TimeProvider for TrustedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(clock::known().trusted().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

/// Certificates of one chain that may be younger than what the device knows, each of which moves the time on once.
const CHAIN: usize = 8;

/// rustls' own verifier, asked once more about a later time when a certificate is not valid yet and the clock is not believed.
#[derive(Debug)]
struct Verifier {
    strict: Arc<WebPkiServerVerifier>,
    unsure: fn() -> bool,
}

impl Verifier {
    fn new(roots: RootCertStore, provider: Arc<CryptoProvider>, unsure: fn() -> bool) -> Result<Self, Refusal> {
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { strict: strict.map_err(|error| SETTINGS.with(error, "certificates that can be roots"))?, unsure })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut at = now;
        for _ in 0..CHAIN {
            match self.strict.verify_server_cert(end_entity, intermediates, server_name, ocsp, at) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                    if (self.unsure)() && not_before.as_secs() > at.as_secs() =>
                {
                    at = not_before;
                }
                verdict => return verdict,
            }
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, Refusal> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| SETTINGS.with(format_args!("{}: {error}", path.display()), "certificates that can be roots"))?;
    }
    Ok(roots)
}

/// The system's certificates. A device without any can still use plain connections on its own network, so that is a warning
/// here and a refused handshake later.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "system certificate could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "system has no CA certificates; TLS connections fail until `tls.ca` is set or ca-certificates is installed"
        );
    }
    roots
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    const WANTED: &str = "a PEM file with certificates";
    let bytes = read(path, WANTED)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| SETTINGS.with(format_args!("{}: {error}", path.display()), WANTED))?;
    if certificates.is_empty() {
        return Err(SETTINGS.with(format_args!("{}: no certificate in it", path.display()), WANTED));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Refusal> {
    const WANTED: &str = "a PEM file with an unencrypted private key";
    let bytes = read(path, WANTED)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| SETTINGS.with(format_args!("{}: {error}", path.display()), WANTED))
}

fn read(path: &Path, wanted: &str) -> Result<Vec<u8>, Refusal> {
    std::fs::read(path).map_err(|error| SETTINGS.with(format_args!("{}: {error}", path.display()), wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        _dir: tempfile::TempDir,
        cert: PathBuf,
        key: PathBuf,
        other_key: PathBuf,
        empty: PathBuf,
        garbage: PathBuf,
    }

    fn files() -> Files {
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Files {
            cert: put("cert.pem", &own.cert.pem()),
            key: put("key.pem", &own.signing_key.serialize_pem()),
            other_key: put("other.pem", &other.serialize_pem()),
            empty: put("empty.pem", ""),
            garbage: put("garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"),
            _dir: dir,
        }
    }

    fn refusal(settings: &TlsSettings) -> Refusal {
        client_config(settings).expect_err("these settings are wrong")
    }

    #[test]
    fn own_roots_and_client_certificate() {
        let files = files();
        let settings = TlsSettings { ca: Some(files.cert.clone()), cert: Some(files.cert), key: Some(files.key) };
        let config = client_config(&settings).unwrap();
        assert!(config.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn nothing_set_means_the_systems_roots() {
        assert!(!client_config(&TlsSettings::default()).unwrap().client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn every_mistake_names_its_file() {
        let files = files();
        let missing = PathBuf::from("/does/not/exist.pem");
        for path in [&missing, &files.empty, &files.garbage, &files.key] {
            let refused = refusal(&TlsSettings { ca: Some(path.clone()), ..TlsSettings::default() });
            assert_eq!(refused.code, "SLW-A-TLS-SETTINGS");
            assert!(refused.seen.contains(&path.display().to_string()), "{refused}");
        }
        let pair = |cert: Option<&PathBuf>, key: Option<&PathBuf>| {
            refusal(&TlsSettings { ca: Some(files.cert.clone()), cert: cert.cloned(), key: key.cloned() })
        };
        assert!(pair(Some(&files.cert), None).seen.contains("without key"));
        assert!(pair(None, Some(&files.key)).seen.contains("without cert"));
        assert!(pair(Some(&files.cert), Some(&files.cert)).seen.contains("cert.pem"), "a certificate is no key");
        assert!(pair(Some(&files.cert), Some(&files.other_key)).seen.contains("other.pem"), "another certificate's key");
    }

    #[test]
    fn a_future_certificate_is_accepted_only_if_the_clock_is_not_trusted() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
        let (from, to) = (rcgen::date_time_ymd(2026, 11, 1), rcgen::date_time_ymd(2027, 2, 1));
        let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate().unwrap()).unwrap();
        let mut server = rcgen::CertificateParams::new(vec!["releases.example".to_owned()]).unwrap();
        (server.not_before, server.not_after) = (from, to);
        let server = server.signed_by(&rcgen::KeyPair::generate().unwrap(), &authority).unwrap();
        let verify = |unsure: fn() -> bool, name: &'static str, now: UnixTime| {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = Verifier::new(roots, Arc::new(rustls::crypto::ring::default_provider()), unsure).unwrap();
            verifier.verify_server_cert(server.der(), &[], &ServerName::try_from(name).unwrap(), &[], now).map(|_| ())
        };
        // Day 20 758 is 1 November 2026.
        for (unsure, days, good) in [
            (false, 0, false),
            (false, 20_757, false),
            (false, 20_760, true),
            (true, 0, true),
            (true, 20_757, true),
            (true, 20_760, true),
            (true, 21_000, false),
            (false, 21_000, false),
        ] {
            let unsure: fn() -> bool = if unsure { || true } else { || false };
            assert_eq!(verify(unsure, "releases.example", at(days)).is_ok(), good, "{days}");
            assert!(verify(unsure, "other.example", at(days)).is_err(), "{days}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<TlsSettings>("cafile = \"x\"").is_err());
    }
}
