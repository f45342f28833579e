//! Activates a release of the agent itself, and rolls it back.
//!
//! It goes through the same states as any other component, with three differences:
//!
//! | order | other components | the agent |
//! |---|---|---|
//! | prepare | stop it, put data by | copy the committed agent to [`crate::storage::layout::RESTORE`], arm the restore unit, see that it watches |
//! | switch | link, start | link, ask for a restart; the *new* agent finds the order in the record, and answers it |
//! | restore | link, start | never by the failed release: the restore unit does it, from its copy; the restored agent answers |
//!
//! A release of the agent is thus activated only while a process of the committed one watches over it: [`crate::selfupdate::restore`].

use crate::clock;
use crate::crashpoint::crashpoint;
use crate::process::supervisor::{AGENT_UNIT, RESTORE_UNIT, Systemd, Tools};
use crate::selfupdate::restore::{Armed, RestoreDir, copy_verified};
use crate::storage::slots::Slots;
use slipway_machine::record::{Installed, Plan, SlotName};
use slipway_protocol::{ComponentName, Refusal};
use std::path::{Path, PathBuf};
use std::time::Duration;

slipway_protocol::refusals! {
    NOT_CURRENT = "SLW-A-SELF-LINK", Configuration, Operator, "agent does not run from its committed slot",
        "install slipway-agent.service.d/slipway.conf, then run `systemctl daemon-reload` and `systemctl restart \
         slipway-agent`";
    NO_WAY_BACK = "SLW-A-SELF-FIRST", Configuration, Operator, "no committed agent to roll back to",
        "set `adopt` to the path and the version of the agent that was installed by hand";
    UNWATCHED = "SLW-A-SELF-UNWATCHED", Configuration, Operator, "restore unit is not watching the update of the agent",
        "install and enable slipway-agent-restore.service; see `systemctl status slipway-agent-restore`";
    PROGRAM = "SLW-A-SELF-PROGRAM", Health, Builder, "systemd started another program than the new agent",
        "release the agent's own program, not a script that starts another; check what the unit's ExecStart= names";
    RESTART = "SLW-A-SELF-RESTART", System, Device, "systemd did not restart the agent",
        "check `systemctl status slipway-agent` and what its ExecStart= names";
}

/// How long the agent waits to be ended once it has asked for that.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long until it asks once more when systemd refused.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the restore unit is started before the update is refused: systemd's own trouble passes or is there to stay.
const WATCHMAN_STARTS: u32 = 3;

/// The agent as a component.
#[derive(Debug)]
pub struct AgentComponent {
    component: ComponentName,
    state: PathBuf,
    slots: Slots,
    unit: Systemd,
    watchman: Systemd,
    /// How long after arming a release must be committed: its own deadline, and time to start.
    within: u64,
    /// What the link named when this process started: systemd has started that, if it starts what is current.
    link_at_start: Option<SlotName>,
}

impl AgentComponent {
    /// The agent itself, if `settings` say that this component is it.
    #[must_use]
    pub fn of(component: &crate::config::Component, state: &Path, slots: &Slots, tools: &Tools) -> Option<Self> {
        if !component.is_agent() {
            return None;
        }
        let (stop, start) = (component.run.stop_timeout, component.run.start_timeout);
        let unit = |name: &str| Systemd::new(name.to_owned(), tools.clone(), stop, start);
        Some(Self {
            component: component.name.clone(),
            state: state.to_owned(),
            slots: slots.clone(),
            unit: unit(AGENT_UNIT),
            watchman: unit(RESTORE_UNIT),
            within: component.health.deadline.saturating_add(start).as_secs(),
            link_at_start: slots.current(&component.name).ok().flatten(),
        })
    }

    /// Makes the way back durable and has it watched, before anything changes.
    ///
    /// # Errors
    /// The committed agent is not the one that runs, or nobody would watch.
    pub async fn prepare(&self, committed: Option<&Installed>, plan: &Plan) -> Result<(), Refusal> {
        self.arm(committed, &plan.slot, (plan.artifact, plan.version.clone())).await
    }

