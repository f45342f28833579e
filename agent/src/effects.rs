//! Carries out the machine's effects: one function per effect, each safe to repeat after a power cut.
//!
//! `download` has the orders that fetch and stage a release, `activate` those that touch what runs, `observe` the looks at it.
//!
//! Nothing is decided here. What an effect works with is authorized again from the bytes on disk, never taken from the record.

use crate::clock;
use crate::config::{Component, Config};
use crate::fetch::{Client, FetchError, TarSource};
use crate::process::health::Prober;
use crate::process::supervisor::{Supervisor, Tools};
use crate::selfupdate::activate::AgentComponent;
use crate::selfupdate::restore::{Failed, RestoreDir};
use crate::storage::durable;
use crate::storage::layout;
use crate::storage::slots::Slots;
use crate::storage::store::Store;
use crate::tls;
use crate::trust::{CheckRequest, NoCandidate, ReleaseEvidence, Resolved, Transport, Trust, TrustFloors, View};
use jiff::Timestamp;
use slipway_machine::record::{Installed, Plan, SlotName, Source, Trigger};
use slipway_machine::time::Moment;
use slipway_machine::{Candidate, CheckOutcome, Effect, EffectAnswer, EffectFailure, RetryAdvice, SlotCondition};
use slipway_protocol::{Category, ComponentName, NodeName, Refusal, Sha256, Version};
use slipway_verify::{Authorized, Release};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::Mutex;
use url::Url;

mod activate;
mod download;
mod observe;

slipway_protocol::refusals! {
    SPACE = "SLW-A-SPACE", System, Device, "not enough free space for the download and the new slot",
        "free some space on that file system; the agent retries automatically";
    WORKER = "SLW-A-WORKER", System, Device, "task that works on files ended unexpectedly",
        "wait: the agent repeats the work; if this recurs, check memory and disk";
    TRUST_STATE = "SLW-A-TRUST-MEMORY", System, Operator, "trust state in the witness file cannot be read",
        "install the version of the agent that wrote it; use an empty state directory only if this device may be reset";
}

/// Sigstore's own repository is asked this often: its root changes a few times a year.
const SIGSTORE_SECS: u64 = 6 * 3600;
/// The latest known time is remembered when it has risen by this much: what the boot clock adds may be lost, what was signed may not.
const REMEMBER_SECS: i64 = 600;

/// Everything that effects work with. One for all components; single-threaded.
#[derive(Debug)]
pub struct Executor {
    /// The database and the witness.
    pub store: RefCell<Store>,
    /// The slots.
    pub slots: Slots,
    /// Metadata, evidence, policies.
    pub trust: Trust,
    client: Client,
    base: Option<Url>,
    prober: Prober,
    state: PathBuf,
    managed: BTreeMap<ComponentName, ManagedComponent>,
    /// Whether the broker is reached.
    pub connected: Cell<bool>,
    /// The metadata on disk is one for all components: a refresh of one must neither take back what another's has just raised, nor
    /// be seen half done.
    metadata: Mutex<()>,
    /// When Sigstore's own repository was asked last.
    sigstore: RefCell<Option<Moment>>,
}

/// What belongs to one component.
#[derive(Debug)]
struct ManagedComponent {
    config: Component,
    supervisor: Supervisor,
    /// The agent itself is activated and left in its own way.
    agent: Option<AgentComponent>,
    /// One effect at a time: those that touch the disk or the process run to their end even when nobody wants their answer any more.
    busy: Mutex<()>,
    /// Held beside it by those that touch the process: a download may take hours, and the process must not stay dead for so long.
    process_lock: Mutex<()>,
    /// The process of a release on probation whose bytes were read again after its start.
    hashed: Cell<Option<u32>>,
}

