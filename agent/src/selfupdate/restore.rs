//! Watches a new agent, and restores the committed one when the new one fails.
//!
//! ```text
//! restore/slipway-agent   a copy of the committed agent: what the restore unit runs
//! restore/armed           there while a release of the agent is being activated or watched: what, what else, until when
//! restore/witness         the witness from before, should the new agent have left one that this one cannot read
//! restore/failed          why a release failed, for the restored agent to report
//! ```
//! It works with the witness and the slots alone, never with the database. What it did is in the witness ([`Phase::Restored`]) before
//! the link moves, so that it is finished after a cut at any instruction and done again without harm. [`judge`] decides; it is pure.

use crate::clock;
use crate::crashpoint::crashpoint;
use crate::process::supervisor::{AGENT_UNIT, Systemd, Tools};
use crate::storage::durable;
use crate::storage::hash::Hasher;
use crate::storage::layout;
use crate::storage::slots::Slots;
use crate::storage::store;
use crate::storage::witness::{self, Phase, Remembered, Witness, WitnessData};
use serde::{Deserialize, Serialize};
use slipway_machine::record::{Installed, SlotName};
use slipway_machine::refusals;
use slipway_machine::time::Moment;
use slipway_protocol::{ComponentName, Refusal, Sha256, Version, json};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The only format of `armed` there is.
pub const FORMAT: u32 = 1;
/// Restarts by systemd after which a new agent has failed: one may be a power cut, two are its fault.
const RESTARTS: u32 = 2;
/// Starts of the device during one update of the agent; after more, it has failed.
const BOOTS: u32 = 3;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How long whoever else has the state open is waited for.
const BUSY: Duration = Duration::from_secs(5);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const START_TIMEOUT: Duration = Duration::from_secs(90);
const LIMITS: json::Limits = json::Limits { bytes: 64 * 1024, depth: 8 };

slipway_protocol::refusals! {
    UNREADABLE = "SLW-A-RESTORE-ARMED", System, Device, "file that the restore unit reads is damaged",
        "check the disk; if the agent runs, nothing is lost: it writes the file again for its next update";
    NO_COPY = "SLW-A-RESTORE-COPY", System, Device, "committed agent cannot be restored",
        "install the agent by hand, and check the disk: slot and copy are both damaged";
}

/// An update of the agent under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Armed {
    /// [`FORMAT`].
    pub format: u32,
    /// The agent's component.
    pub component: ComponentName,
    /// The release under test.
    pub testing: SlotName,
    /// Its artifact and version, which are blocked if it fails.
    #[serde(rename = "condemn")]
    pub block: (Sha256, Version),
    /// The release that is restored if it fails.
    pub back: Installed,
    /// Seconds from arming, or from a reboot, in which it must be committed.
    pub within: u64,
    /// When those are over.
    pub deadline: Moment,
    /// Starts of the device since arming.
    pub boots: u32,
}

/// Why a release of the agent failed, with evidence of how it ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failed {
    /// The release's slot.
    pub slot: SlotName,
    /// Why.
    pub reason: Refusal,
    /// Exit status and last log lines.
    pub evidence: String,
}

/// What can be seen from outside of a new agent.
#[derive(Clone, Debug, Default)]
pub struct AgentObservation {
    /// What the witness says about the agent's component; none if it cannot be read.
    pub remembered: Option<Remembered>,
    /// The slot that is current.
    pub link: Option<SlotName>,
    /// Restarts by systemd since the new agent was started.
    pub restarts: u32,
    /// systemd has stopped restarting the unit.
    pub given_up: bool,
}

/// What that means.
#[derive(Clone, Debug, PartialEq)]
pub enum RestoreDecision {
    /// The update is over: nothing to watch.
    Over,
    /// It goes on.
    Watch,
    /// The committed agent must be restored, for this reason; none when the new agent recorded its own.
    Restore(Option<Refusal>),
    /// It was put back, as far as the witness goes.
    Finish,
}