    async fn arm(
        &self,
        committed: Option<&Installed>,
        testing: &SlotName,
        block: (slipway_protocol::Sha256, slipway_protocol::Version),
    ) -> Result<(), Refusal> {
        let Some(back) = committed else { return Err(NO_WAY_BACK.with("none", "a committed release")) };
        if !self.runs(&back.slot) {
            return Err(NOT_CURRENT.with(program().display(), self.slots.payload_path(&self.component, &back.slot).display()));
        }
        let now = clock::now().moment;
        let armed = Armed {
            format: crate::selfupdate::restore::FORMAT,
            component: self.component.clone(),
            testing: testing.clone(),
            block,
            back: back.clone(),
            within: self.within,
            deadline: now.after(self.within),
            boots: 0,
        };
        let (place, slots) = (RestoreDir::new(&self.state), self.slots.clone());
        let written = tokio::task::spawn_blocking(move || place.arm(&slots, &armed)).await;
        written.unwrap_or_else(|error| Err(UNWATCHED.with(error, "a saved way to roll back")))?;
        crashpoint!("own: armed");
        self.start_watchman().await
    }

    /// Starts the restore unit and sees that it stays. systemd may fail to start it for reasons of its own (seen: 219/CGROUP, once), so
    /// a start that fails is tried again.
    async fn start_watchman(&self) -> Result<(), Refusal> {
        for _ in 1..WATCHMAN_STARTS {
            let Err(failure) = self.try_start_watchman().await else { return Ok(()) };
            tracing::warn!(unit = RESTORE_UNIT, error = %failure, "restore unit did not start; starting it again");
            tokio::time::sleep(AGAIN).await;
        }
        self.try_start_watchman().await
    }

    async fn try_start_watchman(&self) -> Result<(), Refusal> {
        // A watcher of an earlier attempt would go by what it read then.
        self.watchman.stop().await?;
        self.watchman.start().await.map_err(|why| UNWATCHED.with(format_args!("{RESTORE_UNIT}: {why}"), "active"))?;
        let standing = self.watchman.standing().await?;
        if standing.active == "active" {
            Ok(())
        } else {
            Err(UNWATCHED.with(format_args!("{RESTORE_UNIT}: {}", standing.status), "active"))
        }
    }

    /// Points the link at the new release and asks for a restart: then this does not return. In the new agent it confirms what is so.
    ///
    /// # Errors
    /// The restart did not come, or did not bring the new release.
    pub async fn switch(&self, plan: &Plan) -> Result<(), Refusal> {
        self.turn_into(&plan.slot).await
    }

    async fn turn_into(&self, slot: &SlotName) -> Result<(), Refusal> {
        if self.runs(slot) {
            return Ok(());
        }
        let wanted = self.slots.payload_path(&self.component, slot);
        if self.link_at_start.as_ref() == Some(slot) {
            return Err(PROGRAM.with(program().display(), wanted.display()));
        }
        // Crashes from before are not the new release's.
        self.unit.forget_failures().await?;
        self.slots.point(&self.component, slot)?;
        crashpoint!("own: link is swapped");
        // In a shutdown the manager refuses: then this process ends too, and the next boot starts what is current. No fault of the release.
        if let Err(refusal) = self.unit.restart_soon().await {
            tracing::warn!(%refusal, "restart of the agent refused by systemd; retrying");
            tokio::time::sleep(AGAIN).await;
            self.unit.restart_soon().await.map_err(|why| RESTART.with(why, "an accepted restart"))?;
        }
        tokio::time::sleep(PATIENCE).await;
        Err(RESTART.with(format_args!("none within {PATIENCE:?}"), wanted.display()))
    }