impl Executor {
    /// Opens everything that effects need.
    ///
    /// # Errors
    /// What cannot be used, by file and reason.
    pub fn open(config: &Config, node: NodeName, store: Store, tools: &Tools) -> Result<Self, Refusal> {
        clock::learn(clock::BUILT);
        store.witness_data().trusted_time.into_iter().for_each(clock::learn);
        let state = config.node.state.clone();
        for sub in [layout::DOWNLOADS, layout::SNAPSHOTS, layout::RUN] {
            let sub = state.join(sub);
            durable::create_dir_all_durable(&sub).map_err(|error| durable::refusal(&sub, &error))?;
        }
        let slots = Slots::new(&state);
        let trust = Trust::open(config, node, slots.clone())?;
        let tls = tls::client_config(&config.tls)?;
        let client = Client::new(&config.http, &tls)?;
        let mut managed = BTreeMap::new();
        for component in &config.components {
            let run = state.join(layout::RUN).join(component.name.as_str());
            let supervisor = Supervisor::new(&component.name, &component.run, slots.link(&component.name), run, tools);
            managed.insert(
                component.name.clone(),
                ManagedComponent {
                    config: component.clone(),
                    supervisor,
                    agent: AgentComponent::of(component, &state, &slots, tools),
                    busy: Mutex::default(),
                    process_lock: Mutex::default(),
                    hashed: Cell::default(),
                },
            );
        }
        let base = config.repository.url.clone().map(with_slash);
        Ok(Self {
            store: RefCell::new(store),
            slots,
            trust,
            client,
            base,
            prober: Prober::new(&tls)?,
            state,
            managed,
            connected: Cell::new(false),
            metadata: Mutex::default(),
            sigstore: RefCell::default(),
        })
    }

    /// What the witness remembers about trust. What cannot be read is no first boot.
    ///
    /// # Errors
    /// Something else than this agent wrote it.
    pub fn trust_floors(&self) -> Result<TrustFloors, Refusal> {
        match self.store.borrow().witness_data().tuf.clone() {
            serde_json::Value::Null => Ok(TrustFloors::default()),
            value => serde_json::from_value(value).map_err(|error| TRUST_STATE.with(error, "versions by role")),
        }
    }

    /// What is trusted here, for a person.
    ///
    /// # Errors
    /// As [`Self::trust_floors`].
    pub fn view(&self) -> Result<View, Refusal> {
        Ok(self.trust.view(&self.trust_floors()?, clock::known()))
    }

    /// Forgets which versions of the operator's metadata were judged expired, and tells which:
    /// for a device whose clock was wrong and that gets no newer ones. Waits for a check that is
    /// under way, which would put them back.
    ///
    /// # Errors
    /// As [`Self::trust_floors`]; or the witness cannot be written.
    pub async fn forget_expired(&self) -> Result<BTreeMap<String, u64>, Refusal> {
        let _alone = self.metadata.lock().await;
        let mut trust_floors = self.trust_floors()?;
        let expired = std::mem::take(&mut trust_floors.operator.expired);
        if !expired.is_empty() {
            tracing::warn!(?expired, "recorded expiry cleared by an operator; the metadata is evaluated again");
            self.remember(&trust_floors)?;
        }
        Ok(expired)
    }

    /// Carries out an effect that has an answer. `progress` hears percent.
    pub async fn perform(
        &self,
        component: &ComponentName,
        effect: &Effect,
        progress: &mut dyn FnMut(u8),
    ) -> Option<EffectAnswer> {
        let managed = self.managed.get(component)?;
        let _one_at_a_time = managed.busy.lock().await;
        let touches = matches!(effect, Effect::Prepare { .. } | Effect::Switch { .. } | Effect::Restore { .. });
        let _process_lock = if touches { Some(managed.process_lock.lock().await) } else { None };
        Some(match effect {
            Effect::SetAside { damaged } => EffectAnswer::SetAside(self.set_aside(managed, damaged).await),
            Effect::AdoptAgain { lost } => EffectAnswer::AdoptedAgain(self.adopt_again(managed, lost).await),
            Effect::Check { trigger, repair } => EffectAnswer::Checked(self.check(managed, trigger, repair.as_ref()).await),
            Effect::Fetch { plan } => EffectAnswer::Fetched(self.fetch(component, plan, progress).await),
            Effect::Stage { plan } => EffectAnswer::Staged(self.stage(component, plan).await),
            Effect::Prepare { plan, payload, keep_snapshot } => {
                EffectAnswer::Prepared(self.prepare(managed, plan, *payload, *keep_snapshot).await)
            }
            Effect::Switch { plan, payload } => EffectAnswer::Switched(self.switch(managed, plan, *payload).await),
            Effect::Restore { from, to, anyway } => self.restore(managed, from.as_ref(), to.as_ref(), *anyway).await,
            Effect::Watch { .. } | Effect::Collect { .. } => return None,
        })
    }

