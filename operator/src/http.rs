//! HTTP requests with a limit on the size and the time of every answer.

use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use slipway_protocol::causes;
use std::time::Duration;
use url::Url;

/// How this tool calls itself to servers.
pub(crate) const AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));
/// A registry sends a blob's reader to its storage: one redirect, two behind a mirror.
const REDIRECTS: usize = 5;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// A client whose every exchange ends.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    timeout: Duration,
}

/// Makes ring the provider of TLS for this process. May be called any number of times.
pub(crate) fn install_tls() {
    // An error says that there is a provider already, and nothing else in this program installs one.
    let _already: Result<(), _> = rustls::crypto::ring::default_provider().install_default();
}

impl Http {
    /// A client that gives each exchange this long.
    pub(crate) fn new(timeout: Duration) -> Result<Self, String> {
        install_tls();
        let client = Client::builder().redirect(Policy::limited(REDIRECTS)).build().map_err(|error| causes(&error))?;
        Ok(Self { client, timeout })
    }

    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// A request that posts JSON.
    pub(crate) fn post(&self, url: Url, json: &serde_json::Value) -> RequestBuilder {
        self.client.post(url).header(CONTENT_TYPE, "application/json").body(json.to_string())
    }

    /// Sends a request and reads the answer, whatever its status, unless it is larger than `limit`. An error says why there is none.
    pub(crate) async fn send(&self, request: RequestBuilder, limit: usize) -> Result<HttpResponse, String> {
        let request = request.header(USER_AGENT, AGENT).timeout(self.timeout);
        let mut response = request.send().await.map_err(|error| self.chain(&error))?;
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.chain(&error))? {
            if chunk.len() > limit.saturating_sub(body.len()) {
                return Err(format!("an answer of more than {limit} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, content_type, body })
    }

    fn chain(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() { format!("no complete answer within {:?}", self.timeout) } else { causes(error) }
    }
}

/// What a server says beside a status that is no success, short enough for a line.
pub(crate) fn complaint(answer: &HttpResponse) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim();
    let short: String = text.chars().take(200).collect();
    if short.is_empty() { format!("status {}", answer.status) } else { format!("status {}: {short}", answer.status) }
}