    /// Rolls a release of the agent back. `committed` is the committed one by the record.
    ///
    /// # Errors
    /// The agent to restore does not run yet: the restore unit has been started.
    pub async fn restore(
        &self,
        from: Option<&SlotName>,
        to: Option<&Installed>,
        committed: Option<&Installed>,
    ) -> Result<(), Refusal> {
        let Some(to) = to else { return Err(NO_WAY_BACK.with("none", "a committed release")) };
        // Nothing but the link is wrong, or this is the agent that was put back.
        if self.runs(&to.slot) || from.is_none() {
            self.slots.point(&self.component, &to.slot)?;
            return self.disarm();
        }
        // A rollback by hand, from a committed agent: as careful as an update.
        if committed.is_some_and(|committed| committed.slot != to.slot && self.runs(&committed.slot)) {
            if self.link_at_start.as_ref() != Some(&to.slot) {
                self.arm(committed, &to.slot, (to.artifact, to.version.clone())).await?;
            }
            return self.turn_into(&to.slot).await;
        }
        // This is the failed release. Its own judgement is on the disk; the committed one acts on it.
        self.watchman.start().await?;
        tokio::time::sleep(PATIENCE).await;
        Err(UNWATCHED.with(format_args!("{RESTORE_UNIT} did nothing for {PATIENCE:?}"), "the committed agent restored"))
    }

    /// Puts the program that runs back into its damaged slot, if it is what was committed. For any other component the slot is set aside
    /// and fetched again; a device that loses its power meanwhile would find no agent that could do that.
    ///
    /// # Errors
    /// Another program runs, what runs is damaged too, or the disk fails.
    pub fn heal(&self, committed: &Installed) -> Result<(), Refusal> {
        let payload = self.slots.payload_path(&self.component, &committed.slot);
        copy_verified(Path::new("/proc/self/exe"), &payload, &committed.payload)
    }

    /// No update of the agent is under way: nobody needs to watch.
    ///
    /// # Errors
    /// The disk fails.
    pub fn disarm(&self) -> Result<(), Refusal> {
        RestoreDir::new(&self.state).disarm()
    }

    /// Whether this very process was started from that slot.
    fn runs(&self, slot: &SlotName) -> bool {
        was_started_from(&program(), &self.slots, &self.component, slot)
    }
}

/// Also when the slot was damaged, moved aside and made again since: until its restart, the process runs from where that is now.
fn was_started_from(program: &Path, slots: &Slots, component: &ComponentName, slot: &SlotName) -> bool {
    let within = |dir: PathBuf| {
        let parent = dir.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
        let dir = parent.and_then(|parent| Some(parent.join(dir.file_name()?))).unwrap_or(dir);
        program.starts_with(dir)
    };
    within(slots.path(component, slot)) || within(slots.aside(component, slot))
}

/// The file that this process runs; with ` (deleted)` behind it if that is gone.
fn program() -> PathBuf {
    std::fs::read_link("/proc/self/exe").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_whose_slot_was_set_aside_under_it_still_runs_from_that_slot() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("state"));
        std::fs::create_dir_all(real.join("slots/agent")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let (slots, component): (_, ComponentName) = (Slots::new(&link), "agent".parse().unwrap());
        let slot = |name: &str| SlotName::try_from(name.to_owned()).unwrap();
        let real = std::fs::canonicalize(real).unwrap();
        for (program, runs) in [
            ("slots/agent/v1.2.0-abc/bin/agent", true),
            ("slots/agent/v1.2.0-abc/bin/agent (deleted)", true),
            ("slots/agent/.damaged-v1.2.0-abc/bin/agent", true),
            ("slots/agent/.damaged-v1.2.0-abc/bin/agent (deleted)", true),
            ("slots/agent/.damaged-v1.2.0-abcd/bin/agent", false),
            ("slots/agent/v1.3.0-abc/bin/agent", false),
            ("slots/other/v1.2.0-abc/bin/agent", false),
            ("bin/agent", false),
        ] {
            assert_eq!(was_started_from(&real.join(program), &slots, &component, &slot("v1.2.0-abc")), runs, "{program}");
        }
    }
}
