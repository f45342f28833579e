//! A component that systemd runs, controlled through `systemctl`.

use super::exec::{self, Failed, Ran};
use super::{KILL_WAIT, MANAGER, POLL, START, STOP, UNIT, evidence};
use slipway_machine::record::{Process, ProcessState};
use slipway_protocol::Refusal;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long `systemctl` and `journalctl` may take for an answer that waits for nothing: one call over D-Bus, on a busy device.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What is asked about a unit.
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,Result,MainPID,NRestarts,ExecMainCode,ExecMainStatus,ExecMainStartTimestampMonotonic";

/// Where systemd's programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// `systemctl`, looked up on PATH unless it is a path.
    pub systemctl: PathBuf,
    /// `journalctl`, likewise.
    pub journalctl: PathBuf,
}

impl Default for Tools {
    fn default() -> Self {
        Self { systemctl: "systemctl".into(), journalctl: "journalctl".into() }
    }
}

/// A component that is a service unit.
#[derive(Debug)]
pub struct Systemd {
    unit: String,
    tools: Tools,
    stop_timeout: Duration,
    start_timeout: Duration,
}

impl Systemd {
    pub(crate) const fn new(unit: String, tools: Tools, stop_timeout: Duration, start_timeout: Duration) -> Self {
        Self { unit, tools, stop_timeout, start_timeout }
    }

    /// `systemctl stop` waits for the unit's own stop timeout, which may be endless: ours kills the unit when it passes.
    pub(crate) async fn stop(&self) -> Result<(), Refusal> {
        let stopped = self.systemctl("stop", &[], self.stop_timeout).await;
        let mut shown = self.show().await?;
        if !shown.stopped() && matches!(stopped, Err(Failed::Timeout(_))) {
            tracing::warn!(unit = self.unit, timeout = ?self.stop_timeout, "unit did not stop in time; killing it");
            self.call("kill", &["--signal=SIGKILL"]).await?;
            let waited = timeout(KILL_WAIT, async {
                loop {
                    let shown = self.show().await?;
                    if shown.stopped() {
                        return Ok::<_, Refusal>(shown);
                    }
                    sleep(POLL).await;
                }
            });
            if let Ok(last) = waited.await {
                shown = last?;
            }
        }
        if shown.stopped() {
            return Ok(());
        }
        let why = match stopped {
            Ok(ran) => ran.last_line().to_owned(),
            Err(failed) => failed.to_string(),
        };
        Err(STOP.with(format_args!("{}: {}; {why}", self.unit, shown.status()), "inactive"))
    }

    /// Starts the unit with its restart counter at zero. That a start job failed because the process died is for looks to see.
    pub(crate) async fn start(&self) -> Result<(), Refusal> {
        let shown = self.show().await?;
        if shown.load != "loaded" {
            return Err(UNIT.with(format_args!("{}: {}", self.unit, shown.load), "loaded"));
        }
        if matches!(shown.life(), Life::Running(_) | Life::Starting) {
            return Ok(());
        }
        // Crashes of an earlier release must neither use up the start limit nor count as restarts of this one.
        self.call("reset-failed", &[]).await?;
        match self.systemctl("start", &[], self.start_timeout).await {
            Ok(ran) if ran.status.success() => Ok(()),
            Ok(ran) => {
                let shown = self.show().await?;
                let died = shown.result != "success" || matches!(shown.life(), Life::Running(_) | Life::Starting);
                if died {
                    Ok(())
                } else {
                    Err(START.with(format_args!("{}: {}", self.unit, ran.last_line()), "an accepted start job"))
                }
            }
            // The job goes on without us.
            Err(Failed::Timeout(_)) => Ok(()),
            Err(failed) => Err(MANAGER.with(failed, "an answer to `systemctl start`")),
        }
    }

    pub(super) async fn look(&self) -> Result<ProcessState, Refusal> {
        let shown = self.show().await?;
        Ok(match shown.life() {
            Life::Running(process) => ProcessState::Running(process),
            Life::Starting => ProcessState::Starting,
            Life::Dead => ProcessState::Dead(evidence::short(&shown.status(), &self.journal().await)),
        })
    }

    pub(crate) async fn evidence(&self) -> String {
        let status = match self.show().await {
            Ok(shown) => shown.status(),
            Err(refusal) => refusal.to_string(),
        };
        evidence::long(&format!("{}: {status}", self.unit), &self.journal().await)
    }

    /// How the unit stands, for the agent's own.
    pub(crate) async fn standing(&self) -> Result<Standing, Refusal> {
        let shown = self.show().await?;
        Ok(Standing { status: shown.status(), active: shown.active, restarts: shown.restarts })
    }

    /// Sets the restart counter to zero: what crashed before counts no more.
    pub(crate) async fn forget_failures(&self) -> Result<(), Refusal> {
        self.call("reset-failed", &[]).await
    }

    /// Asks for a restart and does not wait for it: it ends whoever asks for that of its own unit.
    pub(crate) async fn restart_soon(&self) -> Result<(), Refusal> {
        match self.systemctl("restart", &["--no-block"], CALL_TIMEOUT).await {
            Ok(ran) if ran.status.success() => Ok(()),
            Ok(ran) => Err(START.with(format_args!("{}: {}", self.unit, ran.last_line()), "an accepted restart job")),
            Err(failed) => Err(MANAGER.with(failed, "an answer to `systemctl restart`")),
        }
    }