    /// A slot that cannot be moved aside stays: its release is fetched all the same, and replaces it.
    async fn set_aside(&self, managed: &ManagedComponent, damaged: &Installed) -> SlotCondition {
        let component = &managed.config.name;
        if self.verify_slot(component, damaged).await.is_ok() {
            return SlotCondition::Intact;
        }
        // The agent's own stays until its successor is whole: something of it may start, and nothing else would.
        if managed.agent.is_none() {
            let (slots, name, damaged) = (self.slots.clone(), component.clone(), damaged.clone());
            if let Err(refusal) = blocking(move || slots.set_aside(&name, &damaged.slot, &damaged.payload)).await {
                tracing::error!(%component, %refusal, "damaged release could not be moved aside");
            }
        }
        SlotCondition::Damaged
    }

    async fn adopt_again(&self, managed: &ManagedComponent, lost: &Installed) -> SlotCondition {
        let component = &managed.config.name;
        // The agent itself is never taken from a file that nobody proved.
        let Some(adopt) = managed.config.adopt.as_ref().filter(|_| managed.agent.is_none()) else {
            return SlotCondition::Damaged;
        };
        let (slots, name, path, lost) = (self.slots.clone(), component.clone(), adopt.path.clone(), lost.clone());
        match blocking(move || slots.adopt_again(&name, &path, &lost)).await {
            Ok(()) => SlotCondition::Intact,
            Err(refusal) => {
                tracing::warn!(%component, %refusal, "damaged adopted program could not be copied from its original path again");
                SlotCondition::Damaged
            }
        }
    }

    /// A damaged release is looked for first: it is known to work here. Where it cannot be had, what the channel names must do.
    async fn check(&self, managed: &ManagedComponent, trigger: &Trigger, repair: Option<&Installed>) -> CheckOutcome {
        let component = &managed.config.name;
        let transport = match &trigger.source {
            Source::Network => self.base.clone().map(|base| Transport::Http(self.client.clone(), base)),
            Source::Bundle(path) => match self.bundle(path).await {
                Ok(tar) => Some(Transport::Tar(tar, String::new())),
                Err(refusal) => return CheckOutcome::Refused { refusal, version: None },
            },
        };
        if let Some(installed) = repair {
            match self.look_for(component, trigger, transport.as_ref(), Some(&installed.version)).await {
                CheckOutcome::Candidate(candidate) if candidate.plan.artifact == installed.artifact => {
                    return CheckOutcome::Candidate(candidate);
                }
                CheckOutcome::Refused { refusal, .. } => {
                    tracing::warn!(%component, %refusal, "damaged release could not be fetched again")
                }
                CheckOutcome::Candidate(_) | CheckOutcome::Waiting(_) => {}
                failed @ CheckOutcome::Failed(_) => return failed,
            }
        }
        self.look_for(component, trigger, transport.as_ref(), None).await
    }