/// Decides from one look. Before the link has moved the committed agent is at work, and nothing that it does is the new one's failure.
#[must_use]
pub fn judge(armed: &Armed, seen: &AgentObservation, now: &Moment) -> RestoreDecision {
    let phase = seen.remembered.as_ref().map(|it| it.phase);
    match phase {
        Some(Phase::Resting) => return RestoreDecision::Over,
        Some(Phase::Restored) => return RestoreDecision::Finish,
        _ => {}
    }
    if seen.link.as_ref() == Some(&armed.back.slot) {
        return RestoreDecision::Watch;
    }
    let left = seen.remembered.as_ref().and_then(|it| it.active.as_ref()) == Some(&armed.testing);
    if left && matches!(phase, Some(Phase::RollingBack | Phase::Inconsistent)) {
        return RestoreDecision::Restore(None);
    }
    let reason = if seen.restarts >= RESTARTS {
        refusals::RESTARTED.with(format_args!("{} restarts by systemd", seen.restarts), "an agent that keeps running")
    } else if seen.given_up {
        refusals::DIED.with("systemd stopped restarting the unit", "a running agent")
    } else if armed.boots > BOOTS {
        refusals::STARTS.with(armed.boots, format_args!("at most {BOOTS}"))
    } else if armed.deadline.reached(now) {
        refusals::DEADLINE.with("not committed", format_args!("committed within {} s", armed.within))
    } else {
        return RestoreDecision::Watch;
    };
    RestoreDecision::Restore(Some(reason))
}

// ---- on the disk ---------------------------------------------------------------------------------------------------------------------

/// The directory of all this.
#[derive(Clone, Debug)]
pub struct RestoreDir {
    state: PathBuf,
}

impl RestoreDir {
    /// The one of this state directory.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.state.join(layout::RESTORE).join(name)
    }

    /// The copy of the committed agent.
    #[must_use]
    pub fn copy(&self) -> PathBuf {
        self.at(layout::AGENT_COPY)
    }

    fn witness(&self) -> PathBuf {
        self.state.join(layout::WITNESS)
    }

    /// Makes the way back durable: the copy and the witness first, the order to watch last.
    ///
    /// # Errors
    /// The committed release is damaged, or the disk fails: then nothing is armed.
    pub fn arm(&self, slots: &Slots, armed: &Armed) -> Result<(), Refusal> {
        self.disarm()?;
        let payload = slots.payload_path(&armed.component, &armed.back.slot);
        copy_verified(&payload, &self.copy(), &armed.back.payload)?;
        let kept = self.at(layout::WITNESS);
        let before = std::fs::read(self.witness()).and_then(|bytes| durable::write_atomic(&kept, &bytes, 0o600));
        before.map_err(|error| durable::refusal(&kept, &error))?;
        self.write("armed", armed)
    }

    /// What is armed, if anything is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn armed(&self) -> Result<Option<Armed>, Refusal> {
        let armed: Option<Armed> = self.read("armed")?;
        match armed {
            Some(armed) if armed.format != FORMAT => {
                Err(witness::NEWER.with(format_args!("format {} of the restore file", armed.format), FORMAT))
            }
            other => Ok(other),
        }
    }

    /// Why the restore unit put the committed release back, if it did and nobody has dealt with that.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn failed(&self) -> Result<Option<Failed>, Refusal> {
        self.read("failed")
    }

    /// Nothing is to be watched any more. The copy stays: it may be running.
    ///
    /// # Errors
    /// The disk fails.
    pub fn disarm(&self) -> Result<(), Refusal> {
        for name in ["armed", "failed", "witness"] {
            let path = self.at(name);
            if path.exists() {
                durable::remove_file_durable(&path).map_err(|error| durable::refusal(&path, &error))?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, what: &impl Serialize) -> Result<(), Refusal> {
        let path = self.at(name);
        let bytes = serde_json::to_vec_pretty(what).map_err(|error| UNREADABLE.with(error, "JSON"))?;
        durable::write_atomic(&path, &bytes, 0o600).map_err(|error| durable::refusal(&path, &error))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let path = self.at(name);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| durable::refusal(&path, &error))?,
        };
        json::parse(&bytes, LIMITS)
            .map(Some)
            .map_err(|error| UNREADABLE.with(format_args!("{}: {error}", path.display()), "JSON"))
    }

    /// Remembers in the witness that the release failed. One that this agent cannot read gives way to the one from before.
    fn remember(&self, armed: &Armed, own: bool) -> Result<(), Refusal> {
        let (mut witness, witness_data) = match Witness::open(&self.witness()) {
            Ok((witness, Some(witness_data))) => (witness, witness_data),
            unusable => {
                let why = unusable.err();
                tracing::error!(
                    refusal = why.map(tracing::field::display),
                    "witness of the new agent is not readable; restoring the previous one"
                );
                let (from, to) = (self.at(layout::WITNESS), self.witness());
                let failed = |error: io::Error| durable::refusal(&from, &error);
                let bytes = std::fs::read(&from).map_err(failed)?;
                if to.exists() {
                    std::fs::rename(&to, self.at("witness.refused")).map_err(failed)?;
                }
                durable::write_atomic(&to, &bytes, 0o600).map_err(failed)?;
                let (witness, witness_data) = Witness::open(&to)?;
                (witness, witness_data.unwrap_or_default())
            }
        };
        let before = witness_data.components.get(&armed.component).cloned().unwrap_or_default();
        let block = if own { before.block.clone() } else { Some(armed.block.clone()) };
        let committed = Some(witness::KeptRelease::from(&armed.back));
        let after = Remembered { phase: Phase::Restored, active: Some(armed.testing.clone()), block, committed, ..before };
        let mut components = witness_data.components.clone();
        components.insert(armed.component.clone(), after);
        // Openings that the new agent did not survive are no fault of the database.
        witness.write_both(&WitnessData { components, opening: 0, ..witness_data })
    }
}

