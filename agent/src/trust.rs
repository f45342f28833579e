//! Keeps verified metadata and evidence on disk, and derives authority from them again at each use.
//!
//! | | where it comes from | what it can do |
//! |---|---|---|
//! | [`Trust::check`] | a repository or an offline bundle | finds the release that the channel names, authorised |
//! | [`Trust::authorize`] | the disk alone | authorises a planned release again, before each use |
//! | [`Trust::view`] | the disk alone | shows what is trusted, for `slipway-agent trust` |
//!
//! Nothing on disk is trusted: what is read is verified from the root again, and the witness keeps the version floors.
//!
//! | file | subject |
//! |---|---|
//! | `cache` | one TUF repository on disk, and how it is followed |
//! | `history` | the roots that were walked over, one by one |
//! | `targets` | signed targets and evidence on disk, and what of them is still needed |
//! | `sigstore` | which of Sigstore's roots is in force |
//! | `transport` | a server or an offline bundle |
//! | `view` | what a person sees of all this |

mod cache;
mod history;
pub(crate) mod sigstore;
mod targets;
mod transport;
mod view;

pub use cache::{Cache, follow};
pub use history::RootHistory;
pub use sigstore::Origin;
pub use transport::{RepositoryTransport, Transport};
pub use view::{RefreshFailure, RepositoryView, RoleView, SigstoreView, View};

use crate::config::{Component, Config, read_limited};
use crate::fetch::FetchError;
use crate::storage::durable;
use crate::storage::layout;
use crate::storage::slots::Slots;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipway_machine::record::{Plan, SlotName, Source};
use slipway_machine::{EffectFailure, HeldRelease, HoldReason};
use slipway_protocol::channel::Admission;
use slipway_protocol::json::Members;
use slipway_protocol::{Channel, ComponentName, Manifest, NodeName, Platform, Refusal, Sha256, Version};
use slipway_verify::tuf::{AuthenticTarget, Expiry, Floors, Repository, Rules};
use slipway_verify::{Authorized, Policy, Release, SigstoreRoot, agent_is_new_enough, authorize, unreadable};
use std::path::{Path, PathBuf};

/// Largest file that is read from the trust directory: the cache of a repository. Targets and
/// provenance are far smaller.
const FILE_LIMIT: u64 = cache::LIMIT;

slipway_protocol::refusals! {
    CACHE = "SLW-A-TRUST-CACHE", System, Device, "trust cache on disk is damaged",
        "wait: the agent fetches it again; if this recurs, check the disk";
    CHANNEL = "SLW-A-CHANNEL", Malformed, Operator, "channel file is invalid",
        "sign the channel again with `slipway channel`";
    MISSING = "SLW-A-MISSING", Network, Operator, "file that signed metadata names is missing on the server",
        "publish the whole repository again";
    NO_CHANNEL = "SLW-A-NO-CHANNEL", Configuration, Operator, "channel is not in the operator's repository",
        "point it at a release with `slipway channel`, or correct `channel` in the [[component]] table";
    NO_POLICY = "SLW-A-NO-POLICY", Configuration, Operator, "component has no policy",
        "set `policy` in its [[component]] table, or publish one with `slipway policy add`";
    NO_REPOSITORY = "SLW-A-NO-REPOSITORY", Configuration, Operator, "no repository is configured",
        "set `url` in [repository], or install from an offline bundle";
    WITHDRAWN = "SLW-A-WITHDRAWN", Policy, Operator, "release was withdrawn by the operator",
        "point the channel at another release";
}

/// A check that did not end in a candidate.
#[derive(Debug)]
pub enum NoCandidate {
    /// Something says no.
    Refused(Refusal, Option<Version>),
    /// Not found out this time.
    Failed(EffectFailure),
}

impl NoCandidate {
    const fn refusal(&self) -> &Refusal {
        match self {
            Self::Refused(refusal, _) | Self::Failed(EffectFailure { refusal, .. }) => refusal,
        }
    }
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

/// What the witness remembers about trust: nothing older is believed, whatever became of the files.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct TrustFloors {
    /// The versions of the operator's metadata.
    #[serde(skip_serializing_if = "is_default")]
    pub operator: Floors,
    /// The versions of Sigstore's own metadata.
    #[serde(skip_serializing_if = "is_default")]
    pub sigstore: Floors,
    /// SHA-256 of the newest of Sigstore's own trusted roots that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_root: Option<Sha256>,
    /// What a newer agent remembers besides.
    #[serde(flatten)]
    pub more: Members,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a check needs to know and what it may raise.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// Which component.
    pub component: ComponentName,
    /// Trusted time.
    pub now: Timestamp,
    /// The clock is not believed.
    pub time_unsure: bool,
    /// What the witness remembers.
    pub trust_floors: TrustFloors,
    /// Where the check looks; goes into the plan.
    pub source: Source,
    /// Where Sigstore's own repository is to be asked, if it is to be asked now.
    pub sigstore: Option<Transport>,
    /// This release, which was committed here before, instead of the one that the channel names.
    pub release: Option<Version>,
}

