//! A node of the fleet: folder, configuration, agent process, and its output.

use anyhow::{Context as _, Result, bail};
use slipway_agent::status::Status;
use slipway_protocol::{Report, Version};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How to run the agent: the program of its own package, or this very program with a first argument that makes it the agent.
#[derive(Clone, Debug)]
pub struct AgentProgram {
    /// The program.
    pub exe: PathBuf,
    /// Arguments before the agent's own.
    pub first: Vec<OsString>,
}

/// What may differ between devices.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Its name.
    pub name: String,
    /// The repository's URL; none for a device that only takes offline bundles.
    pub repository: Option<String>,
    /// The broker's URL.
    pub broker: Option<String>,
    /// Further lines of the `[mqtt]` table.
    pub mqtt: String,
    /// Where its component answers health checks.
    pub health: SocketAddr,
    /// How long everything must be well.
    pub soak: Duration,
    /// By when.
    pub deadline: Duration,
    /// How often it looks by itself.
    pub refresh: Duration,
    /// Further lines at the end of the file: in the last `[[component.health.check]]`, then more tables.
    pub more: String,
    /// Everything from `[[component]]` on, for a device that runs something else than edgecore's stand-in.
    pub component: Option<String>,
}

impl DeviceOptions {
    /// A device that is in a hurry: a soak of 2 s, and a look by itself every half minute.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            repository: None,
            broker: None,
            mqtt: String::new(),
            health: slipway_testkit::address(),
            soak: Duration::from_secs(2),
            deadline: Duration::from_secs(120),
            refresh: Duration::from_secs(30),
            more: String::new(),
            component: None,
        }
    }
}

/// A device; its agent and its component end with it.
#[derive(Debug)]
pub struct Device {
    dir: TempDir,
    program: AgentProgram,
    options: DeviceOptions,
    agent: Option<Child>,
}