/// Copies a program, if it is the one with this digest.
pub(crate) fn copy_verified(from: &Path, to: &Path, digest: &Sha256) -> Result<(), Refusal> {
    let failed = |error: io::Error| durable::refusal(from, &error);
    let bytes = std::fs::read(from).map_err(failed)?;
    let mut hasher = Hasher::default();
    hasher.update(&bytes);
    let seen = hasher.finish();
    if seen != *digest {
        return Err(NO_COPY.with(format_args!("{}: {seen}", from.display()), digest));
    }
    let dir = to.parent().unwrap_or(to);
    let written = durable::create_dir_all_durable(dir).and_then(|()| durable::write_atomic(to, &bytes, 0o755));
    written.map_err(|error| durable::refusal(to, &error))
}

// ---- at work -------------------------------------------------------------------------------------------------------------------------

/// How a look, or a watch, ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No update of the agent is under way.
    Nothing,
    /// One is, and there is nothing to put back.
    Healthy(Armed),
    /// The release under test failed, and the committed one was restored.
    Restored(Armed),
}

/// The restore unit's work.
#[derive(Debug)]
pub struct Restorer {
    state: PathBuf,
    place: RestoreDir,
    slots: Slots,
    unit: Systemd,
}

impl Restorer {
    /// For the agent with this state directory.
    #[must_use]
    pub fn new(state: &Path, tools: &Tools) -> Self {
        Self {
            state: state.to_owned(),
            place: RestoreDir::new(state),
            slots: Slots::new(state),
            unit: Systemd::new(AGENT_UNIT.to_owned(), tools.clone(), STOP_TIMEOUT, START_TIMEOUT),
        }
    }

    /// Looks once, and puts the committed agent back if it must.
    ///
    /// # Errors
    /// It must and could not: to be tried again.
    pub async fn once(&self) -> Result<Outcome, Refusal> {
        let Some(armed) = self.place.armed()? else { return Ok(Outcome::Nothing) };
        self.look(armed).await
    }

