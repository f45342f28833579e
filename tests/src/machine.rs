//! A disposable machine with a real systemd, by systemd-nspawn (`tests/lib/nspawn.sh`).
//!
//! It needs root; `tests/run` prepares it.

use crate::LONG;
use anyhow::{Context as _, Result, ensure};
use slipway_sim::Factory;
use slipway_testkit::edgecore::{Dials, payload};
use slipway_testkit::{programs, wait};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// As keadm makes it.
const EDGECORE_UNIT: &str = "\
[Unit]
Description=edgecore.service
[Service]
Type=simple
ExecStart=/usr/local/bin/edgecore
Environment=EDGECORE_HEALTH=ADDRESS
Restart=always
RestartSec=10
KillMode=process
[Install]
WantedBy=multi-user.target
";

/// A machine; gone when dropped.
#[derive(Debug)]
pub struct Machine {
    script: PathBuf,
    name: String,
    /// Its root folder.
    pub root: PathBuf,
}

impl Machine {
    /// A fresh one that does not run yet. `None` with a printed line where machines cannot be had; an error in CI, which must have them.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Option<Self>> {
        let Some(script) = std::env::var_os("SLIPWAY_NSPAWN").map(PathBuf::from) else {
            ensure!(std::env::var_os("CI").is_none(), "CI must run this by tests/run, as root");
            println!("skipped: run it by tests/run, as root");
            return Ok(None);
        };
        let mut machine = Self { script, name: name.to_owned(), root: PathBuf::new() };
        machine.verb("new", &[])?;
        machine.root = text(&machine.verb("path", &[])?.stdout).trim().into();
        Ok(Some(machine))
    }

    /// A verb of `tests/lib/nspawn.sh`.
    ///
    /// # Errors
    /// When it fails.
    pub fn verb(&self, verb: &str, args: &[&str]) -> Result<Output> {
        let output = Command::new(&self.script).arg(verb).arg(&self.name).args(args).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{verb} {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        Ok(output)
    }

    /// Makes it a node as keadm leaves it, with v1.21.0 of edgecore's stand-in, and with `agent` installed as the README says.
    /// `more` is the agent's configuration from behind the common tables on.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn node(&self, factory: &Factory, health: SocketAddr, agent: &[u8], more: &str) -> Result<()> {
        let edgecore = payload(&programs::edgecore_standin()?, &Dials::healthy("v1.21.0"))?;
        self.put("/usr/local/bin/edgecore", &edgecore, 0o755)?;
        self.put("/etc/kubeedge/config/edgecore.yaml", b"apiVersion: v1\nmine: kept\n", 0o640)?;
        std::fs::create_dir_all(self.root.join("var/lib/kubeedge"))?;
        self.put("/usr/local/bin/slipway-agent", agent, 0o755)?;
        self.unit("edgecore.service", EDGECORE_UNIT.replace("ADDRESS", &health.to_string()).as_bytes())?;
        self.unit("slipway-agent.service", &unit_file("slipway-agent.service")?)?;
        self.put("/etc/slipway/root.json", &factory.root()?, 0o644)?;
        self.configure(factory, None, more)
    }

    /// Writes the agent's configuration, for its next start.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, factory: &Factory, broker: Option<&str>, more: &str) -> Result<()> {
        let url = factory.server.url();
        let mqtt = broker.map(|url| format!("[mqtt]\nurl = {url:?}\n")).unwrap_or_default();
        let config = format!(
            r#"
[node]
name = "node-1"
fleet = "factory"
[repository]
url = "{url}"
root = "/etc/slipway/root.json"
refresh = "1h"
[http]
allow_http = true
{mqtt}{more}"#
        );
        self.put("/etc/slipway/agent.toml", config.as_bytes(), 0o600)
    }

    /// Writes a unit file or a drop-in of one; systemd reads it when it is told to, and at a boot.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn unit(&self, name: &str, text: &[u8]) -> Result<()> {
        self.put(&format!("/etc/systemd/system/{name}"), text, 0o644)
    }

    /// Deletes a file inside; that there is none is no error.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn remove(&self, path: &str) -> Result<()> {
        match std::fs::remove_file(self.root.join(path.trim_start_matches('/'))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The power goes, and comes back; meanwhile this is done to its files.
    ///
    /// # Errors
    /// When it does not boot again.
    pub fn cut(&self, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.verb("kill", &[])?;
        meanwhile(self)?;
        self.verb("boot", &[])?;
        Ok(())
    }

    /// Runs a shell command inside.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub fn exec(&self, command: &str) -> Result<Output> {
        Ok(Command::new(&self.script).args(["exec", &self.name, "sh", "-c", command]).stdin(Stdio::null()).output()?)
    }

    /// The output of a command that must succeed.
    ///
    /// # Errors
    /// When it does not: with the journal.
    pub fn ok(&self, command: &str) -> Result<String> {
        let output = self.exec(command)?;
        ensure!(output.status.success(), "{command}: {}{}\n{}", text(&output.stdout), text(&output.stderr), self.journal());
        Ok(text(&output.stdout))
    }

    /// The end of the journal of our units.
    #[must_use]
    pub fn journal(&self) -> String {
        self.exec("journalctl --no-pager -n 80 -o short-monotonic -u slipway-agent -u slipway-agent-restore -u edgecore")
            .map(|output| text(&output.stdout))
            .unwrap_or_default()
    }

    /// Writes a file inside.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(&path, bytes)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// When that takes longer than [`LONG`]: with the journal.
    pub fn wait(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) -> Result<()> {
        wait::try_until(what, LONG, || condition(self)).with_context(|| self.journal())
    }

    /// What `status --json` says; null while nothing answers.
    ///
    /// Without a service the command opens the state itself. While systemd starts or stops the agent, that would delay the agent or, on
    /// a busy machine, keep it from starting: then it is not asked.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let ask = "case $(systemctl is-active slipway-agent) in *ing) exit 1 ;; esac; slipway-agent status --json";
        let status = self.exec(ask).map(|output| output.stdout).unwrap_or_default();
        serde_json::from_slice(&status).unwrap_or_default()
    }

    /// The same of one component.
    #[must_use]
    pub fn component(&self, name: &str) -> serde_json::Value {
        let status = self.status();
        let named = |component: &&serde_json::Value| component["component"] == name;
        status["components"].as_array().and_then(|all| all.iter().find(named).cloned()).unwrap_or_default()
    }

    /// The version of a component that is committed.
    #[must_use]
    pub fn committed(&self, component: &str) -> Option<String> {
        Some(self.component(component)["committed"]["version"].as_str()?.to_owned())
    }

    /// The program that a unit's main process was started from.
    ///
    /// # Errors
    /// When it does not run.
    pub fn running(&self, unit: &str) -> Result<String> {
        self.ok(&format!("readlink /proc/$(systemctl show -P MainPID {unit})/exe"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new(&self.script).args(["rm", &self.name]).stdin(Stdio::null()).output();
    }
}

/// Output as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file of this repository's `systemd/`.
///
/// # Errors
/// When there is none.
pub fn unit_file(name: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(name);
    std::fs::read(&path).with_context(|| path.display().to_string())
}
