//! Turns a failed exchange with a server into a refusal, without the secrets that a URL may hold.

use super::{FetchError, checks};
use rustls::CertificateError;
use slipway_protocol::{Refusal, causes};
use std::error::Error;
use std::io;
use url::Url;

/// Why one address did not deliver.
pub(super) enum AttemptError {
    /// This device's fault: other addresses would not help.
    ThisDevice(Refusal),
    /// Another address may.
    ThisAddress(FetchError),
}

impl AttemptError {
    pub(super) fn later(refusal: Refusal) -> Self {
        Self::ThisAddress(FetchError::later(refusal))
    }
    pub(super) fn never(refusal: Refusal) -> Self {
        Self::ThisAddress(FetchError::never(refusal))
    }
}

impl From<AttemptError> for FetchError {
    fn from(failure: AttemptError) -> Self {
        match failure {
            AttemptError::ThisDevice(refusal) => Self::later(refusal),
            AttemptError::ThisAddress(error) => error,
        }
    }
}

/// What a broken exchange means.
pub(super) fn transport(url: &Url, error: &reqwest::Error) -> AttemptError {
    let at = |check: Refusal, wanted: &str| check.with(format_args!("{}: {}", shown(url), causes(error)), wanted);
    if let Some(tls) = tls_error(error) {
        return AttemptError::later(match tls {
            rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                at(checks::CLOCK_BEHIND, "a certificate that is valid at the device's time")
            }
            _ => at(checks::TLS, "a certificate issued under the configured roots"),
        });
    }
    if error.is_redirect() {
        AttemptError::never(at(checks::REDIRECT, "at most 5, and none from https to http"))
    } else if error.is_connect() {
        AttemptError::later(at(checks::CONNECT, "a connection"))
    } else {
        AttemptError::later(at(checks::CUT, "a complete answer"))
    }
}

fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What is in an io::Error must be asked for: its source is already the one below, and they are nested.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = inside.map_or_else(|| error.source(), |inside| Some(inside));
    }
    None
}

/// A URL for people: without user, password and query, which may be secrets.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