    /// Watches until the update is over, one way or the other. Calls `ready` when it begins to watch.
    ///
    /// # Errors
    /// As [`Self::once`].
    pub async fn watch(&self, ready: impl FnOnce()) -> Result<Outcome, Refusal> {
        let Some(armed) = self.place.armed()? else { return Ok(Outcome::Nothing) };
        let now = clock::now().moment;
        if armed.deadline.boot != now.boot {
            // Seconds of another boot say nothing; a device that restarts again and again must not postpone it forever.
            let armed = Armed { deadline: now.after(armed.within), boots: armed.boots.saturating_add(1), ..armed };
            self.place.write("armed", &armed)?;
        }
        ready();
        loop {
            match self.once().await? {
                Outcome::Healthy(_) => tokio::time::sleep(PAUSE).await,
                over => return Ok(over),
            }
        }
    }

    async fn look(&self, armed: Armed) -> Result<Outcome, Refusal> {
        match judge(&armed, &self.see(&armed).await, &clock::now().moment) {
            RestoreDecision::Over => self.place.disarm().map(|()| Outcome::Nothing),
            RestoreDecision::Watch => Ok(Outcome::Healthy(armed)),
            RestoreDecision::Restore(reason) => self.put_back(armed, reason).await,
            RestoreDecision::Finish => {
                self.slots.point(&armed.component, &armed.back.slot)?;
                self.unit.start().await?;
                Ok(Outcome::Restored(armed))
            }
        }
    }

    async fn see(&self, armed: &Armed) -> AgentObservation {
        let witness_data = Witness::peek(&self.place.witness()).ok().flatten();
        let standing = self.unit.standing().await.ok();
        AgentObservation {
            remembered: witness_data.and_then(|witness_data| witness_data.components.get(&armed.component).cloned()),
            link: self.slots.current(&armed.component).ok().flatten(),
            restarts: standing.as_ref().map_or(0, |standing| standing.restarts),
            given_up: standing.is_some_and(|standing| standing.active == "failed"),
        }
    }

    async fn put_back(&self, armed: Armed, reason: Option<Refusal>) -> Result<Outcome, Refusal> {
        let wanted = self.unit.standing().await.map_or(true, |standing| standing.active != "inactive");
        tracing::warn!(release = %armed.testing, committed = %armed.back.slot, refusal = reason.as_ref().map(tracing::field::display),
            "new agent failed; restoring the committed agent");
        let evidence = self.unit.evidence().await;
        self.unit.stop().await?;
        crashpoint!("restore unit: stopped");
        let lock = store::wait_for_lock(&self.state, BUSY).await?;
        // What it did last: a commit that came a moment before it was stopped is a commit.
        let seen = AgentObservation { restarts: 0, given_up: false, ..self.see(&armed).await };
        if judge(&armed, &seen, &clock::now().moment) == RestoreDecision::Over {
            drop(lock);
            self.place.disarm()?;
            self.unit.start().await?;
            return Ok(Outcome::Nothing);
        }
        if let Some(reason) = &reason {
            let failed = Failed { slot: armed.testing.clone(), reason: reason.clone(), evidence };
            if let Err(refusal) = self.place.write("failed", &failed) {
                // On a full disk the witness has room still.
                tracing::warn!(%refusal, "reason of the failure could not be persisted");
            }
        }
        self.heal(&armed)?;
        crashpoint!("restore unit: before it is remembered");
        self.place.remember(&armed, reason.is_none())?;
        crashpoint!("restore unit: after it is remembered");
        self.slots.point(&armed.component, &armed.back.slot)?;
        drop(lock);
        crashpoint!("restore unit: before the start");
        if wanted {
            self.unit.start().await?;
        }
        Ok(Outcome::Restored(armed))
    }

    /// The committed slot gets its program back if it was damaged: this process runs a copy of it.
    fn heal(&self, armed: &Armed) -> Result<(), Refusal> {
        let Armed { component, back, .. } = armed;
        match self.slots.check_payload(component, &back.slot, &back.payload) {
            Ok(()) => Ok(()),
            Err(damage) => {
                tracing::error!(refusal = %damage, "committed slot is damaged; restoring its program from the verified copy");
                copy_verified(&self.place.copy(), &self.slots.payload_path(component, &back.slot), &back.payload)
            }
        }
    }
}

#[cfg(test)]
mod tests;
