//! Samples the running component, and restarts one that has exited.

use super::{Executor, ManagedComponent};
use crate::process::health::Subject;
use crate::storage::slots::SlotDamage;
use slipway_machine::record::{CheckResult, Installed, Plan, ProcessState, Sample};
use slipway_protocol::{ComponentName, Refusal, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Executor {
    /// One look at a component on probation; a service manager that does not answer is no sign of life or death.
    pub async fn look(&self, component: &ComponentName, plan: &Plan, payload: Sha256) -> Option<(Sample, String)> {
        let managed = self.managed.get(component)?;
        let subject = Subject {
            component: component.clone(),
            version: plan.version.clone(),
            slot: plan.slot.clone(),
            dir: self.slots.path(component, &plan.slot),
        };
        if managed.supervisor.went_down()
            && let Err(refusal) = self.start_after_boot(managed, plan, payload).await
        {
            tracing::warn!(%component, %refusal, "component failed to start after the boot");
        }
        match self.prober.sample(&managed.config.health, &managed.supervisor, &subject).await {
            Ok(mut sample) => {
                if let ProcessState::Running(process) = &sample.process
                    && managed.hashed.get() != Some(process.pid)
                {
                    // Between the last look at the bytes and their start somebody may have exchanged them.
                    let pid = process.pid;
                    let exe = PathBuf::from(format!("/proc/{pid}/exe"));
                    let confirmed = match self.slots.runs_another(component, &plan.slot, &exe) {
                        None => self.confirm(component, &plan.slot, payload).await,
                        Some(refusal) => Err(refusal),
                    };
                    match confirmed {
                        Ok(()) => managed.hashed.set(Some(pid)),
                        Err(refusal) if SlotDamage::of(&refusal).is_some() => {
                            sample.process =
                                ProcessState::Dead(format!("running program differs from the verified one: {refusal}"));
                        }
                        Err(refusal) => {
                            tracing::warn!(%component, %refusal, "running program could not be read; its integrity is checked again later")
                        }
                    }
                }
                sample.checks.extend(self.runs_it(component, &subject, &sample.process));
                if managed.config.health.broker {
                    let outcome = if self.connected.get() { Ok(()) } else { Err("not connected".to_owned()) };
                    sample.checks.push(CheckResult { name: "broker".to_owned(), required: true, outcome });
                }
                let unhealthy = matches!(sample.process, ProcessState::Dead(_))
                    || sample.checks.iter().any(|c| c.required && c.outcome.is_err());
                let evidence = if unhealthy { managed.supervisor.evidence().await } else { String::new() };
                Some((sample, evidence))
            }
            Err(refusal) => {
                tracing::warn!(%component, %refusal, "health probe failed");
                None
            }
        }
    }

    /// Whether what runs is what was activated. A unit without the drop-in would keep starting the old program, be healthy, and a
    /// release would be committed that never ran.
    fn runs_it(&self, component: &ComponentName, subject: &Subject, process: &ProcessState) -> Option<CheckResult> {
        let ProcessState::Running(process) = process else { return None };
        let proc = PathBuf::from(format!("/proc/{}", process.pid));
        let link = self.slots.link(component);
        let dir = std::fs::canonicalize(&subject.dir).unwrap_or_else(|_| subject.dir.clone());
        // Without CAP_SYS_PTRACE only the command line is readable, whose first word is the program as the unit names it.
        let program = std::fs::read_link(proc.join("exe")).unwrap_or_default();
        // A script's program is its interpreter; then an argument names the script.
        let words = std::fs::read(proc.join("cmdline")).unwrap_or_default();
        let named = words.split(|byte| *byte == 0).map(|word| Path::new(std::ffi::OsStr::from_bytes(word)));
        let ours = program.starts_with(&dir) || named.into_iter().any(|word| word.starts_with(&link) || word.starts_with(&dir));
        let shown = words.split(|byte| *byte == 0).next().map(String::from_utf8_lossy).unwrap_or_default();
        let wrong = || format!("process {} is {shown}, expected {}/bin/{component}", process.pid, link.display());
        Some(CheckResult { name: "program".to_owned(), required: true, outcome: if ours { Ok(()) } else { Err(wrong()) } })
    }

    /// Pause between two looks.
    pub fn interval(&self, component: &ComponentName) -> std::time::Duration {
        self.managed.get(component).map_or(std::time::Duration::from_secs(2), |managed| managed.config.health.interval)
    }

    async fn start_after_boot(&self, managed: &ManagedComponent, plan: &Plan, payload: Sha256) -> Result<(), Refusal> {
        self.confirm(&managed.config.name, &plan.slot, payload).await?;
        managed.supervisor.start().await
    }

    /// Whether the agent is who runs a component's process, and it ended.
    pub fn is_due(&self, component: &ComponentName) -> bool {
        // While an effect works on the process, whether it should run is that effect's business.
        self.managed.get(component).is_some_and(|managed| managed.process_lock.try_lock().is_ok() && managed.supervisor.is_due())
    }

    /// Starts a committed component's process again, from the bytes that were committed.
    ///
    /// # Errors
    /// They are not there any more: see [`SlotDamage`].
    pub async fn revive(&self, component: &ComponentName, committed: &Installed) -> Result<(), Refusal> {
        let Some(managed) = self.managed.get(component) else { return Ok(()) };
        let Ok(_free) = managed.process_lock.try_lock() else { return Ok(()) };
        // An update may have moved the link since this was asked for.
        if self.slots.current(component)?.as_ref() != Some(&committed.slot) {
            return Ok(());
        }
        self.confirm(component, &committed.slot, committed.payload).await?;
        match managed.supervisor.ensure_running() {
            Ok(true) => tracing::warn!(%component, "component had exited; restarted"),
            Ok(false) => {}
            Err(refusal) => tracing::warn!(%component, %refusal, "component had exited and could not be restarted"),
        }
        Ok(())
    }
}
