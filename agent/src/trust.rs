//! Who may release and who may build: keeps the verified metadata and evidence on disk, and turns them into authority anew each time.
//!
//! | | where it comes from | what it can do |
//! |---|---|---|
//! | [`Trust::check`] | a repository or an offline bundle | finds the release that the channel names, authorised |
//! | [`Trust::authorize`] | the disk alone | authorises a planned release again, before each use |
//!
//! Nothing on disk vouches for anything: what is read is verified from the root again.

use crate::config::{Component, Config, read_limited};
use crate::durable;
use crate::fetch::{Client, FetchError, RetryAdvice, Small, TarSource};
use crate::machine::{Candidate, Failure};
use crate::record::{Plan, SlotName, Source};
use crate::slots::Slots;
use jiff::Timestamp;
use slipway_protocol::channel::Admission;
use slipway_protocol::{Actor, Channel, Class, ComponentName, Manifest, NodeName, Platform, Refusal, Sha256};
use slipway_verify::tuf::{Answer, AuthenticTarget, Floors, Kind, Refresh, Repository, Rules, Slot, Step, Stored};
use slipway_verify::{Authorized, Policy, Release, SigstoreRoot, authorize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use url::Url;

/// The TUF target of the mirrored Sigstore trusted root.
const SIGSTORE_TARGET: &str = "sigstore/trusted_root.json";
/// Largest file that is read from the trust directory: as much as any limit lets in.
const FILE_LIMIT: u64 = 2 * 1024 * 1024;

const CACHE: Refusal = Refusal::of(
    "SLW-A-TRUST-CACHE",
    Class::System,
    Actor::Device,
    "trust cache on disk",
    "nothing: it is fetched again; if this repeats, check the disk",
);
const CHANNEL: Refusal = Refusal::of(
    "SLW-A-CHANNEL",
    Class::Malformed,
    Actor::Operator,
    "channel file",
    "sign the channel again with `slipway channel`",
);
const FREEZE: Refusal = Refusal::of(
    "SLW-A-FREEZE",
    Class::Freeze,
    Actor::Operator,
    "the release that the notice named",
    "nothing if the repository is still being published; else find out why this device is shown an old one",
);
const MISSING: Refusal = Refusal::of(
    "SLW-A-MISSING",
    Class::Network,
    Actor::Operator,
    "file that signed metadata names",
    "publish the whole repository again; a server must not miss a file that its metadata names",
);
const NO_CHANNEL: Refusal = Refusal::of(
    "SLW-A-NO-CHANNEL",
    Class::Configuration,
    Actor::Operator,
    "channel in the operator's repository",
    "point it at a release with `slipway channel`, or correct `channel` in the [[component]] table",
);
const NO_POLICY: Refusal = Refusal::of(
    "SLW-A-NO-POLICY",
    Class::Configuration,
    Actor::Operator,
    "policy of the component",
    "set `policy` in its [[component]] table, or publish one with `slipway policy add`",
);
const NO_REPOSITORY: Refusal = Refusal::of(
    "SLW-A-NO-REPOSITORY",
    Class::Configuration,
    Actor::Operator,
    "repository to look in",
    "set `url` in [repository], or install from an offline bundle",
);
const WITHDRAWN: Refusal = Refusal::of(
    "SLW-A-WITHDRAWN",
    Class::Policy,
    Actor::Operator,
    "releases withdrawn by the operator",
    "point the channel at another release",
);

/// Where files are read from: the operator's server or an offline bundle, by the same relative names.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A web server.
    Http(Client, Url),
    /// An offline bundle.
    Tar(TarSource),
}

impl Transport {
    /// A small file.
    async fn get(&self, path: &str, limit: u64) -> Result<Small, FetchError> {
        match self {
            Self::Http(client, base) => {
                let url = base
                    .join(path)
                    .map_err(|error| fail(MISSING.with(format_args!("{path}: {error}"), "a relative URL"), false))?;
                client.get_small(&url, limit).await
            }
            Self::Tar(tar) => {
                let (tar, path) = (tar.clone(), path.to_owned());
                tokio::task::spawn_blocking(move || tar.small(&path, limit))
                    .await
                    .unwrap_or_else(|error| Err(fail(CACHE.with(error, "a finished read"), true)))
            }
        }
    }

