//! Rebuilds a record that the database lost, from the witness and the slots. Pure.
//!
//! Fetching begins again by itself. What touched the running release is undone: back to the committed one, never onwards.

use crate::storage::slots::SlotRecord;
use crate::storage::witness::{KeptRelease, Phase, Remembered, WitnessData};
use jiff::Timestamp;
use slipway_machine::record::{Blocked, Installed, Plan, Record, Retry, SlotName, Source, State};
use slipway_protocol::json::Members;
use slipway_protocol::{ComponentName, Sha256, Version};

slipway_protocol::refusals! {
    INTERRUPTED = "SLW-A-STATE-LOST", System, Device, "record of the update in progress was lost with the database",
        "check the disk; the agent goes back to the committed release and tries again";
    RESTORED = "SLW-A-SELF-RESTORED", Health, Builder,
        "new agent failed during its probation and was replaced by the committed one",
        "read the log of slipway-agent and slipway-agent-restore; release a fixed version";
    BLOCKED = "SLW-A-BLOCK-REMEMBERED", Health, Builder,
        "artifact failed here before, and the reason was lost with the database",
        "look for the reason in earlier reports; run `slipway-agent unblock` to try the artifact again";
}

/// What the witness has to know of a record.
pub(super) fn remember(record: &Record, generation: u64) -> Remembered {
    let (phase, active, block) = match &record.state {
        State::Idle | State::Checking { .. } | State::Downloading { .. } | State::Staging { .. } | State::Staged { .. } => {
            (Phase::Resting, None, None)
        }
        State::Activating { plan, .. } => (Phase::Activating, Some(&plan.slot), None),
        State::Probation { plan, .. } => (Phase::Probation, Some(&plan.slot), None),
        State::RollingBack { from, block, .. } => (Phase::RollingBack, from.as_ref(), block.as_ref()),
        State::Inconsistent { from, .. } => (Phase::Inconsistent, from.as_ref(), None),
    };
    let name = |blocked: &Blocked| (blocked.artifact, blocked.version.clone());
    Remembered {
        generation,
        epoch: record.epoch,
        phase,
        committed: record.committed.as_ref().map(KeptRelease::from),
        previous: record.previous.as_ref().map(KeptRelease::from),
        active: active.cloned(),
        block: block.map(name),
        blocked: record.blocked.last().map(name),
        floor: record.floor.clone(),
        more: Members::new(),
    }
}

/// Whether the two say the same about anything but when.
pub(super) fn same(a: &Remembered, b: &Remembered) -> bool {
    let timeless = |one: &Remembered| Remembered { generation: 0, epoch: 0, ..one.clone() };
    timeless(a) == timeless(b)
}

/// Whether something that only rises has changed.
pub(super) fn raises(old: &WitnessData, new: &WitnessData) -> bool {
    let versions = |witness_data: &WitnessData| -> Vec<(ComponentName, Option<Version>, Option<KeptRelease>)> {
        witness_data.components.iter().map(|(name, it)| (name.clone(), it.floor.clone(), it.committed.clone())).collect()
    };
    old.tuf != new.tuf || versions(old) != versions(new)
}

/// Whether the restore unit undid what the record still means to go on with: a record that goes back already knows better why.
pub(super) fn overtaken(record: &Record, it: &Remembered) -> bool {
    let committed = it.committed.as_ref().map(Installed::from).map(|committed| committed.slot);
    let back = |to: &Option<Installed>| to.as_ref().map(|to| &to.slot) == committed.as_ref();
    let returns = matches!(&record.state, State::RollingBack { to, .. } | State::Inconsistent { to, .. } if back(to));
    it.phase == Phase::Restored && !returns
}

/// The record of a component from what the witness remembers, `older` being what the database knew before it fell behind.
pub(super) fn rebuild(
    component: &ComponentName,
    it: &Remembered,
    older: Option<Record>,
    active: Option<SlotRecord>,
    at: Option<Timestamp>,
) -> Record {
    let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
    let blocked = |(artifact, version): &(Sha256, Version)| {
        let reason = BLOCKED.with(version, "a release that did not fail");
        Blocked { artifact: *artifact, version: version.clone(), reason, at }
    };
    let mut record = older.unwrap_or_else(|| Record::new(component.clone()));
    record.epoch = record.epoch.max(it.epoch).saturating_add(1);
    let committed = it.committed.as_ref().map(Installed::from);
    // Findings about another release do not apply to this one, nor does the configuration of the release that replaced it.
    record.damage.take_if(|_| record.committed != committed);
    record.committed = committed;
    record.previous = it.previous.as_ref().map(Installed::from);
    record.floor = record.floor.max(it.floor.clone());
    if let Some(newest) = &it.blocked
        && !record.blocked.iter().any(|one| one.artifact == newest.0)
    {
        record.blocked.push(blocked(newest));
    }
    record.state = if it.phase == Phase::Resting {
        State::Idle
    } else {
        State::RollingBack {
            from: it.active.clone(),
            plan: active.map(|slot| plan(&slot)),
            to: record.committed.clone(),
            reason: match it.phase {
                Phase::Restored => RESTORED.with(name(it.active.as_ref()), "an agent that runs until it is committed"),
                phase => {
                    INTERRUPTED.with(format_args!("{phase:?} {}", name(it.active.as_ref())), "a record of it in the database")
                }
            },
            block: it.block.as_ref().map(blocked),
            retry: Retry::default(),
        }
    };
    record
}

fn name(slot: Option<&SlotName>) -> &str {
    slot.map_or("no slot", SlotName::as_str)
}

/// What was being installed, for reports: a rollback needs no more.
fn plan(slot: &SlotRecord) -> Plan {
    Plan {
        version: slot.version.clone(),
        platform: slot.platform,
        artifact: slot.artifact,
        size: slot.artifact_size,
        slot: slot.slot(),
        source: Source::Network,
        floor: None,
    }
}

/// The record of a component of which only the current slot remains: it is treated as committed.
pub(super) fn from_slot(current: &SlotRecord) -> Record {
    let mut record = Record::new(current.component.clone());
    record.floor = Some(current.version.clone());
    record.committed = Some(current.installed());
    record
}