    /// Asks for `release`, or for what the channel names.
    async fn look_for(
        &self,
        component: &ComponentName,
        trigger: &Trigger,
        transport: Option<&Transport>,
        release: Option<&Version>,
    ) -> CheckOutcome {
        let _alone = self.metadata.lock().await;
        let trust_floors = match self.trust_floors() {
            Ok(trust_floors) => trust_floors,
            Err(refusal) => return CheckOutcome::Refused { refusal, version: None },
        };
        let known = clock::known();
        if known.unsure {
            tracing::warn!(clock = %known.clock, latest = %known.latest, "system clock is not trusted; using the later of both times for expiry");
        }
        let request = CheckRequest {
            component: component.clone(),
            now: known.trusted(),
            time_unsure: known.unsure,
            sigstore: self.ask_sigstore(&trust_floors),
            trust_floors,
            source: trigger.source.clone(),
            release: release.cloned(),
        };
        let checked = self.trust.check(transport, &request).await;
        for note in &checked.notes {
            tracing::warn!(%component, %note, "check for a release is degraded");
        }
        // What was verified holds whatever the check ended in; an answer that outran its memory would be a way back to old metadata.
        let kept = if checked.trust_floors == request.trust_floors { Ok(()) } else { self.remember(&checked.trust_floors) };
        let kept = kept.and_then(|()| self.remember_time(checked.signed));
        match (kept, checked.result) {
            (Err(refusal), _) => CheckOutcome::Failed(EffectFailure { refusal, advice: RetryAdvice::Later }),
            (Ok(()), Ok(Resolved::Release(plan))) => {
                let obstacle = self.obstacle(component, &plan);
                CheckOutcome::Candidate(Box::new(Candidate { plan, obstacle }))
            }
            (Ok(()), Ok(Resolved::Waiting(held))) => CheckOutcome::Waiting(held),
            (Ok(()), Err(NoCandidate::Refused(refusal, version))) => CheckOutcome::Refused { refusal, version },
            (Ok(()), Err(NoCandidate::Failed(failure))) => CheckOutcome::Failed(failure),
        }
    }

    fn remember(&self, trust_floors: &TrustFloors) -> Result<(), Refusal> {
        let value = serde_json::to_value(trust_floors).map_err(|error| WORKER.with(error, "JSON"))?;
        self.store.borrow_mut().remember_tuf(value)
    }

    /// Raises the latest known time by verified signed times, and remembers it. A signed time that is far ahead counts as well: whoever
    /// can make a trusted log or authority sign it could prove any build, and a clock that is too late only asks for newer metadata.
    fn remember_time(&self, signed: Option<Timestamp>) -> Result<(), Refusal> {
        signed.into_iter().for_each(clock::learn);
        let latest = clock::known().latest;
        let before = self.store.borrow().witness_data().trusted_time;
        let risen = before.is_none_or(|before| latest.duration_since(before).as_secs() >= REMEMBER_SECS);
        let newer = signed.is_some_and(|signed| before.is_none_or(|before| signed > before));
        if risen || newer { self.store.borrow_mut().remember_time(latest) } else { Ok(()) }
    }

    /// Where to ask for Sigstore's own repository, when it is time to.
    fn ask_sigstore(&self, trust_floors: &TrustFloors) -> Option<Transport> {
        let url = self.trust.sigstore_url()?;
        let now = clock::now().moment;
        let recent = self.sigstore.borrow().as_ref().is_some_and(|at| !at.after(SIGSTORE_SECS).reached(&now));
        if recent && !self.trust.needs_sigstore(trust_floors) {
            return None;
        }
        *self.sigstore.borrow_mut() = Some(now);
        Some(Transport::Http(self.client.clone(), with_slash(url.clone())))
    }

    async fn bundle(&self, path: &Path) -> Result<TarSource, Refusal> {
        let path = path.to_owned();
        blocking(move || TarSource::open(&path)).await
    }

    /// Copies what ran before Slipway to a slot and points the link at it: the first update has a way back, and a unit that starts
    /// what is current can be put in place at any time. Nothing when there is nothing to adopt.
    pub fn adopt(&self, component: &ComponentName) -> Result<Option<Installed>, Refusal> {
        let Some(adopt) = self.managed.get(component).and_then(|managed| managed.config.adopt.as_ref()) else { return Ok(None) };
        let ours = |slot: &SlotName| self.slots.read(component, slot).is_ok_and(|record| !record.adopted);
        if self.slots.current(component)?.as_ref().is_some_and(ours) {
            return Ok(None);
        }
        let adopted = self.slots.adopt(component, &adopt.path, adopt.version.clone())?;
        self.slots.point(component, &adopted.slot)?;
        Ok(Some(adopted))
    }

