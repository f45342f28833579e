//! One device of a sweep: a folder, a real agent process, and a shell script as component.

use super::scenario::{Scenario, Setting};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use slipway_agent::control::{Request, Response};
use slipway_agent::status::{ComponentStatus, Status};
use slipway_protocol::{Event, Report};
use slipway_testkit::wait;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long the agent may take for an answer or its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A device; agent and component end with it, its folder stays.
#[derive(Debug)]
pub struct CrashDevice {
    dir: PathBuf,
    scenario: Scenario,
    agent: PathBuf,
    child: Option<Child>,
    /// The tracer that started the agent has let go of it: it is nobody's child any more.
    loose: bool,
}

impl CrashDevice {
    /// The device whose folder is `dir`: what an agent needs is written there, what is there already is kept.
    pub fn at(dir: &Path, scenario: Scenario, setting: &Setting) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        // The kernel names programs and files without links on the way.
        let dir = dir.canonicalize()?;
        std::fs::write(dir.join("root.json"), &setting.root)?;
        if !dir.join("edgecore.yaml").exists() {
            std::fs::write(dir.join("edgecore.yaml"), "format: 1\n")?;
        }
        let at = |name: &str| dir.join(name).display().to_string();
        let text = format!(
            r#"
[node]
name = "edge-1"
fleet = "factory"
state = {state:?}
socket = {socket:?}

[repository]
root = {root:?}
refresh = "1s"
url = "{url}/"

[http]
allow_http = true
proxy = "none"

[[component]]
name = "edgecore"
channel = "{channel}"
snapshot.files = [{config:?}, {data:?}]

[component.run]
command = ["{{slot}}/bin/edgecore", {config:?}, {data:?}]
stop_timeout = "2s"

[component.health]
soak = "{soak}"
deadline = "60s"
interval = "100ms"
"#,
            state = at("state"),
            socket = at("agent.sock"),
            root = at("root.json"),
            url = setting.url,
            channel = scenario.name(),
            // Where the release is to die it has all the time that a busy machine needs for that; a death ends the soak.
            soak = match scenario {
                Scenario::Commit | Scenario::Repair => "1s",
                Scenario::RollBack => "30s",
            },
            config = at("edgecore.yaml"),
            data = at("data"),
        );
        std::fs::write(dir.join("agent.toml"), text)?;
        Ok(Self { dir, scenario, agent: setting.agent.clone(), child: None, loose: false })
    }

    /// Changes its configuration, which the next start of the agent reads.
    pub fn configure(&self, from: &str, to: &str) -> Result<()> {
        let file = self.dir.join("agent.toml");
        let text = std::fs::read_to_string(&file)?;
        ensure!(text.contains(from), "the configuration has no {from}");
        Ok(std::fs::write(&file, text.replace(from, to))?)
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The agent's state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What happens to it.
    #[must_use]
    pub const fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// The agent's log so far, of all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    /// Starts the agent.
    pub fn start(&mut self) -> Result<()> {
        self.start_under(&[])
    }

    /// Starts the agent under another program, such as a tracer.
    pub fn start_under(&mut self, tracer: &[OsString]) -> Result<()> {
        let mut words = tracer.to_vec();
        words.extend([self.agent.clone().into(), "run".into(), "--config".into(), self.dir.join("agent.toml").into()]);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("agent.log"))?;
        let program = words.remove(0);
        let mut command = Command::new(&program);
        command.args(words).env("RUST_LOG", "info").env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {}", program.display()))?);
        Ok(())
    }

    /// How the agent ended, if it has. Of one that a tracer let go of nobody knows; it counts as well.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.loose && self.agents().next().is_none() {
            self.loose = false;
            return Some(ExitStatus::default());
        }
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Has the tracer let go of the agent, which goes on.
    pub fn let_go(&mut self) {
        let Some(mut tracer) = self.child.take() else { return };
        // Asked to leave, it may wait for ever for a process that is just being made; the kernel lets go at once.
        let _ = tracer.kill();
        let _ = tracer.wait();
        self.loose = true;
    }

    /// Ends the agent in an orderly way, which it must manage.
    pub fn stop(&mut self) -> Result<()> {
        if self.child.is_none() && !self.loose {
            return Ok(());
        }
        self.agents().for_each(|pid| signal(pid, Signal::SIGTERM));
        let mut ended = None;
        let waited = wait::try_until("the agent ends on SIGTERM", PATIENCE, || {
            ended = self.ended();
            ended.is_some()
        });
        if waited.is_err() {
            self.kill();
        }
        waited?;
        match ended {
            Some(status) if status.success() => Ok(()),
            status => bail!("the agent ended with {status:?}"),
        }
    }

    /// SIGKILL to the agent, and to the tracer that it may run under.
    pub fn kill(&mut self) {
        self.agents().for_each(|pid| signal(pid, Signal::SIGKILL));
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = wait::try_until("the agent is gone", PATIENCE, || self.agents().next().is_none());
    }

    /// Stops the agent where it is, or has it go on.
    pub fn freeze(&self, frozen: bool) {
        let which = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.agents().for_each(|pid| signal(pid, which));
    }

    /// The agent's processes: one, or none.
    fn agents(&self) -> impl Iterator<Item = u32> {
        let (program, config) = (self.agent.clone(), self.dir.join("agent.toml"));
        let ours = move |words: &[String]| {
            words.first().is_some_and(|word| Path::new(word) == program) && words.iter().any(|word| Path::new(word) == config)
        };
        command_lines().into_iter().filter(move |(_, words)| ours(words)).map(|(pid, _)| pid)
    }

    /// Asks the agent through its socket.
    fn ask(&self, request: &Request) -> Result<Response> {
        let mut stream = UnixStream::connect(self.dir.join("agent.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks for a check, and hands on every report that the agent makes until the update has ended.
    pub fn follow(&self, mut on_report: impl FnMut(Report)) -> Result<()> {
        let mut stream = UnixStream::connect(self.dir.join("agent.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let check = Request::Check { component: slipway_sim::factory::edgecore_name() };
        stream.write_all(format!("{}\n", serde_json::to_string(&check)?).as_bytes())?;
        for line in BufReader::new(stream).lines() {
            match serde_json::from_str(&line?)? {
                Response::Report(report) if report.event != Event::Progress => on_report(report),
                Response::Report(_) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// What the agent says of the component.
    pub fn status(&self) -> Result<ComponentStatus> {
        self.whole_status()?.components.pop().context("a component")
    }

    /// What the agent says of the node.
    pub fn whole_status(&self) -> Result<Status> {
        match self.ask(&Request::Status)? {
            Response::Status(status) => Ok(*status),
            other => bail!("{other:?} is no status"),
        }
    }

    /// Past reports, newest first.
    pub fn history(&self) -> Result<Vec<Report>> {
        match self.ask(&Request::History { component: None, limit: 1000 })? {
            Response::History(reports) => Ok(reports),
            other => bail!("{other:?} is no history"),
        }
    }

    /// Whether this version is committed, nothing is under way, and it runs.
    #[must_use]
    pub fn settled(&self, version: &str) -> bool {
        self.status().is_ok_and(|status| {
            status.state == "idle" && status.committed.is_some_and(|installed| installed.version.as_str() == version)
        }) && matches!(self.running().as_slice(), [slot] if slot.starts_with(&format!("{version}-")))
    }

    /// Does what the report of an update that is held off asks of a person: the cause is gone, so let it be tried at once.
    pub fn check_if_held_off(&self) {
        let last = self.status().ok().and_then(|status| status.last?.refusal);
        if last.is_some_and(|refusal| refusal.code == "SLW-A-HELD-OFF") {
            let _ = self.ask(&Request::Check { component: slipway_sim::factory::edgecore_name() });
        }
    }

    /// Whether the scenario is over, and over as it should be.
    #[must_use]
    pub fn finished(&self) -> bool {
        let new = self.scenario.new_version();
        let blocked = || self.status().is_ok_and(|status| status.blocked.iter().any(|one| one.version.as_str() == new));
        self.settled(self.scenario.ends_at()) && (self.scenario != Scenario::RollBack || blocked())
    }

    /// The slots whose programs run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.component().into_iter().map(|(_, slot)| slot).collect()
    }

    /// The component's processes and the slots that they run from: the kernel starts a script as an argument of its interpreter.
    fn component(&self) -> Vec<(u32, String)> {
        let slots = self.state().join("slots/edgecore");
        let slot = |words: &[String]| {
            let path = Path::new(words.get(1)?).strip_prefix(&slots).ok()?.to_owned();
            Some(path.components().next()?.as_os_str().to_string_lossy().into_owned())
        };
        // What it has just forked has its command line for a moment, but is not the head of a group.
        command_lines().into_iter().filter_map(|(pid, words)| Some((pid, slot(&words)?))).filter(|(pid, _)| leads(*pid)).collect()
    }

    /// Kills the component, as a power cut would.
    pub fn end_component(&self) {
        for (pid, _) in self.component() {
            if let Ok(pid) = i32::try_from(pid) {
                // It leads a group of its own.
                let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
        let _ = wait::try_until("the component is gone", PATIENCE, || self.component().is_empty());
    }

    /// What the link `current` names.
    pub fn link(&self) -> Result<String> {
        let target = std::fs::read_link(self.state().join("current/edgecore")).context("current/edgecore")?;
        let slot = target.strip_prefix("../slots/edgecore").with_context(|| format!("current -> {}", target.display()))?;
        ensure!(slot.components().count() == 1, "current -> {}", target.display());
        Ok(slot.display().to_string())
    }
}

impl Drop for CrashDevice {
    fn drop(&mut self) {
        self.kill();
        self.end_component();
    }
}

/// Whether a process is the head of its group.
fn leads(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything: state, parent, group.
    let group = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(2)?.parse().ok());
    group == Some(pid)
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

/// Every process and its command line.
fn command_lines() -> Vec<(u32, Vec<String>)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let words = |pid: u32| -> Option<Vec<String>> {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, words(pid)?))).collect()
}
