//! Types of the machine's interface: settings, inputs, answers, effects, transitions.

use crate::record::{Installed, Plan, Record, Sample, SlotName, Trigger};
use slipway_protocol::{Event, Refusal, Sha256, Version};

/// The numbers a component's configuration gives the machine. Seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long every required check must pass without interruption.
    pub soak: u64,
    /// By when that must have happened, counted from activation.
    pub deadline: u64,
    /// Required checks that may fail in a row, once they were well, before the release is rolled back.
    pub failures: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { soak: 90, deadline: 300, failures: 3 }
    }
}

/// Starts of agent or device during one probation before the release is rolled back: one or two may be power cuts.
pub(crate) const STARTS_MOST: u32 = 3;
/// Notices closer together than this are answered by one check: a storm of them costs one request in so many seconds.
pub(crate) const GAP: u64 = 5;
/// First pause between retries, in seconds: a connection that dropped may be there again.
pub(crate) const RETRY_FIRST: u64 = 5;
/// Longest pause between retries, in seconds: a server that comes back has its devices back within a quarter of an hour.
pub(crate) const RETRY_MOST: u64 = 900;
/// When to stop retrying and wait for the next notice or timer, in seconds: by then it has been reported for a day.
pub(crate) const GIVE_UP: u64 = 86_400;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The agent started; `link` is what `current/<component>` names.
    Started {
        /// The slot that is current.
        link: Option<SlotName>,
    },
    /// The program from before Slipway is in a slot now and current, so the first update can be rolled back.
    Adopted(Installed),
    /// Of the agent itself: the restore unit restored the committed release, for this reason. Comes before [`Input::Started`].
    RestoredByUnit(Refusal),
    /// The slot of the committed release was looked at, and is not what was committed.
    Damaged {
        /// Which slot was looked at.
        slot: SlotName,
        /// What was found.
        reason: Refusal,
    },
    /// Stored state was damaged when the agent started, and was repaired.
    Healed(Refusal),
    /// A check of the component was triggered.
    Trigger(Trigger),
    /// A moment that [`crate::wake_at`] named has come.
    Wake,
    /// An effect is done.
    Answer {
        /// The epoch of the record that ordered it.
        epoch: u64,
        /// What came of it.
        answer: EffectAnswer,
    },
    /// A person requests the previous release, or cancels the update in progress.
    Rollback,
    /// A person dismisses the freeze warning.
    Dismiss,
    /// A person unblocks an artifact; all of them when `None`.
    Unblock(Option<Sha256>),
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectAnswer {
    /// Of [`Effect::SetAside`].
    SetAside(SlotCondition),
    /// Of [`Effect::AdoptAgain`].
    AdoptedAgain(SlotCondition),
    /// Of [`Effect::Check`].
    Checked(CheckOutcome),
    /// Of [`Effect::Fetch`].
    Fetched(Result<(), EffectFailure>),
    /// Of [`Effect::Stage`]: SHA-256 of what is in the slot. What may work later has touched nothing yet.
    Staged(Result<Sha256, EffectFailure>),
    /// Of [`Effect::Prepare`]. What may work later has touched nothing yet.
    Prepared(Result<(), EffectFailure>),
    /// Of [`Effect::Switch`].
    Switched(Result<(), Refusal>),
    /// Of [`Effect::Watch`], again and again.
    Sampled(Sample),
    /// Of [`Effect::Restore`].
    Restored(Result<(), Refusal>),
    /// Of [`Effect::Restore`]: the release to go back to is not in its slot as it was committed. Nothing was touched.
    Damaged(Refusal),
}

/// Something that did not work.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectFailure {
    /// Why.
    pub refusal: Refusal,
    /// Whether trying again can help.
    pub advice: RetryAdvice,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// It cannot.
    Never,
    /// After a pause.
    Later,
    /// Not before this many seconds, as the server said.
    After(u64),
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckOutcome {
    /// This release should run here; metadata, provenance and policy agree.
    Candidate(Box<Candidate>),
    /// The channel names a release whose time has not come here. Nothing of the release itself was looked at.
    Waiting(HeldRelease),
    /// No.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The version it is about, when that much is known.
        version: Option<Version>,
    },
    /// It could not be found out.
    Failed(EffectFailure),
}

/// What the slot of a release that was found damaged holds now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotCondition {
    /// The release as it was committed: the disk returned it after all, or it was copied there again.
    Intact,
    /// Not the release, which has to be fetched.
    Damaged,
}

