//! Mirrors Sigstore's trusted root from its TUF repository, as a target of this one.
//!
//! It is verified as on a device, from the root that the agent ships. What was seen is kept in `mirror/sigstore/`: the floors, so
//! that nothing older is ever taken, and the files as received, for offline bundles.

use crate::error::{MIRROR, REPOSITORY};
use crate::files;
use crate::metadata::TargetFile;
use crate::publish::NewFiles;
use crate::repo::{Repo, SIGSTORE_ROOT};
use crate::role::Role;
use jiff::Timestamp;
use slipway_protocol::Refusal;
use slipway_verify::SigstoreRoot;
use slipway_verify::tuf::{Fetch, FetchResult, Floors, Kind, Refresh, Repository, Rules, Step, Stored};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Sigstore's TUF root as of this program; it authenticates all later ones.
const SHIPPED_ROOT: &[u8] = include_bytes!("../../agent/data/sigstore-tuf-root.json");
/// The trusted root's name in Sigstore's repository.
const TARGET: &str = "trusted_root.json";
/// One file takes no longer, or the server is of no use.
const FILE_TIME: Duration = Duration::from_secs(60);

/// Where Sigstore's repository is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A copy in a folder.
    Folder(PathBuf),
    /// A web server.
    Web(Url),
}

impl std::str::FromStr for Source {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Self::Folder(text.into()));
        }
        let base = format!("{}/", text.trim_end_matches('/'));
        base.parse().map(Self::Web).map_err(|error| format!("{text:?} is not a URL: {error}"))
    }
}

/// What a mirroring came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirrored {
    /// The version of every role, root first.
    pub roles: Vec<(String, u64)>,
    /// Whether the trusted root is another one than before.
    pub changed: bool,
}

impl Repo {
    /// Brings this repository's copy of Sigstore's trusted root up to date. `initial` is for another instance than the public one.
    ///
    /// # Errors
    /// `SLW-T-…` for everything that a device would refuse, older metadata above all; `SLW-O-MIRROR` when it cannot be fetched.
    pub fn mirror_sigstore(&mut self, source: &Source, initial: Option<&[u8]>, now: Timestamp) -> Result<Mirrored, Refusal> {
        let folder = self.dir.join("mirror/sigstore");
        let known = folder.join(FLOORS);
        let floors: Floors = if known.is_file() {
            let damaged = |error| REPOSITORY.with(format_args!("{}: {error}", known.display()), "the versions seen before");
            serde_json::from_slice(&files::read(&known)?).map_err(damaged)?
        } else {
            Floors::default()
        };
        let mut origin = Origin::open(source)?;
        let (repository, mut received) = follow(&mut origin, initial.unwrap_or(SHIPPED_ROOT), &floors, now)?;
        let info = repository.lookup(TARGET)?;
        let fetch = Fetch { path: info.fetch_path.clone(), limit: info.length, kind: Kind::Target, ends_root_chain: false };
        let bytes = origin.get(&fetch)?.ok_or_else(|| MIRROR.with(format_args!("no {}", info.fetch_path), "the file"))?;
        let target = repository.authenticate(TARGET, bytes)?;
        // One that devices cannot use does not replace one that they can.
        SigstoreRoot::parse(target.bytes())?;
        received.push((format!("targets/{}", info.fetch_path), target.bytes().to_vec()));
        for (path, bytes) in received {
            let place = folder.join(path);
            let (folder, name) = files::split(&place)?;
            files::write(folder, name, &bytes)?;
        }
        files::write(&folder, FLOORS, &files::to_json(repository.floors())?)?;
        let file = TargetFile::of(target.bytes());
        let changed = self.draft(Role::Targets)?.targets.get(SIGSTORE_ROOT) != Some(&file);
        if changed {
            self.add_sigstore_root(target.bytes(), now)?;
        }
        let roles = repository.roles().into_iter().map(|role| (role.name, role.version)).collect();
        Ok(Mirrored { roles, changed })
    }

    /// The files of Sigstore's repository that an offline bundle takes along, below `mirror/`.
    pub(crate) fn mirrored_files(&self) -> Vec<String> {
        let folder = self.dir.join("mirror/sigstore");
        let mut found = Vec::new();
        for below in ["", "targets/"] {
            let entries = std::fs::read_dir(folder.join(below)).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let wanted = names.filter(|name| name.ends_with(".json") && !name.starts_with('.') && name != FLOORS);
            found.extend(wanted.map(|name| format!("sigstore/{below}{name}")));
        }
        found.sort();
        found
    }
}

/// The floors' file.
const FLOORS: &str = "floors.json";

/// A refresh from that root, and every file that was verified on the way.
fn follow(origin: &mut Origin, initial: &[u8], floors: &Floors, now: Timestamp) -> Result<(Repository, NewFiles), Refusal> {
    let mut refresh = Refresh::begin(initial, Stored::default(), floors, Rules::at(now))?;
    let mut received = NewFiles::new();
    loop {
        match refresh.step() {
            Step::Fetch(fetch) => match origin.get(&fetch)? {
                Some(bytes) => {
                    refresh.answer(FetchResult::Bytes(&bytes))?;
                    received.push((fetch.path, bytes));
                }
                None => refresh.answer(FetchResult::Missing)?,
            },
            Step::Store { .. } => {}
            Step::Done => return Ok((refresh.finish()?, received)),
        }
    }
}

/// A source that is open.
enum Origin {
    Folder(PathBuf),
    Web { base: Url, client: reqwest::Client, runtime: tokio::runtime::Runtime },
}

impl Origin {
    fn open(source: &Source) -> Result<Self, Refusal> {
        let base = match source {
            Source::Folder(folder) => {
                if !folder.join("timestamp.json").is_file() {
                    let seen = format_args!("no timestamp.json in {}", folder.display());
                    return Err(MIRROR.with(seen, "a copy of Sigstore's TUF repository"));
                }
                return Ok(Self::Folder(folder.clone()));
            }
            Source::Web(base) => base.clone(),
        };
        let failed = |error: &dyn std::fmt::Display| MIRROR.with(error, "a usable HTTP client");
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .timeout(FILE_TIME)
            .build()
            .map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        Ok(Self::Web { base, client, runtime })
    }

    /// A file, one byte more than its limit if it is longer; `None` where there certainly is none.
    fn get(&mut self, fetch: &Fetch) -> Result<Option<Vec<u8>>, Refusal> {
        let path = match fetch.kind {
            Kind::Metadata => fetch.path.clone(),
            Kind::Target => format!("targets/{}", fetch.path),
        };
        match self {
            Self::Folder(folder) => read(&folder.join(path), fetch.limit),
            Self::Web { base, client, runtime } => {
                let url = base.join(&path).map_err(|error| MIRROR.with(format_args!("{path}: {error}"), "a URL"))?;
                runtime.block_on(download(client, &url, fetch.limit))
            }
        }
    }
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Refusal> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(crate::error::file(path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| crate::error::file(path, &error))?;
    Ok(Some(bytes))
}

async fn download(client: &reqwest::Client, url: &Url, limit: u64) -> Result<Option<Vec<u8>>, Refusal> {
    let failed = |error: reqwest::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        MIRROR.with(format_args!("{error}{cause}"), "an answer")
    };
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    match response.status().as_u16() {
        200 => {}
        403 | 404 => return Ok(None),
        status => return Err(MIRROR.with(format_args!("{url}: HTTP {status}"), "200")),
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if u64::try_from(bytes.len()).map_or(true, |len| len > limit) {
            break;
        }
    }
    Ok(Some(bytes))
}
