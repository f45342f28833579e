//! The effects that touch the running component: prepare, switch and restore.

use super::{Executor, ManagedComponent, blocking};
use crate::crashpoint::crashpoint;
use crate::process::supervisor::Run;
use crate::storage::layout;
use crate::storage::slots::SlotDamage;
use crate::storage::{durable, snapshot};
use slipway_machine::record::{Installed, Plan, SlotName};
use slipway_machine::{EffectAnswer, EffectFailure, RetryAdvice};
use slipway_protocol::{Category, ComponentName, Refusal, Sha256};
use std::path::{Path, PathBuf};

impl Executor {
    /// Looks at the slot's bytes once more, stops the component, and puts its configuration and data by. What fails before it is stopped
    /// has touched nothing, and may work later.
    pub(super) async fn prepare(
        &self,
        managed: &ManagedComponent,
        plan: &Plan,
        payload: Sha256,
        keep_snapshot: bool,
    ) -> Result<(), EffectFailure> {
        let never = |refusal| EffectFailure { refusal, advice: RetryAdvice::Never };
        let component = &managed.config.name;
        self.authorize(component, plan).await?;
        self.confirm(component, &plan.slot, payload).await.map_err(never)?;
        if let Some(agent) = &managed.agent {
            return agent.prepare(self.committed(component).as_ref(), plan).await.map_err(never);
        }
        let (dir, settings) = (self.snapshot_dir(component, &plan.slot), managed.config.snapshot.clone());
        if keep_snapshot && dir.exists() {
            return managed.supervisor.stop().await.map_err(never);
        }
        // One from an earlier attempt must never be taken for this one's.
        let link = self.slots.link(component);
        let fresh = || {
            [dir.as_path(), &link].into_iter().filter_map(Path::parent).try_for_each(durable::create_dir_all_durable)?;
            durable::remove_tree_durable(&dir)
        };
        let fresh = fresh().map_err(|error| durable::refusal(&dir, &error));
        let rehearsed = match fresh {
            Ok(()) => {
                let (dir, settings) = (dir.clone(), settings.clone());
                blocking(move || snapshot::preflight(&dir, &settings, &link)).await
            }
            failed => failed,
        };
        rehearsed.map_err(|refusal| {
            let advice = if refusal.category == Category::System { RetryAdvice::Later } else { RetryAdvice::Never };
            EffectFailure { refusal, advice }
        })?;
        crashpoint!("prepare: rehearsed");
        managed.supervisor.stop().await.map_err(never)?;
        crashpoint!("prepare: stopped");
        blocking(move || snapshot::take(&dir, &settings)).await.map_err(never)
    }

    pub(super) async fn switch(&self, managed: &ManagedComponent, plan: &Plan, payload: Sha256) -> Result<(), Refusal> {
        if let Some(agent) = &managed.agent {
            return agent.switch(plan).await;
        }
        // Days may lie between the two halves of an activation.
        self.confirm(&managed.config.name, &plan.slot, payload).await?;
        // After a reboot the service manager has started whatever the link named.
        managed.supervisor.stop().await?;
        crashpoint!("switch: stopped");
        self.point(&managed.config.name, &plan.slot)?;
        crashpoint!("switch: link is swapped");
        managed.supervisor.start().await
    }

    /// Swaps the link. It takes an inode for a moment: on a disk that has none left the reserve gives one.
    fn point(&self, component: &ComponentName, slot: &SlotName) -> Result<(), Refusal> {
        match self.slots.point(component, slot) {
            Err(refusal) if durable::is_no_room(&refusal) => {
                self.store.borrow_mut().give_up_reserve();
                self.slots.point(component, slot)
            }
            pointed => pointed,
        }
    }

    pub(super) async fn restore(
        &self,
        managed: &ManagedComponent,
        from: Option<&SlotName>,
        to: Option<&Installed>,
        anyway: bool,
    ) -> EffectAnswer {
        // Before anything is stopped: what cannot be started in its place is no reason to.
        if let Some(to) = to
            && let Err(damage) = self.verify_slot(&managed.config.name, to).await
        {
            return if SlotDamage::of(&damage).is_some() {
                EffectAnswer::Damaged(damage)
            } else {
                EffectAnswer::Restored(Err(damage))
            };
        }
        EffectAnswer::Restored(self.go_back(managed, from, to, anyway).await)
    }