/// A release that is authorised, before the device's own conditions are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What to install.
    pub plan: Plan,
    /// Why it cannot be fetched now, if it has to be.
    pub obstacle: Option<Refusal>,
}

/// A release that the operator holds back: known by the channel's signed word alone.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldRelease {
    /// Which.
    pub version: Version,
    /// The floor that the channel demands.
    pub floor: Option<Version>,
    /// Why, and until when.
    pub hold: HoldReason,
}

/// Why a release is held back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HoldReason {
    /// The rollout is halted: nothing new begins.
    Halted,
    /// The rollout reaches this node in so many seconds; `None` when no wave goes that far yet.
    Wave(Option<u64>),
}

/// What is to be done. Each is idempotent.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read the slot of a committed release that was found damaged. If it is damaged, rename it, so that nobody starts what is in it.
    SetAside {
        /// Which release.
        damaged: Installed,
    },
    /// Copy an adopted release from its original path again: no repository has it.
    AdoptAgain {
        /// Which release.
        lost: Installed,
    },
    /// Refresh metadata, resolve the channel, fetch and verify the provenance. Changes nothing that runs and no slot.
    Check {
        /// Who asked, and where to look.
        trigger: Trigger,
        /// The committed release, if its slot is damaged: this very one is looked for first.
        repair: Option<Installed>,
    },
    /// Fetch the artifact; goes on where it stopped.
    Fetch {
        /// What.
        plan: Plan,
    },
    /// Unpack the artifact to its slot.
    Stage {
        /// What.
        plan: Plan,
    },
    /// Verify again, stop the component, back up configuration and data.
    Prepare {
        /// What.
        plan: Plan,
        /// SHA-256 that the slot's payload must have.
        payload: Sha256,
        /// Keep the backup from an earlier attempt at this release: it is still needed.
        keep_snapshot: bool,
    },
    /// Point the link at the slot and start the component.
    Switch {
        /// What.
        plan: Plan,
        /// SHA-256 that the slot's payload must have.
        payload: Sha256,
    },
    /// Watch the component; a newer epoch ends it.
    Watch {
        /// What.
        plan: Plan,
        /// SHA-256 that the slot's payload must have, should it have to be started again.
        payload: Sha256,
    },
    /// Stop the component, restore configuration and data, point the link at `to`, start it.
    Restore {
        /// The slot of the failed release: names the snapshot.
        from: Option<SlotName>,
        /// The release that runs afterwards.
        to: Option<Installed>,
        /// Start it even if configuration and data cannot be restored: a release on the present files is better than none.
        anyway: bool,
    },
    /// Remove all slots, snapshots and partial downloads but these. No answer.
    Collect {
        /// What stays.
        keep: Vec<SlotName>,
    },
}

impl Effect {
    /// Whether it may be given up midway when a newer order comes. What changes a slot, the link or what runs is carried out to its end.
    #[must_use]
    pub const fn abortable(&self) -> bool {
        match self {
            Self::Check { .. } | Self::Fetch { .. } | Self::Watch { .. } => true,
            Self::SetAside { .. }
            | Self::AdoptAgain { .. }
            | Self::Stage { .. }
            | Self::Prepare { .. }
            | Self::Switch { .. }
            | Self::Restore { .. }
            | Self::Collect { .. } => false,
        }
    }
}

/// An effect's name, for places at which a test ends the agent.
#[cfg(debug_assertions)]
#[must_use]
pub const fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::SetAside { .. } => "set-aside",
        Effect::AdoptAgain { .. } => "adopt-again",
        Effect::Check { .. } => "check",
        Effect::Fetch { .. } => "fetch",
        Effect::Stage { .. } => "stage",
        Effect::Prepare { .. } => "prepare",
        Effect::Switch { .. } => "switch",
        Effect::Watch { .. } => "watch",
        Effect::Restore { .. } => "restore",
        Effect::Collect { .. } => "collect",
    }
}

/// A report to send: the driver adds node, time and sequence number.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportDraft {
    /// What happened.
    pub event: Event,
    /// The version it is about.
    pub to: Option<Version>,
    /// Why.
    pub refusal: Option<Refusal>,
}

/// The next record, the effects to carry out, and what to report.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// To be durable before any effect.
    pub next: Record,
    /// To be carried out, each stamped with `next.epoch`.
    pub effects: Vec<Effect>,
    /// To be durable together with `next`.
    pub events: Vec<ReportDraft>,
}
