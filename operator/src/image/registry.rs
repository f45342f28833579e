//! A client of image registries, for the OCI distribution specification.
//!
//! The client library authenticates and streams blobs. Manifests and lists of referrers are fetched here with its token, since it would
//! read an answer of any size.

use super::credentials;
use super::reference::{At, Descriptor, MANIFEST_LIMIT, Manifest, Pick};
use crate::error::{IMAGE, IMAGE_DIGEST, IMAGE_SIZE, REGISTRY};
use crate::http::{AGENT, Http, HttpResponse, complaint, install_tls};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use reqwest::header::ACCEPT;
use slipway_protocol::{Refusal, Sha256, causes};
use std::fmt;
use std::io::Cursor;
use std::time::Duration;
use url::Url;

/// Everything that may be an image, and everything that lists or attests one.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(super) struct Registry {
    http: Http,
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    token: Option<String>,
    base: Url,
    timeout: Duration,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.base)
    }
}

impl Registry {
    /// Asks the registry what it wants to know of us, and gets a token if it wants one.
    pub(super) async fn open(reference: &Reference, plain_http: bool, timeout: Duration) -> Result<Self, Refusal> {
        install_tls();
        let host = reference.resolve_registry();
        let refuse = |why: &str| REGISTRY.with(format_args!("{host}: {why}"), "a registry");
        let scheme = if plain_http { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{}/", reference.repository()).parse().map_err(|_| refuse("no address"))?;
        let config = ClientConfig {
            protocol: if plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(timeout),
            read_timeout: Some(timeout),
            user_agent: AGENT,
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| refuse(&shown(&error)))?;
        let auth = credentials::of(host).map_or(RegistryAuth::Anonymous, |(user, password)| RegistryAuth::Basic(user, password));
        let asked = tokio::time::timeout(timeout, client.auth(reference, &auth, RegistryOperation::Pull)).await;
        let asked = asked.map_err(|_| refuse(&format!("no complete answer within {timeout:?}")))?;
        let token = asked.map_err(|error| refuse(&shown(&error)))?;
        let http = Http::new(timeout).map_err(|why| refuse(&why))?;
        Ok(Self { http, client, reference: reference.clone(), auth, token, base, timeout })
    }

    pub(super) fn named(&self) -> Result<Pick, Refusal> {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.parse().map(Pick::Digest).map_err(|why: String| IMAGE.with(why, "a SHA-256")),
            (None, tag) => Ok(Pick::Tag(tag.unwrap_or("latest").to_owned())),
        }
    }

    pub(super) async fn manifest(&self, at: At<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let answer = self.get(&format!("manifests/{at}"), MANIFESTS).await?;
        Ok(answer.map(|answer| answer.body))
    }

    /// The registry's own list of what refers to an image; none if it keeps no such lists.
    pub(super) async fn referrers(&self, digest: &Sha256) -> Result<Option<Vec<Descriptor>>, Refusal> {
        let answer = self.get(&format!("referrers/{digest:?}"), INDEX).await?;
        // Older registries answer for paths that they do not know in ways of their own; a list says that it is one.
        let list = answer.filter(|answer| answer.content_type.as_deref().is_some_and(|kind| kind.starts_with(INDEX)));
        let parse = |answer: HttpResponse| {
            Manifest::parse(&answer.body).map_err(|why| self.refuse(&format!("a list of referrers: {why}")))
        };
        Ok(list.map(parse).transpose()?.map(|list| list.manifests))
    }

    pub(super) async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Refusal> {
        let digest = format!("{:?}", descriptor.digest);
        let wanted = OciDescriptor {
            digest: digest.clone(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        // As long as it must be: whoever sends more is refused at the first byte too many.
        let mut bytes = vec![0; usize::try_from(descriptor.size).unwrap_or_default()];
        self.client.store_auth_if_needed(self.reference.resolve_registry(), &self.auth).await;
        let pull = self.client.pull_blob(&self.reference, &wanted, Cursor::new(bytes.as_mut_slice()));
        let pulled = tokio::time::timeout(self.timeout, pull).await;
        let pulled = pulled.map_err(|_| self.refuse(&format!("no complete answer within {:?}", self.timeout)))?;
        match pulled {
            Ok(()) => Ok(bytes),
            Err(OciDistributionError::DigestError(error)) => Err(IMAGE_DIGEST.with(error, digest)),
            Err(OciDistributionError::IoError(error)) if error.kind() == std::io::ErrorKind::WriteZero => {
                Err(IMAGE_SIZE
                    .with(format_args!("more than {} bytes", descriptor.size), format_args!("{} bytes", descriptor.size)))
            }
            Err(OciDistributionError::RegistryError { .. } | OciDistributionError::ImageManifestNotFoundError(_)) => {
                Err(IMAGE_DIGEST.with("nothing", digest))
            }
            Err(OciDistributionError::ServerError { code: 404, .. }) => Err(IMAGE_DIGEST.with("nothing", digest)),
            Err(error) => Err(self.refuse(&shown(&error))),
        }
    }

    /// Gets something of the repository; none if the registry has no such thing.
    async fn get(&self, path: &str, accept: &str) -> Result<Option<HttpResponse>, Refusal> {
        let url = self.base.join(path).map_err(|error| self.refuse(&error.to_string()))?;
        let request = self.http.get(url).header(ACCEPT, accept);
        let request = match (&self.token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        };
        let answer = self.http.send(request, MANIFEST_LIMIT).await.map_err(|why| self.refuse(&why))?;
        match answer.status {
            200 => Ok(Some(answer)),
            404 => Ok(None),
            _ => Err(self.refuse(&complaint(&answer))),
        }
    }

    fn refuse(&self, why: &str) -> Refusal {
        REGISTRY.with(format_args!("{}: {why}", self.reference.resolve_registry()), "an answer of a registry")
    }
}

/// What the library says, without the address that it puts first.
fn shown(error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::RequestError(error) if error.is_timeout() => "no answer in time".to_owned(),
        OciDistributionError::RequestError(error) => causes(error),
        other => other.to_string(),
    }
}