    /// The first of several places that has a file.
    async fn first(&self, urls: &[String], limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut last = None;
        for url in urls {
            match self.get(url, limit).await {
                Ok(Small::Bytes(bytes)) => return Ok(bytes),
                Ok(Small::Missing) => last = Some(fail(MISSING.with(url, "the file"), false)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| fail(MISSING.with("no URL", "at least one"), false)))
    }
}

fn fail(refusal: Refusal, again: bool) -> FetchError {
    FetchError { refusal, retry: if again { RetryAdvice::Later } else { RetryAdvice::Never }, received: 0 }
}

/// A check that did not end in a candidate.
#[derive(Debug)]
pub enum NoCandidate {
    /// Something says no.
    Refused(Refusal, Option<slipway_protocol::Version>),
    /// Not found out this time.
    Failed(Failure),
}

impl From<Refusal> for NoCandidate {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, None)
    }
}

impl From<FetchError> for NoCandidate {
    fn from(error: FetchError) -> Self {
        Self::Failed(error.into())
    }
}

/// What a check needs to know and what it may raise.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which component.
    pub component: ComponentName,
    /// Trusted time.
    pub now: Timestamp,
    /// The floors as the witness has them.
    pub floors: Floors,
    /// Where the check looks; goes into the plan.
    pub source: Source,
    /// The version that a notice named.
    pub hint: Option<slipway_protocol::Version>,
}

/// What a check leaves behind, whatever it ended in.
#[derive(Debug)]
pub struct Checked {
    /// The floors, to be kept at once.
    pub floors: Floors,
    /// The latest signed time that was verified.
    pub signed: Option<Timestamp>,
    /// Odd but harmless.
    pub notes: Vec<Refusal>,
    /// The release to run, or why none.
    pub result: Result<Candidate, NoCandidate>,
}

/// The trust directory and what the configuration says about trust.
#[derive(Clone, Debug)]
pub struct Trust {
    dir: PathBuf,
    initial_root: Vec<u8>,
    sigstore: Option<Vec<u8>>,
    components: Vec<Component>,
    node: NodeName,
    slots: Slots,
}