    /// Whether the agent's own damaged slot was made whole from the program that runs.
    pub fn heal(&self, component: &ComponentName, committed: &Installed) -> bool {
        let Some(agent) = self.managed.get(component).and_then(|managed| managed.agent.as_ref()) else { return false };
        let healed = agent.heal(committed);
        if let Err(refusal) = &healed {
            tracing::warn!(%component, %refusal, "damaged agent slot could not be repaired from the running program");
        }
        healed.is_ok()
    }

    fn committed(&self, component: &ComponentName) -> Option<Installed> {
        self.store.borrow().record(component).and_then(|record| record.committed)
    }

    /// Why the restore unit left a release of the agent itself, if this component is that and it did.
    pub fn restored_for(&self, component: &ComponentName) -> Option<Failed> {
        self.managed.get(component)?.agent.as_ref()?;
        RestoreDir::new(&self.state).failed().unwrap_or_else(|refusal| {
            tracing::warn!(%refusal, "failure report of the restore unit could not be read");
            None
        })
    }

    /// Removes what nobody needs any more; `downloads` are under way for other components. Failures only cost space.
    pub fn collect(&self, component: &ComponentName, keep: &[SlotName], downloads: &[Sha256]) {
        let gone = self.slots.keep_only(component, keep).map(|_| ());
        let parts = self.parts_in(&self.state.join(layout::DOWNLOADS), |name| {
            name.split('.').next().and_then(|digest| digest.parse().ok()).is_some_and(|digest| downloads.contains(&digest))
        });
        let snapshots =
            self.parts_in(&layout::snapshots(&self.state, component), |name| keep.iter().any(|slot| slot.as_str() == name));
        let armed = self.managed.get(component).and_then(|managed| managed.agent.as_ref()).map_or(Ok(()), AgentComponent::disarm);
        let trust = self.trust_floors().and_then(|trust_floors| self.trust.collect(&trust_floors, downloads));
        self.store.borrow_mut().collect_cursors(downloads, clock::known().trusted());
        for refusal in [gone, parts, snapshots, armed, trust].into_iter().filter_map(Result::err) {
            tracing::warn!(%component, %refusal, "cleanup failed; retrying with the next one");
        }
    }

    /// Removes everything in `dir` but what `keep` says.
    fn parts_in(&self, dir: &Path, keep: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        let failed = |error: std::io::Error| durable::refusal(dir, &error);
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if !entry.file_name().to_str().is_some_and(&keep) {
                durable::remove_tree_durable(&entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What cannot be read of the proof is fetched again by the next check, so it may work later; what is wrong with it stays wrong.
    async fn authorize(
        &self,
        component: &ComponentName,
        plan: &Plan,
    ) -> Result<(Authorized<Release>, ReleaseEvidence), EffectFailure> {
        let _whole = self.metadata.lock().await;
        self.trust_floors().and_then(|trust_floors| self.trust.authorize(component, plan, &trust_floors)).map_err(|refusal| {
            let advice = if refusal.category == Category::System { RetryAdvice::Later } else { RetryAdvice::Never };
            EffectFailure { refusal, advice }
        })
    }

    fn part_file(&self, artifact: &Sha256) -> PathBuf {
        layout::part(&self.state, artifact)
    }

    fn drop_part(&self, artifact: &Sha256) -> Result<(), Refusal> {
        let part = self.part_file(artifact);
        // Not synced: one that comes back has no cursor, so nothing of it counts.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(durable::refusal(&part, &error)),
            _ => {
                self.store.borrow_mut().clear_cursor(artifact);
                Ok(())
            }
        }
    }

    fn snapshot_dir(&self, component: &ComponentName, slot: &SlotName) -> PathBuf {
        layout::snapshots(&self.state, component).join(slot.as_str())
    }
}

/// Work on files, beside the event loop.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(WORKER.with(error, "finished work")))
}

impl From<FetchError> for EffectFailure {
    fn from(error: FetchError) -> Self {
        Self { advice: error.retry(), refusal: error.refusal }
    }
}

/// Relative names are below the base only if it ends in a slash.
fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}