    async fn go_back(
        &self,
        managed: &ManagedComponent,
        from: Option<&SlotName>,
        to: Option<&Installed>,
        anyway: bool,
    ) -> Result<(), Refusal> {
        let component = &managed.config.name;
        if let Some(agent) = &managed.agent {
            return agent.restore(from, to, self.committed(component).as_ref()).await;
        }
        let snapshot = from.map(|slot| self.snapshot_dir(component, slot)).filter(|dir| {
            let there = dir.exists();
            if !there {
                // A release on its own configuration beats none at all.
                tracing::error!(%component, snapshot = %dir.display(), "snapshot is missing; configuration and data stay as the failed release left them");
            }
            there
        });
        let current = self.slots.current(component).ok().flatten();
        let back = to.is_some_and(|to| current.as_ref() == Some(&to.slot));
        if let Some(dir) = snapshot.clone().filter(|_| anyway && back) {
            // It runs already, without its configuration: not stopped again before there is room for that.
            blocking(move || snapshot::preflight_restore(&dir)).await?;
        }
        managed.supervisor.stop().await?;
        crashpoint!("restore: stopped");
        let missing = match snapshot {
            Some(dir) => self.put_back(managed, from, to, dir).await.err(),
            None => None,
        };
        if let Some(refusal) = missing.clone().filter(|_| !anyway) {
            return Err(refusal);
        }
        crashpoint!("restore: configuration is back");
        match to {
            Some(to) => {
                self.point(component, &to.slot)?;
                crashpoint!("restore: link is back");
                managed.supervisor.start().await?;
            }
            None => {
                self.slots.unpoint(component)?;
                // A unit may have run a program of its own before us, and nobody else starts it again.
                if matches!(managed.config.run.run, Run::Unit(_))
                    && let Err(refusal) = managed.supervisor.start().await
                {
                    tracing::warn!(%component, %refusal, "no release to roll back to, and the unit does not start without one");
                }
            }
        }
        match missing {
            None => Ok(()),
            Some(why) => {
                let seen = format!("{}; it was started with the configuration and data of the release that failed", why.seen);
                Err(Refusal { seen, ..why })
            }
        }
    }

    /// Configuration and data as they were. On a full disk what a way back does not need gives way first.
    async fn put_back(
        &self,
        managed: &ManagedComponent,
        from: Option<&SlotName>,
        to: Option<&Installed>,
        dir: PathBuf,
    ) -> Result<(), Refusal> {
        let snapshot = dir.clone();
        let Err(refusal) = blocking(move || snapshot::restore(&snapshot)).await else { return Ok(()) };
        if !durable::is_no_room(&refusal) {
            return Err(refusal);
        }
        self.make_room(&managed.config.name, from, to);
        blocking(move || snapshot::restore(&dir)).await
    }

    /// Deletes the reserve, the failed release, snapshots of others and downloads: all of it can be made or fetched again.
    fn make_room(&self, component: &ComponentName, from: Option<&SlotName>, to: Option<&Installed>) {
        tracing::warn!(%component, "disk full during rollback; deleting the reserve, downloads and the failed release");
        self.store.borrow_mut().give_up_reserve();
        let mut cleared = vec![self.parts_in(&self.state.join(layout::DOWNLOADS), |_| false)];
        let snapshots = layout::snapshots(&self.state, component);
        cleared.push(self.parts_in(&snapshots, |name| from.is_some_and(|slot| slot.as_str() == name)));
        if let Some(failed) = from.filter(|failed| to.is_none_or(|to| to.slot != **failed)) {
            // The link names it still, and nothing starts from it: better than the program of one release on the data of another.
            let path = self.slots.path(component, failed);
            cleared.push(durable::remove_tree_durable(&path).map_err(|error| durable::refusal(&path, &error)));
        }
        for refusal in cleared.into_iter().filter_map(Result::err) {
            tracing::warn!(%component, %refusal, "disk space could not be freed");
        }
    }

    /// Reads the slot of a committed release.
    ///
    /// # Errors
    /// It is not what was committed: see [`SlotDamage`].
    pub async fn verify_slot(&self, component: &ComponentName, installed: &Installed) -> Result<(), Refusal> {
        let (slots, name, installed) = (self.slots.clone(), component.clone(), installed.clone());
        blocking(move || slots.check_payload(&name, &installed.slot, &installed.payload)).await
    }

    /// Makes sure of a slot's payload; what was hashed in this run and has not changed since is not read again.
    ///
    /// # Errors
    /// It is not the expected one: see [`SlotDamage`].
    pub async fn confirm(&self, component: &ComponentName, slot: &SlotName, payload: Sha256) -> Result<(), Refusal> {
        let (slots, name, slot) = (self.slots.clone(), component.clone(), slot.clone());
        blocking(move || slots.confirm_payload(&name, &slot, &payload)).await
    }
}