impl Trust {
    /// Reads the files that the configuration names and checks that they can be used, so that a mistake shows at start.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn open(config: &Config, node: NodeName, slots: Slots) -> Result<Self, Refusal> {
        let dir = config.node.state.join("trust");
        for sub in ["tuf", "targets", "evidence"] {
            let sub = dir.join(sub);
            durable::create_dir_all_durable(&sub)
                .and_then(|()| durable::sweep(&sub))
                .map_err(|error| durable::refusal(&sub, &error))?;
        }
        let initial_root = read_limited(&config.repository.root)?;
        Refresh::begin(&initial_root, Stored::default(), &Floors::default(), Rules::accepted_before())
            .map_err(|why| Refusal { seen: format!("{}: {}", config.repository.root.display(), why.seen), ..why })?;
        let sigstore = config.sigstore.trusted_root.as_deref().map(read_limited).transpose()?;
        if let Some(bytes) = &sigstore {
            SigstoreRoot::parse(bytes)?;
        }
        for component in &config.components {
            local_policy(component)?;
        }
        Ok(Self { dir, initial_root, sigstore, components: config.components.clone(), node, slots })
    }

    // ---- with a transport ----------------------------------------------------------------------------------------------

    /// Refreshes the metadata, resolves the component's channel and authorises the release it names. All that was verified is durable
    /// when this returns.
    pub async fn check(&self, transport: Option<&Transport>, asked: &Asked) -> Checked {
        let mut checked =
            Checked { floors: asked.floors.clone(), signed: None, notes: Vec::new(), result: Err(NO_REPOSITORY.into()) };
        checked.result = match transport {
            Some(transport) => self.resolve(transport, asked, &mut checked).await,
            None => Err(NO_REPOSITORY.with("none", "a URL or an offline bundle").into()),
        };
        checked
    }

    async fn resolve(&self, transport: &Transport, asked: &Asked, checked: &mut Checked) -> Result<Candidate, NoCandidate> {
        let component = self.component(&asked.component)?;
        let mut repository = self.refresh(transport, asked, checked).await?;
        checked.notes.extend(repository.notes().iter().cloned());

        let target = Channel::target(&component.name, &component.channel);
        if repository.lookup(&target).is_err_and(|why| why.code == "SLW-T-NO-TARGET") {
            return Err(NO_CHANNEL.with(format_args!("no {target}"), "the channel that this component follows").into());
        }
        let signed = self.target(transport, &repository, &target).await?;
        let channel = Channel::parse(signed.bytes()).map_err(|why| CHANNEL.with(why, target.as_str()))?;
        if channel.component != component.name || channel.channel != component.channel {
            let seen = format!("{}/{}", channel.component, channel.channel);
            return Err(CHANNEL.with(seen, target).into());
        }
        let no = |refusal: Refusal| NoCandidate::Refused(refusal, Some(channel.release.clone()));
        if component.accept_expired_bundles {
            repository.accept_expired(&signed, asked.now).map_err(no)?;
        } else if let Some(refusal) = repository.expired_offline() {
            return Err(no(refusal.clone()));
        }
        if let Some(hint) = asked.hint.as_ref().filter(|hint| **hint > channel.release) {
            checked.notes.push(FREEZE.with(&channel.release, hint));
        }
        if channel.withdrawn.contains(&channel.release) {
            return Err(no(WITHDRAWN.with(&channel.release, "a release that is not withdrawn")));
        }

        let manifest = self.target(transport, &repository, &Manifest::target(&component.name, &channel.release)).await?;
        let release = self.proven(transport, &repository, component, &manifest).await.map_err(|error| match error {
            NoCandidate::Refused(refusal, _) => no(refusal),
            failed @ NoCandidate::Failed(_) => failed,
        })?;
        checked.signed = release.provenance.signed_times.iter().max().copied();
        let artifact = &release.artifact;
        let plan = Plan {
            version: release.manifest.version.clone(),
            platform: Platform::current(),
            artifact: artifact.sha256,
            size: artifact.size,
            slot: SlotName::of(&release.manifest.version, &artifact.sha256),
            source: asked.source.clone(),
            floor: channel.floor.clone(),
        };
        let wait = match channel.admits(&self.node, asked.now) {
            Admission::Now => None,
            Admission::At(start) => {
                Some(Some(u64::try_from(start.duration_since(asked.now).as_secs()).unwrap_or(0).saturating_add(1)))
            }
            Admission::NotPlanned => Some(None),
        };
        Ok(Candidate { plan, halted: channel.halted, wait })
    }

    /// TUF's client workflow over a transport. Every verified file is durable before the next is asked for, and the floors go to the
    /// caller even when the refresh ends in a refusal.
    async fn refresh(&self, transport: &Transport, asked: &Asked, checked: &mut Checked) -> Result<Repository, NoCandidate> {
        let rules = match transport {
            Transport::Http(..) => Rules::at(asked.now),
            Transport::Tar(_) => Rules::offline(asked.now),
        };
        let mut refresh = Refresh::begin(&self.initial_root, self.stored()?, &asked.floors, rules)?;
        loop {
            let step = refresh.step();
            let answered = match step {
                Step::Done => break,
                Step::Store { slot, bytes } => {
                    let path = self.dir.join("tuf").join(slot.file_name());
                    durable::write_atomic(&path, &bytes, 0o644).map_err(|error| durable::refusal(&path, &error)).map(|()| None)
                }
                Step::Fetch(fetch) => {
                    let folder = match fetch.kind {
                        Kind::Metadata => "metadata",
                        Kind::Target => "targets",
                    };
                    match transport.get(&format!("{folder}/{}", fetch.path), fetch.limit).await {
                        Ok(Small::Bytes(bytes)) => refresh.answer(Answer::Bytes(&bytes)).map(|()| None),
                        Ok(Small::Missing) => refresh.answer(Answer::Missing).map(|()| None),
                        // What failed may work in a minute; the refusal of the refresh says what that means for trust.
                        Err(error) => {
                            let answered = refresh.answer(Answer::Failed(&error.refusal.to_string()));
                            answered.map(|()| None).or(Ok(Some(error)))
                        }
                    }
                }
            };
            checked.floors = refresh.floors().clone();
            match answered {
                Ok(None) => {}
                Ok(Some(error)) => return Err(error.into()),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let repository = refresh.finish()?;
        checked.floors = repository.floors().clone();
        Ok(repository)
    }

    /// A target from the cache, or over the transport and then cached.
    async fn target(&self, transport: &Transport, repository: &Repository, path: &str) -> Result<AuthenticTarget, NoCandidate> {
        let info = repository.lookup(path)?;
        if let Some(target) = self.cached_target(repository, path) {
            return Ok(target);
        }
        let limit = info.length;
        let Small::Bytes(bytes) = transport.get(&format!("targets/{}", info.fetch_path), limit).await? else {
            return Err(MISSING.with(info.fetch_path, "the file").into());
        };
        let target = repository.authenticate(path, bytes)?;
        let cached = self.cache_name("targets", &Sha256::of(target.bytes()));
        durable::write_atomic(&cached, target.bytes(), 0o644).map_err(|error| durable::refusal(&cached, &error))?;
        Ok(target)
    }

    /// Fetches what is still missing of the proof, then authorises.
    async fn proven(
        &self,
        transport: &Transport,
        repository: &Repository,
        component: &Component,
        manifest: &AuthenticTarget,
    ) -> Result<Authorized<Release>, NoCandidate> {
        for path in [SIGSTORE_TARGET.to_owned(), policy_target(&component.name)] {
            // Absent is fine here: what is needed is judged when it is used.
            if repository.lookup(&path).is_ok() {
                self.target(transport, repository, &path).await?;
            }
        }
        // Parsed only to learn what to fetch; whether it is the right manifest is decided in `authorize`.
        let wanted = Manifest::parse(manifest.bytes()).ok().and_then(|manifest| manifest.artifact(Platform::current()).cloned());
        let evidence = match wanted {
            Some(artifact) => {
                let cached = self.cache_name("evidence", &artifact.provenance.sha256);
                match read_file(&cached).filter(|bytes| Sha256::of(bytes) == artifact.provenance.sha256) {
                    Some(bytes) => bytes,
                    None => {
                        let bytes = transport.first(&artifact.provenance.urls, artifact.provenance.size).await?;
                        durable::write_atomic(&cached, &bytes, 0o644).map_err(|error| durable::refusal(&cached, &error))?;
                        bytes
                    }
                }
            }
            None => Vec::new(),
        };
        Ok(self.judge(repository, component, manifest, &evidence)?)
    }

    // ---- from the disk alone -------------------------------------------------------------------------------------------

    /// Authorises a planned release from what is on disk: nothing is fetched, expiry is not judged again, everything else is.
    ///
    /// # Errors
    /// What no longer holds.
    pub fn authorize(&self, name: &ComponentName, plan: &Plan, floors: &Floors) -> Result<(Authorized<Release>, Proof), Refusal> {
        let component = self.component(name)?;
        let repository = Repository::open(&self.initial_root, self.stored()?, floors, Rules::accepted_before())?;
        let path = Manifest::target(name, &plan.version);
        let manifest = match self.cached_target(&repository, &path) {
            Some(manifest) => manifest,
            None => repository.authenticate(&path, self.slots.manifest(name, &plan.slot)?)?,
        };
        let evidence = Manifest::parse(manifest.bytes())
            .ok()
            .and_then(|manifest| manifest.artifact(plan.platform).cloned())
            .and_then(|artifact| read_file(&self.cache_name("evidence", &artifact.provenance.sha256)));
        let evidence = match evidence {
            Some(evidence) => evidence,
            None => self.slots.evidence(name, &plan.slot)?,
        };
        let release = self.judge(&repository, component, &manifest, &evidence)?;
        if release.artifact.sha256 != plan.artifact {
            return Err(CACHE.with(release.artifact.sha256, plan.artifact));
        }
        Ok((release, Proof { manifest: manifest.bytes().to_vec(), evidence }))
    }

    /// The proof itself: the operator's manifest, Sigstore's root, every policy that applies.
    fn judge(
        &self,
        repository: &Repository,
        component: &Component,
        manifest: &AuthenticTarget,
        evidence: &[u8],
    ) -> Result<Authorized<Release>, Refusal> {
        let root = match (&self.sigstore, self.optional_target(repository, SIGSTORE_TARGET)?) {
            (Some(bytes), _) => SigstoreRoot::parse(bytes)?,
            (None, Some(target)) => SigstoreRoot::parse(target.bytes())?,
            (None, None) => SigstoreRoot::public_good()?,
        };
        let mut policies: Vec<Policy> = local_policy(component)?.into_iter().collect();
        if let Some(target) = self.optional_target(repository, &policy_target(&component.name))? {
            policies.push(parse_policy(target.bytes())?);
        }
        if policies.is_empty() {
            return Err(NO_POLICY.with("none", format_args!("a policy for {}", component.name)));
        }
        authorize(manifest, &component.name, Platform::current(), &policies, &root, evidence)
    }

    /// A target that need not exist; one that does and cannot be read is an error, never an absence.
    fn optional_target(&self, repository: &Repository, path: &str) -> Result<Option<AuthenticTarget>, Refusal> {
        if repository.lookup(path).is_err() {
            return Ok(None);
        }
        let wanted = || CACHE.with(format_args!("no usable {path}"), "the target that signed metadata names");
        self.cached_target(repository, path).ok_or_else(wanted).map(Some)
    }

    fn cached_target(&self, repository: &Repository, path: &str) -> Option<AuthenticTarget> {
        let sha256 = repository.lookup(path).ok()?.sha256?;
        let bytes = read_file(&self.cache_name("targets", &sha256))?;
        repository.authenticate(path, bytes).ok()
    }

    /// The verified repository as it is on disk, for `status`.
    ///
    /// # Errors
    /// When nothing usable is there.
    pub fn repository(&self, floors: &Floors) -> Result<Repository, Refusal> {
        Repository::open(&self.initial_root, self.stored()?, floors, Rules::accepted_before())
    }

    /// Removes what nothing needs any more: targets of older metadata, evidence of releases that are gone. Slots have their own copies;
    /// the proof of artifacts that are `under_way` is nowhere else, although the channel may name another release by now.
    ///
    /// # Errors
    /// Of the file system.
    pub fn collect(&self, floors: &Floors, under_way: &[Sha256]) -> Result<(), Refusal> {
        let Ok(repository) = self.repository(floors) else { return Ok(()) };
        let mut keep = BTreeSet::new();
        for component in &self.components {
            let channel = Channel::target(&component.name, &component.channel);
            let release = self.cached_target(&repository, &channel).and_then(|target| Channel::parse(target.bytes()).ok());
            let manifest = release.map(|channel| Manifest::target(&component.name, &channel.release));
            for path in [Some(channel), manifest.clone(), Some(policy_target(&component.name)), Some(SIGSTORE_TARGET.to_owned())]
            {
                keep.extend(path.and_then(|path| repository.lookup(&path).ok()?.sha256));
            }
            let manifest = manifest.and_then(|path| self.cached_target(&repository, &path));
            let artifacts = manifest.and_then(|target| Manifest::parse(target.bytes()).ok()).map(|manifest| manifest.artifacts);
            keep.extend(artifacts.into_iter().flatten().map(|artifact| artifact.provenance.sha256));
        }
        let targets = self.dir.join("targets");
        for entry in std::fs::read_dir(&targets).map_err(|error| durable::refusal(&targets, &error))?.flatten() {
            let Some(bytes) = read_file(&entry.path()).filter(|_| !under_way.is_empty()) else { continue };
            let artifacts = Manifest::parse(&bytes).map(|manifest| manifest.artifacts).unwrap_or_default();
            if artifacts.iter().any(|artifact| under_way.contains(&artifact.sha256)) {
                keep.insert(Sha256::of(&bytes));
                keep.extend(artifacts.iter().map(|artifact| artifact.provenance.sha256));
            }
        }
        for folder in ["targets", "evidence"] {
            let folder = self.dir.join(folder);
            let failed = |error: std::io::Error| durable::refusal(&folder, &error);
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let known = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<Sha256>().ok())
                    .is_some_and(|name| keep.contains(&name));
                if !known {
                    durable::remove_file_durable(&entry.path()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    fn component(&self, name: &ComponentName) -> Result<&Component, Refusal> {
        self.components
            .iter()
            .find(|component| component.name == *name)
            .ok_or_else(|| NO_POLICY.with(name, "a configured component"))
    }

    fn cache_name(&self, folder: &str, digest: &Sha256) -> PathBuf {
        self.dir.join(folder).join(digest.to_string())
    }

    /// The metadata as it was stored. What is damaged is left out: the refresh fetches it again, and the floors hold meanwhile.
    fn stored(&self) -> Result<Stored, Refusal> {
        let dir = self.dir.join("tuf");
        let mut stored = Stored::default();
        for entry in std::fs::read_dir(&dir).map_err(|error| durable::refusal(&dir, &error))?.flatten() {
            let slot = entry.file_name().to_str().and_then(Slot::of_file_name);
            if let (Some(slot), Some(bytes)) = (slot, read_file(&entry.path())) {
                stored.put(&slot, bytes);
            }
        }
        Ok(stored)
    }
}

/// What a slot keeps beside its payload, so that it can be verified again without anything else.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The manifest as signed.
    pub manifest: Vec<u8>,
    /// The Sigstore bundle.
    pub evidence: Vec<u8>,
}

fn policy_target(component: &ComponentName) -> String {
    format!("policies/{component}.toml")
}

fn local_policy(component: &Component) -> Result<Option<Policy>, Refusal> {
    let Some(path) = &component.policy else { return Ok(None) };
    let policy =
        parse_policy(&read_limited(path)?).map_err(|why| Refusal { seen: format!("{}: {}", path.display(), why.seen), ..why })?;
    if policy.component() != &component.name {
        return Err(NO_POLICY.with(format_args!("{} is for {}", path.display(), policy.component()), &component.name));
    }
    Ok(Some(policy))
}

fn parse_policy(bytes: &[u8]) -> Result<Policy, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|error| NO_POLICY.with(error, "UTF-8 text"))?;
    Policy::parse(text)
}

/// A file of ours, if it is there and not larger than anything we ever store.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    let small = std::fs::metadata(path).ok()?.len() <= FILE_LIMIT;
    if small { std::fs::read(path).ok() } else { None }
}