impl Device {
    /// Makes the device's folder and configuration. Its agent does not run yet.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn new(program: &AgentProgram, root: &[u8], options: DeviceOptions) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let device = Self { dir, program: program.clone(), options, agent: None };
        std::fs::write(device.path("root.json"), root)?;
        std::fs::write(device.path("edgecore.yaml"), "apiVersion: edgecore.config.kubeedge.io/v1alpha2\nmine: kept\n")?;
        std::fs::write(device.config(), device.config_text()?)?;
        Ok(device)
    }

    fn config_text(&self) -> Result<String> {
        let at = |name: &str| self.path(name).display().to_string();
        let DeviceOptions { name, repository, broker, mqtt, health, soak, deadline, refresh, more, component } = &self.options;
        let mut text = String::new();
        writeln!(
            text,
            "[node]\nname = {name:?}\nfleet = \"factory\"\nstate = {:?}\nsocket = {:?}\n",
            at("state"),
            at("agent.sock")
        )?;
        writeln!(text, "[repository]\nroot = {:?}\nrefresh = \"{}s\"", at("root.json"), refresh.as_secs())?;
        if let Some(url) = repository {
            writeln!(text, "url = {url:?}")?;
        }
        writeln!(text, "\n[http]\nallow_http = true\nproxy = \"none\"\n")?;
        if let Some(url) = broker {
            writeln!(text, "[mqtt]\nurl = {url:?}\n{mqtt}")?;
        }
        if let Some(component) = component {
            text.push_str(component);
            return Ok(text);
        }
        writeln!(
            text,
            r#"
[[component]]
name = "edgecore"
channel = "stable"
snapshot.files = [{config:?}]

[component.run]
command = ["{{current}}/bin/edgecore", "--config", {config:?}]
env = {{ EDGECORE_HEALTH = "{health}" }}
stop_timeout = "5s"

[component.health]
soak = "{}ms"
deadline = "{}ms"
interval = "100ms"

[[component.health.check]]
name = "healthz"
http = "http://{health}/healthz"
required = true
timeout = "2s"
{more}"#,
            soak.as_millis(),
            deadline.as_millis(),
            config = at("edgecore.yaml"),
        )?;
        Ok(text)
    }

    /// A file in the device's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("agent.toml")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The component's configuration as it is now.
    #[must_use]
    pub fn component_config(&self) -> String {
        std::fs::read_to_string(self.path("edgecore.yaml")).unwrap_or_default()
    }

    /// The agent's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Where its state is.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.kill();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("agent.log"))?;
        let mut command = self.command("run");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().with_context(|| format!("cannot run {}", self.program.exe.display()))?);
        Ok(())
    }

    /// Whether the agent answers commands itself; where it does not, a command reads the disk, or is the agent.
    #[must_use]
    pub fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.path("agent.sock")).is_ok()
    }

    /// Ends the agent, writes another configuration, and starts it again; it answers then.
    ///
    /// # Errors
    /// When it does not end, or does not answer within `limit`.
    pub fn reconfigure(&mut self, limit: Duration, change: impl FnOnce(&mut DeviceOptions)) -> Result<()> {
        self.stop()?;
        change(&mut self.options);
        std::fs::write(self.config(), self.config_text()?)?;
        self.start()?;
        self.wait("answers", limit, Self::answers)
    }

    /// The agent's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
            // A child that it was just starting has its socket until it is another program; the next agent would take that for an agent.
            let _ = slipway_testkit::wait::try_until("nobody answers", Duration::from_secs(60), || !self.answers());
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it has not ended well after a minute.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        terminate(agent.id());
        let ended = slipway_testkit::wait::try_until_some("the agent ends on SIGTERM", Duration::from_secs(60), || {
            agent.try_wait().ok().flatten()
        });
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("the agent ended with {status}:\n{}", self.log()),
            Err(error) => {
                let _ = agent.kill();
                let _ = agent.wait();
                Err(error)
            }
        }
    }

    /// Whether the agent still runs.
    pub fn runs(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| matches!(agent.try_wait(), Ok(None)))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program.exe);
        command.args(&self.program.first).arg(verb).arg("--config").arg(self.config());
        command.env("RUST_LOG", "info").env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
        command
    }

    /// Runs one of the agent's commands.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub fn run(&self, verb: &str, args: &[&str]) -> Result<Output> {
        self.command(verb)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.program.exe.display()))
    }

    /// What `status --json` says; an error while no agent answers.
    ///
    /// # Errors
    /// When the command fails.
    pub fn status(&self) -> Result<Status> {
        let output = self.run("status", &["--json"])?;
        if !output.status.success() {
            bail!("status: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What `history --json` says, newest first.
    ///
    /// # Errors
    /// When the command fails.
    pub fn history(&self) -> Result<Vec<Report>> {
        let output = self.run("history", &["--json", "-n", "1000"])?;
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The version that the record calls committed.
    #[must_use]
    pub fn committed(&self) -> Option<Version> {
        self.status().ok()?.components.first()?.committed.as_ref().map(|installed| installed.version.clone())
    }

    /// Waits until the record calls `version` committed.
    ///
    /// # Errors
    /// When that takes longer than `limit`: with the agent's log.
    pub fn wait_committed(&self, version: &str, limit: Duration) -> Result<()> {
        self.wait(&format!("{} commits {version}", self.name()), limit, |device| {
            device.committed().is_some_and(|v| v.as_str() == version)
        })
    }

    /// Waits for a report with this code.
    ///
    /// # Errors
    /// When that takes longer than `limit`: with the agent's log.
    pub fn wait_code(&self, code: &str, limit: Duration) -> Result<Report> {
        let with_code = |device: &Self| {
            let reports = device.history().unwrap_or_default();
            reports.into_iter().find(|report| report.refusal.as_ref().is_some_and(|refusal| refusal.code == code))
        };
        self.wait(&format!("{} says {code}", self.name()), limit, |device| with_code(device).is_some())?;
        with_code(self).context("a report that was there")
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// When that takes longer than `limit`: with the agent's log.
    pub fn wait(&self, what: &str, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> Result<()> {
        slipway_testkit::wait::try_until(what, limit, || condition(self))
            .with_context(|| format!("log of {}:\n{}", self.name(), self.log()))
    }

    /// The version that the running component says it is, by the link that it was started from.
    #[must_use]
    pub fn current(&self) -> Option<String> {
        let link = std::fs::read_link(self.state().join("current/edgecore")).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    }

    /// Whether the component answers its health check.
    #[must_use]
    pub fn healthy(&self) -> bool {
        use std::io::{Read, Write};
        let ask = || -> std::io::Result<bool> {
            let mut stream = std::net::TcpStream::connect(self.options.health)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.contains(" 200 "))
        };
        ask().unwrap_or(false)
    }

    /// Ends what the agent started, by process id: everything whose executable or working files are in this device's folder.
    fn end_component(&self) {
        for pid in processes_below(self.dir.path()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
        self.end_component();
    }
}

fn terminate(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
}

/// Processes whose program lies below `dir`.
#[must_use]
pub fn processes_below(dir: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    // The kernel names programs without links on the way.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let below = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&dir));
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(below).collect()
}