/// What a check leaves behind, whatever it ended in.
#[derive(Debug)]
pub struct Checked {
    /// What the witness has to remember, at once.
    pub trust_floors: TrustFloors,
    /// The latest signed time that was verified.
    pub signed: Option<Timestamp>,
    /// Odd but harmless.
    pub notes: Vec<Refusal>,
    /// The release to run, or why none.
    pub result: Result<Resolved, NoCandidate>,
}

/// What the channel has for this device.
#[derive(Debug)]
pub enum Resolved {
    /// A release, authorised.
    Release(Plan),
    /// A release that the operator holds back. The operator's signature on the channel is all that was verified of it.
    Waiting(HeldRelease),
}

/// The trust directory and what the configuration says about trust.
#[derive(Clone, Debug)]
pub struct Trust {
    dir: PathBuf,
    operator: Cache,
    sigstore: sigstore::Sigstore,
    url: Option<url::Url>,
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
        let dir = config.node.state.join(layout::TRUST);
        for sub in [dir.clone(), dir.join(layout::TARGETS), dir.join(layout::EVIDENCE)] {
            durable::create_dir_all_durable(&sub)
                .and_then(|()| durable::sweep(&sub))
                .map_err(|error| durable::refusal(&sub, &error))?;
        }
        let root = &config.repository.root;
        let operator = Cache::new(dir.join(layout::OPERATOR_TAR), read_limited(root)?)
            .map_err(|why| Refusal { seen: format!("{}: {}", root.display(), why.seen), ..why })?;
        let sigstore = sigstore::Sigstore::open(config, &dir)?;
        for component in &config.components {
            local_policy(component)?;
        }
        let url = config.repository.url.clone();
        Ok(Self { dir, operator, sigstore, url, components: config.components.clone(), node, slots })
    }

    // ---- with a transport ----------------------------------------------------------------------------------------------

    /// Refreshes the metadata, resolves the component's channel and authorises the release it names. All that was verified is durable
    /// when this returns.
    pub async fn check(&self, transport: Option<&Transport>, asked: &CheckRequest) -> Checked {
        let mut checked = Checked {
            trust_floors: asked.trust_floors.clone(),
            signed: None,
            notes: Vec::new(),
            result: Err(NO_REPOSITORY.into()),
        };
        checked.result = match transport {
            Some(transport) => self.resolve(transport, asked, &mut checked).await,
            None => Err(NO_REPOSITORY.with("none", "a URL or an offline bundle").into()),
        };
        checked
    }

    async fn resolve(&self, transport: &Transport, asked: &CheckRequest, checked: &mut Checked) -> Result<Resolved, NoCandidate> {
        let component = self.component(&asked.component)?;
        self.remember_shipped(&mut checked.trust_floors)?;
        let place = RepositoryTransport::operator(transport);
        let expiry = match transport {
            Transport::Http(..) => Expiry::Judge,
            Transport::Tar(..) => Expiry::Offline,
        };
        let rules = Rules { expiry, ..Rules::operator(asked.now, asked.time_unsure) };
        let refreshed = self.operator.refresh(&place, &mut checked.trust_floors.operator, rules).await;
        self.note_seen(view::OPERATOR, asked.now, refreshed.as_ref().err().map(NoCandidate::refusal));
        let mut repository = refreshed?;
        checked.notes.extend(repository.notes().iter().cloned());
        self.renew_sigstore(transport, asked, checked).await;

        let target = Channel::target(&component.name, &component.channel);
        if repository.lacks(&target) {
            return Err(NO_CHANNEL.with(format_args!("no {target}"), "the channel that this component follows").into());
        }
        let signed = self.target(&place, &repository, &target).await?;
        let channel = Channel::parse(signed.bytes()).map_err(|why| unreadable(why, |why| CHANNEL.with(why, target.as_str())))?;
        if channel.component != component.name || channel.channel != component.channel {
            let seen = format!("{}/{}", channel.component, channel.channel);
            return Err(CHANNEL.with(seen, target).into());
        }
        let version = asked.release.as_ref().unwrap_or(&channel.release);
        let no = |refusal: Refusal| NoCandidate::Refused(refusal, Some(version.clone()));
        if component.accept_expired_bundles {
            let accepted = repository.accept_expired(&signed, asked.now);
            checked.trust_floors.operator.clone_from(repository.floors());
            accepted.map_err(no)?;
        } else if let Some(refusal) = repository.expired_offline() {
            return Err(no(refusal.clone()));
        }
        if channel.withdrawn.contains(version) {
            return Err(no(WITHDRAWN.with(version, "a release that is not withdrawn")));
        }
        // Before anything of the release is fetched or judged: an operator halts because something is wrong with it.
        if asked.release.is_none()
            && let Some(hold) = held(&channel, &self.node, asked.now)
        {
            return Ok(Resolved::Waiting(HeldRelease { version: channel.release, floor: channel.floor, hold }));
        }

        let manifest = self.manifest(&place, &repository, &component.name, version).await?;
        let release =
            self.proven(transport, &place, &repository, &checked.trust_floors, component, &manifest).await.map_err(|error| {
                match error {
                    NoCandidate::Refused(refusal, _) => no(refusal),
                    failed @ NoCandidate::Failed(_) => failed,
                }
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
            floor: channel.floor,
        };
        Ok(Resolved::Release(plan))
    }

    /// Sigstore's own repository, where it is followed. What goes wrong is worth a note and stops nothing: the root verified last stays.
    async fn renew_sigstore(&self, transport: &Transport, asked: &CheckRequest, checked: &mut Checked) {
        if self.sigstore.url.is_none() {
            return;
        }
        let (base, rules) = match (transport, &asked.sigstore) {
            (Transport::Http(..), Some(base)) => (base.clone(), Rules::at(asked.now)),
            (Transport::Http(..), None) => return,
            // The versions in a bundle rise like everywhere; that its timestamp is older than a week is in the nature of bundles.
            (Transport::Tar(tar, _), _) if tar.names().any(|name| name == sigstore::IN_BUNDLE_TIMESTAMP) => {
                (transport.below(sigstore::IN_BUNDLE), Rules::accepted_before())
            }
            (Transport::Tar(..), _) => return,
        };
        let followed = self.follow_sigstore(&base, rules, &mut checked.trust_floors).await;
        self.note_seen(view::SIGSTORE, asked.now, followed.as_ref().err().map(NoCandidate::refusal));
        checked.notes.extend(followed.err().map(|why| why.refusal().clone()));
    }

    /// Whether Sigstore's own repository is followed and has to be asked now, whenever it was asked last.
    #[must_use]
    pub fn needs_sigstore(&self, trust_floors: &TrustFloors) -> bool {
        self.sigstore.url.is_some() && self.root_is_missing(trust_floors)
    }

    /// Where Sigstore's own repository is, if it is followed.
    #[must_use]
    pub const fn sigstore_url(&self) -> Option<&url::Url> {
        self.sigstore.url.as_ref()
    }

    /// Fetches what is still missing of the proof, then authorises.
    async fn proven(
        &self,
        transport: &Transport,
        place: &RepositoryTransport,
        repository: &Repository,
        trust_floors: &TrustFloors,
        component: &Component,
        manifest: &AuthenticTarget,
    ) -> Result<Authorized<Release>, NoCandidate> {
        for path in [sigstore::MIRROR.to_owned(), policy_target(&component.name)] {
            // Absent is fine here: what is needed is judged when it is used.
            if repository.lookup(&path).is_ok() {
                self.target(place, repository, &path).await?;
            }
        }
        // Parsed only to learn what to fetch; whether it is the right manifest is decided in `authorize`.
        let wanted = Manifest::parse(manifest.bytes()).ok().and_then(|manifest| manifest.artifact(Platform::current()).cloned());
        let evidence = match wanted {
            Some(artifact) => {
                let cached = self.cache_name(layout::EVIDENCE, &artifact.provenance.sha256);
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
        Ok(self.judge(repository, trust_floors, component, manifest, &evidence)?)
    }

    // ---- from the disk alone -------------------------------------------------------------------------------------------

    /// Authorises a planned release from what is on disk: nothing is fetched, expiry is not judged again, everything else is.
    ///
    /// # Errors
    /// What no longer holds.
    pub fn authorize(
        &self,
        name: &ComponentName,
        plan: &Plan,
        trust_floors: &TrustFloors,
    ) -> Result<(Authorized<Release>, ReleaseEvidence), Refusal> {
        let component = self.component(name)?;
        let repository = self.repository(trust_floors)?;
        let manifest = match self.cached_manifest(&repository, name, &plan.version) {
            Some(manifest) => manifest,
            None => {
                let bytes = self.slots.manifest(name, &plan.slot)?;
                repository.authenticate_manifest(name, &plan.version, |sha256| self.cached(sha256), bytes)?
            }
        };
        let wanted = Manifest::parse(manifest.bytes()).ok().and_then(|manifest| manifest.artifact(plan.platform).cloned());
        let evidence = wanted.map(|artifact| artifact.provenance.sha256).and_then(|wanted| {
            // What is damaged is no reason to refuse a release whose slot has its own.
            read_file(&self.cache_name(layout::EVIDENCE, &wanted)).filter(|bytes| Sha256::of(bytes) == wanted)
        });
        let evidence = match evidence {
            Some(evidence) => evidence,
            None => self.slots.evidence(name, &plan.slot)?,
        };
        let release = self.judge(&repository, trust_floors, component, &manifest, &evidence)?;
        if release.artifact.sha256 != plan.artifact {
            return Err(CACHE.with(release.artifact.sha256, plan.artifact));
        }
        Ok((release, ReleaseEvidence { manifest: manifest.bytes().to_vec(), evidence }))
    }

    /// The proof itself: the operator's manifest, Sigstore's root, every policy that applies.
    fn judge(
        &self,
        repository: &Repository,
        trust_floors: &TrustFloors,
        component: &Component,
        manifest: &AuthenticTarget,
        evidence: &[u8],
    ) -> Result<Authorized<Release>, Refusal> {
        let (root, _) = self.sigstore_root(repository, trust_floors)?;
        let root = SigstoreRoot::parse(&root)?;
        let mut policies: Vec<Policy> = local_policy(component)?.into_iter().collect();
        let path = policy_target(&component.name);
        if let Some(target) = self.optional_target(repository, &path)? {
            policies.push(Policy::read_signed(&path, target.bytes())?);
        }
        if policies.is_empty() {
            return Err(NO_POLICY.with("none", format_args!("a policy for {}", component.name)));
        }
        let release = authorize(manifest, &component.name, Platform::current(), &policies, &root, evidence)?;
        if !component.is_agent() {
            agent_is_new_enough(&release.manifest, env!("CARGO_PKG_VERSION"))?;
        }
        Ok(release)
    }

    /// The verified repository as it is on disk.
    ///
    /// # Errors
    /// When nothing usable is there.
    pub fn repository(&self, trust_floors: &TrustFloors) -> Result<Repository, Refusal> {
        self.operator.open(&trust_floors.operator)
    }

    fn component(&self, name: &ComponentName) -> Result<&Component, Refusal> {
        self.components
            .iter()
            .find(|component| component.name == *name)
            .ok_or_else(|| NO_POLICY.with(name, "a configured component"))
    }
}

/// What a slot keeps beside its payload, so that it can be verified again without anything else.
#[derive(Clone, Debug)]
pub struct ReleaseEvidence {
    /// The manifest as signed.
    pub manifest: Vec<u8>,
    /// The Sigstore bundle.
    pub evidence: Vec<u8>,
}

/// Whether the channel keeps its release from this node for now.
fn held(channel: &Channel, node: &NodeName, now: Timestamp) -> Option<HoldReason> {
    match channel.admits(node, now) {
        _ if channel.halted => Some(HoldReason::Halted),
        Admission::Now => None,
        Admission::At(start) => {
            Some(HoldReason::Wave(Some(u64::try_from(start.duration_since(now).as_secs()).unwrap_or(0).saturating_add(1))))
        }
        Admission::NotPlanned => Some(HoldReason::Wave(None)),
    }
}

fn policy_target(component: &ComponentName) -> String {
    format!("policies/{component}.toml")
}

fn local_policy(component: &Component) -> Result<Option<Policy>, Refusal> {
    let Some(path) = &component.policy else { return Ok(None) };
    let policy = Policy::read(path.display(), &read_limited(path)?)?;
    if policy.component() != &component.name {
        return Err(NO_POLICY.with(format_args!("{} is for {}", path.display(), policy.component()), &component.name));
    }
    Ok(Some(policy))
}

/// A file of ours, if it is there and not larger than anything we ever store.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    let small = std::fs::metadata(path).ok()?.len() <= FILE_LIMIT;
    if small { std::fs::read(path).ok() } else { None }
}
