//! One TLS configuration for everything the agent talks to: HTTP and MQTT share roots, client certificate and provider.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use slipway_protocol::{Actor, Class, Refusal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

const SETTINGS: Refusal = Refusal::of(
    "SLW-A-TLS-SETTINGS",
    Class::Configuration,
    Actor::Operator,
    "TLS settings",
    "correct the [tls] table of the configuration or the file that it names",
);

/// The configuration that HTTP and MQTT share.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, Refusal> {
    let roots = match &settings.ca {
        Some(path) => roots_of(path)?,
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SETTINGS.with(error, "TLS 1.2 and 1.3"))?
        .with_root_certificates(roots);
    let config = match (&settings.cert, &settings.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|error| {
            SETTINGS.with(format_args!("{} with {}: {error}", cert.display(), key.display()), "a certificate and its own key")
        })?,
        (Some(cert), None) => return Err(SETTINGS.with(format_args!("cert = {} without key", cert.display()), "both or neither")),
        (None, Some(key)) => return Err(SETTINGS.with(format_args!("key = {} without cert", key.display()), "both or neither")),
    };
    Ok(Arc::new(config))
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
        tracing::warn!(%error, "a system certificate could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "the system has no CA certificates: every TLS connection will be refused; set `ca` or install ca-certificates"
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
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<TlsSettings>("cafile = \"x\"").is_err());
    }
}