    async fn show(&self) -> Result<Shown, Refusal> {
        let ran = self.systemctl("show", &[PROPERTIES], CALL_TIMEOUT).await;
        match ran {
            Ok(ran) if ran.status.success() => {
                Shown::parse(&ran.out).ok_or_else(|| MANAGER.with(&ran.out, "the properties of the unit"))
            }
            Ok(ran) => {
                Err(MANAGER.with(format_args!("{}: {}", exec::ending(ran.status), ran.last_line()), "the properties of the unit"))
            }
            Err(failed) => Err(MANAGER.with(failed, "the properties of the unit")),
        }
    }

    /// A verb that waits for nothing and whose own result does not matter: what counts is what the unit shows afterwards.
    async fn call(&self, verb: &str, options: &[&str]) -> Result<(), Refusal> {
        match self.systemctl(verb, options, CALL_TIMEOUT).await {
            Ok(_) => Ok(()),
            Err(failed) => Err(MANAGER.with(failed, format_args!("an answer to `systemctl {verb}`"))),
        }
    }

    async fn systemctl(&self, verb: &str, options: &[&str], limit: Duration) -> Result<Ran, Failed> {
        let mut command = exec::command(&self.tools.systemctl);
        command.env("LC_ALL", "C").arg(verb).args(options).args(["--", &self.unit]);
        exec::run(command, limit).await
    }

    /// The end of the unit's log; empty when there is none to be had.
    async fn journal(&self) -> String {
        let mut command = exec::command(&self.tools.journalctl);
        command.env("LC_ALL", "C").args(["--quiet", "--no-pager", "--output=cat", &format!("--lines={}", evidence::SEARCHED)]);
        command.arg(format!("--unit={}", self.unit));
        exec::run(command, CALL_TIMEOUT).await.map(|ran| ran.out).unwrap_or_default()
    }
}

/// How a unit stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// `active`, `activating`, `inactive`, `failed`, …
    pub(crate) active: String,
    /// Restarts by systemd since it was last started by somebody.
    pub(crate) restarts: u32,
    /// For a person.
    pub(crate) status: String,
}

/// What `systemctl show` says about a unit.
#[derive(Debug, Default)]
struct Shown {
    load: String,
    active: String,
    sub: String,
    result: String,
    pid: u32,
    restarts: u32,
    code: u32,
    status: i32,
    started: u64,
}

/// What that means.
#[derive(Debug, PartialEq)]
enum Life {
    Running(Process),
    Starting,
    Dead,
}

impl Shown {
    /// Only the two states must be there: which of the others exist depends on systemd's version and the unit.
    fn parse(text: &str) -> Option<Self> {
        let mut shown = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "LoadState" => value.clone_into(&mut shown.load),
                "ActiveState" => value.clone_into(&mut shown.active),
                "SubState" => value.clone_into(&mut shown.sub),
                "Result" => value.clone_into(&mut shown.result),
                "MainPID" => shown.pid = value.parse().ok()?,
                "NRestarts" => shown.restarts = value.parse().ok()?,
                "ExecMainCode" => shown.code = value.parse().ok()?,
                "ExecMainStatus" => shown.status = value.parse().ok()?,
                "ExecMainStartTimestampMonotonic" => shown.started = value.parse().ok()?,
                _ => {}
            }
        }
        (!shown.load.is_empty() && !shown.active.is_empty()).then_some(shown)
    }

    fn life(&self) -> Life {
        match (self.active.as_str(), self.sub.as_str()) {
            // `active` without a process: a one-shot that is over.
            ("active", "exited" | "dead") => Life::Dead,
            ("active" | "reloading" | "refreshing", _) => Life::Running(Process { pid: self.pid, restarts: self.restarts }),
            // Under `Restart=always` a crash loop stays `activating`, mostly as `auto-restart`. The counter begins at zero
            // with our start, so anything else is a later life too.
            ("activating", sub) if !sub.starts_with("auto-restart") && self.restarts == 0 => Life::Starting,
            _ => Life::Dead,
        }
    }

    fn stopped(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }

    fn status(&self) -> String {
        let mut text = format!("{}/{}", self.active, self.sub);
        if self.load != "loaded" {
            text = format!("{}, {text}", self.load);
        }
        if !matches!(self.result.as_str(), "" | "success") {
            text = format!("{text}, result {}", self.result);
        }
        // CLD_EXITED, CLD_KILLED and CLD_DUMPED of the last main process, once it has started and ended.
        let status = self.status;
        match self.code {
            1 if self.started > 0 => text = format!("{text}, exit status {status}"),
            2 | 3 if self.started > 0 => {
                let name =
                    nix::sys::signal::Signal::try_from(status).map_or("an unknown signal", nix::sys::signal::Signal::as_str);
                text = format!("{text}, killed by {name}");
            }
            _ => {}
        }
        if self.restarts > 0 {
            text = format!("{text}, restarted {} times", self.restarts);
        }
        text
    }
}

#[cfg(test)]
mod tests;
