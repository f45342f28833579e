//! Where metadata and targets are read from: a web server or an offline bundle, by the same relative names.

use super::{CACHE, MISSING};
use crate::fetch::{Client, FetchError, Small, TarSource};
use slipway_machine::RetryAdvice;
use slipway_protocol::Refusal;
use slipway_verify::tuf::Kind;
use url::Url;

/// A folder on a server or in an offline bundle.
#[derive(Clone, Debug)]
pub enum Transport {
    /// On a web server, below a URL that ends in a slash.
    Http(Client, Url),
    /// In an offline bundle, below a prefix that is empty or ends in a slash.
    Tar(TarSource, String),
}

/// One TUF repository in a transport.
#[derive(Clone, Debug)]
pub struct RepositoryTransport {
    /// Where its metadata is.
    pub metadata: Transport,
    /// Where its targets are.
    pub targets: Transport,
}

impl RepositoryTransport {
    /// The operator's repository, as `slipway` lays it out.
    #[must_use]
    pub fn operator(base: &Transport) -> Self {
        Self { metadata: base.below("metadata/"), targets: base.below("targets/") }
    }

    /// Sigstore's repository, as Sigstore lays it out.
    #[must_use]
    pub fn sigstore(base: &Transport) -> Self {
        Self { metadata: base.clone(), targets: base.below("targets/") }
    }

    /// A small file of the repository.
    ///
    /// # Errors
    /// It cannot be had now, or is larger than `limit`.
    pub async fn get(&self, kind: Kind, path: &str, limit: u64) -> Result<Small, FetchError> {
        match (kind, &self.targets) {
            (Kind::Metadata, _) => self.metadata.get(path, limit).await,
            // The name of a target is data: what would end the path of a URL is part of it. Metadata names come encoded.
            (Kind::Target, Transport::Http(..)) => {
                let name = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
                self.targets.get(&name, limit).await
            }
            (Kind::Target, Transport::Tar(..)) => self.targets.get(path, limit).await,
        }
    }
}

impl Transport {
    /// A folder in this one; its name ends in a slash.
    #[must_use]
    pub fn below(&self, folder: &str) -> Self {
        match self {
            Self::Http(client, base) => Self::Http(client.clone(), base.join(folder).unwrap_or_else(|_| base.clone())),
            Self::Tar(tar, prefix) => Self::Tar(tar.clone(), format!("{prefix}{folder}")),
        }
    }

    /// Where a file of that name would be, for a person.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        match self {
            Self::Http(_, base) => base.join(path).map_or_else(|_| path.to_owned(), |url| crate::fetch::shown(&url)),
            Self::Tar(_, prefix) => format!("{prefix}{path} in the offline bundle"),
        }
    }

    /// A small file.
    pub(super) async fn get(&self, path: &str, limit: u64) -> Result<Small, FetchError> {
        match self {
            Self::Http(client, base) => {
                let url = base
                    .join(path)
                    .map_err(|error| fail(MISSING.with(format_args!("{path}: {error}"), "a relative URL"), false))?;
                client.get_small(&url, limit).await
            }
            Self::Tar(tar, prefix) => {
                let (tar, path) = (tar.clone(), format!("{prefix}{path}"));
                tokio::task::spawn_blocking(move || tar.small(&path, limit))
                    .await
                    .unwrap_or_else(|error| Err(fail(CACHE.with(error, "a complete read"), true)))
            }
        }
    }

    /// The first of several places that has a file.
    pub(super) async fn first(&self, urls: &[String], limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut last = None;
        for url in urls {
            match self.get(url, limit).await {
                Ok(Small::Bytes(bytes)) => return Ok(bytes),
                Ok(Small::Missing) => last = Some(fail(MISSING.with(format_args!("no {url}"), "the file"), false)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| fail(MISSING.with("no URL", "at least one"), false)))
    }
}

fn fail(refusal: Refusal, again: bool) -> FetchError {
    FetchError::new(refusal, if again { RetryAdvice::Later } else { RetryAdvice::Never })
}
