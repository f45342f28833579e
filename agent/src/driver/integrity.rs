//! Checks committed releases: the files that are started, or could be, are the committed ones.
//!
//! | when | what is looked at |
//! |---|---|
//! | the agent started, a person asks for something, once a day | every byte of the committed release, beside the loop |
//! | a trigger | whether it exists |
//! | a release was committed, or a plain process ended | every byte that was not read in this run or has changed since |

use super::{Driver, EffectOutcome, Live};
use crate::clock;
use crate::effects::Executor;
use crate::storage::slots::SlotDamage;
use slipway_machine::Input;
use slipway_machine::record::{Installed, SlotName, State};
use slipway_protocol::{ComponentName, Refusal};
use std::rc::Rc;

/// How often a committed release is read while nothing happens: disks forget slowly.
const READ_SECS: u64 = 86_400;

impl Driver {
    fn committed(&self, component: &ComponentName) -> Option<Installed> {
        let record = &self.live.get(component)?.record;
        record.committed.clone().filter(|_| record.damage.is_none())
    }

    /// What is damaged is fetched again; the agent's own program comes from the one that runs, if that is whole.
    pub(super) fn damaged(&mut self, component: &ComponentName, slot: SlotName, reason: Refusal) {
        let committed = self.committed(component).filter(|committed| committed.slot == slot);
        let healed = committed.is_some_and(|committed| self.executor.heal(component, &committed));
        self.input(component, if healed { Input::Healed(reason) } else { Input::Damaged { slot, reason } });
    }

    /// Makes sure of the committed release beside the loop, without reading what was read in this run and has not changed since.
    pub(super) fn confirm_slot(&self, component: &ComponentName) {
        let Some(committed) = self.committed(component) else { return };
        self.look_beside(component.clone(), committed, async |executor, component, committed| {
            executor.confirm(component, &committed.slot, committed.payload).await
        });
    }

    /// Reads the committed release beside the loop.
    pub(super) fn read_slot(&mut self, component: &ComponentName) {
        let Some(committed) = self.committed(component) else { return };
        if let Some(live) = self.live.get_mut(component) {
            live.read = Some(clock::now().moment);
        }
        self.look_beside(component.clone(), committed, async |executor, component, committed| {
            executor.verify_slot(component, committed).await
        });
    }

    /// Reads it before anything else happens.
    pub(super) async fn read_slot_now(&mut self, component: &ComponentName) {
        let Some(committed) = self.committed(component) else { return };
        if let Some(reason) = damage(self.executor.verify_slot(component, &committed).await) {
            self.damaged(component, committed.slot, reason);
        }
    }

    /// Reads it when that was long ago.
    pub(super) fn read_slot_daily(&mut self, component: &ComponentName) {
        let read = self.live.get(component).and_then(|live| live.read.clone());
        if read.is_none_or(|at| at.after(READ_SECS).reached(&clock::now().moment)) {
            self.read_slot(component);
        }
    }

    /// Sees whether the committed release is missing: cheap enough for every trigger.
    pub(super) fn miss_slot(&mut self, component: &ComponentName) {
        let Some(committed) = self.committed(component) else { return };
        if let Some(reason) = self.executor.slots.missing(component, &committed.slot) {
            self.damaged(component, committed.slot, reason);
        }
    }

    /// Has committed processes of the agent's own making started again when they ended.
    pub(super) fn look_after(&self) {
        let at_rest = |live: &&Live| {
            matches!(
                live.record.state,
                State::Idle | State::Checking { .. } | State::Downloading { .. } | State::Staging { .. } | State::Staged { .. }
            )
        };
        for live in self.live.values().filter(at_rest) {
            let name = live.config.name.clone();
            let Some(committed) = self.committed(&name).filter(|_| self.executor.is_due(&name)) else { continue };
            self.look_beside(name, committed, async |executor, component, committed| executor.revive(component, committed).await);
        }
    }

    /// Has a committed release looked at beside the loop, which hears of damage.
    fn look_beside(
        &self,
        component: ComponentName,
        committed: Installed,
        look: impl AsyncFnOnce(&Executor, &ComponentName, &Installed) -> Result<(), Refusal> + 'static,
    ) {
        let (executor, outcomes) = (Rc::clone(&self.executor), self.outcomes.0.clone());
        tokio::task::spawn_local(async move {
            if let Some(reason) = damage(look(&executor, &component, &committed).await) {
                let _ = outcomes.send(EffectOutcome::Damaged { component, slot: committed.slot, reason });
            }
        });
    }
}

/// What cannot be read for another reason is no damage, and looked at again.
fn damage(read: Result<(), Refusal>) -> Option<Refusal> {
    let refusal = read.err()?;
    if SlotDamage::of(&refusal).is_some() {
        return Some(refusal);
    }
    tracing::warn!(%refusal, "committed release could not be read; its integrity is checked again later");
    None
}
