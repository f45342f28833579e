//! Starts, stops and inspects a component's process: by systemd, as a plain process, or not at all.
//!
//! Every verb is idempotent and bounded in time, so that an order may be repeated after a crash of the agent. That a start was accepted
//! is never taken as evidence that anything runs: [`Supervisor::look`] says what does, and the machine judges it over time.

mod evidence;
pub(crate) mod exec;
mod plain;
mod process;
mod systemd;

pub use plain::Plain;
pub use systemd::{Systemd, Tools};

use serde::Deserialize;
use slipway_machine::record::ProcessState;
use slipway_protocol::{ComponentName, Refusal};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

slipway_protocol::refusals! {
    pub UNIT = "SLW-A-UNIT", Configuration, Operator, "systemd unit of the component cannot be used",
        "check `systemctl status` of the unit; install or unmask it, or correct `unit` in the configuration";
    pub MANAGER = "SLW-A-MANAGER", System, Device, "service manager gave no usable answer",
        "check whether `systemctl` works on the device; without systemd use `command` instead of `unit`";
    pub START = "SLW-A-START", Health, Operator, "component could not be started",
        "check whether the release is built for this platform and whether its libraries are on the device";
    pub STOP = "SLW-A-STOP", System, Device, "component could not be stopped",
        "find out what blocks the process (`systemctl status`, `ps`); a process in state D waits for a disk";
}

/// The agent's own unit.
pub const AGENT_UNIT: &str = "slipway-agent.service";
/// The unit that watches over an update of the agent.
pub const RESTORE_UNIT: &str = "slipway-agent-restore.service";

/// How long a component may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `systemctl start` is waited for; systemd's own default. Afterwards looks decide.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a killed process may take to be gone: the kernel has only its memory left to free.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Pause between two looks while waiting for a process to end.
const POLL: Duration = Duration::from_millis(50);
/// Longest evidence in bytes: a report with it stays far below the packet limit of any broker.
pub const EVIDENCE_LIMIT: usize = 4096;

/// A component's `run` table: exactly one of `unit` and `command`, or neither for a component without a process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Written")]
pub struct RunSettings {
    /// Who runs it.
    pub run: Run,
    /// How long it may take to stop before it is killed.
    pub stop_timeout: Duration,
    /// How long `systemctl start` is waited for.
    pub start_timeout: Duration,
}

/// Who runs a component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Run {
    /// systemd, as this service unit.
    Unit(String),
    /// The agent, as this command and environment.
    Command {
        /// Program and arguments; `{current}` stands for the component's current link, `{slot}` for the directory it points to.
        command: Vec<String>,
        /// The environment beyond PATH, HOME, LANG and TZ.
        env: BTreeMap<String, String>,
    },
    /// Nobody: a file, a command-line tool.
    Nobody,
}

impl RunSettings {
    /// These, with the default timeouts.
    #[must_use]
    pub const fn new(run: Run) -> Self {
        Self { run, stop_timeout: STOP_TIMEOUT, start_timeout: START_TIMEOUT }
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self::new(Run::Nobody)
    }
}

/// The table as it is written, before it is known to make sense.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    unit: Option<String>,
    command: Option<Vec<String>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "default_stop", with = "crate::duration")]
    stop_timeout: Duration,
    #[serde(default = "default_start", with = "crate::duration")]
    start_timeout: Duration,
}

const fn default_stop() -> Duration {
    STOP_TIMEOUT
}
const fn default_start() -> Duration {
    START_TIMEOUT
}

impl TryFrom<Written> for RunSettings {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { unit, command, env, stop_timeout, start_timeout } = written;
        for (key, value) in [("stop_timeout", stop_timeout), ("start_timeout", start_timeout)] {
            if value.is_zero() {
                return Err(format!("`{key}` is zero: expected a time such as \"30s\""));
            }
        }
        if command.is_none() && !env.is_empty() {
            return Err("`env` belongs to `command`; the environment of a unit is set in the unit".into());
        }
        let run = match (unit, command) {
            (Some(_), Some(_)) => return Err("`unit` and `command` are both set: expected one".into()),
            (Some(unit), None) => Run::Unit(valid_unit(unit)?),
            (None, Some(command)) => Run::Command { command: valid_command(command)?, env: valid_env(env)? },
            (None, None) => Run::Nobody,
        };
        Ok(Self { run, stop_timeout, start_timeout })
    }
}

/// A service unit's name and nothing that `systemctl` could take for an option or a pattern.
fn valid_unit(unit: String) -> Result<String, String> {
    let stem = unit.strip_suffix(".service").unwrap_or_default();
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'@' | b'\\');
    let good = !stem.is_empty() && unit.len() <= 255 && !stem.starts_with('-') && stem.bytes().all(safe);
    if good { Ok(unit) } else { Err(format!("`unit` is {unit:?}: expected the name of a service such as \"edgecore.service\"")) }
}

fn valid_command(command: Vec<String>) -> Result<Vec<String>, String> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    if !["/", "{current}", "{slot}"].iter().any(|start| program.starts_with(start)) {
        return Err(format!(
            "`command` begins with {program:?}: expected an absolute path, or one that begins with {{current}} or {{slot}}"
        ));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err("`command` has a NUL character, which an argument cannot have".into());
    }
    Ok(command)
}

fn valid_env(env: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    match env.iter().find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
        Some((name, _)) => Err(format!("`env` has {name:?}, which cannot be set")),
        None => Ok(env),
    }
}

/// How one component's process is handled.
#[derive(Debug)]
pub enum Supervisor {
    /// By systemd.
    Systemd(Systemd),
    /// By the agent itself.
    Plain(Box<Plain>),
    /// There is no process.
    None,
}

impl Supervisor {
    /// The supervisor that `settings` ask for. `current` is the component's link, `dir` a directory for a plain process's record and log.
    #[must_use]
    pub fn new(component: &ComponentName, settings: &RunSettings, current: PathBuf, dir: PathBuf, tools: &Tools) -> Self {
        match &settings.run {
            Run::Unit(unit) => {
                Self::Systemd(Systemd::new(unit.clone(), tools.clone(), settings.stop_timeout, settings.start_timeout))
            }
            Run::Command { command, env } => {
                let plain = Plain::new(component.clone(), command.clone(), env.clone(), current, dir, settings.stop_timeout);
                Self::Plain(Box::new(plain))
            }
            Run::Nobody => Self::None,
        }
    }

    /// Stops the component; when this is `Ok`, nothing of it runs any more.
    pub async fn stop(&self) -> Result<(), Refusal> {
        match self {
            Self::Systemd(systemd) => systemd.stop().await,
            Self::Plain(plain) => plain.stop().await,
            Self::None => Ok(()),
        }
    }

    /// Starts the component unless it runs. `Ok` says that the start was accepted, not that anything runs.
    pub async fn start(&self) -> Result<(), Refusal> {
        match self {
            Self::Systemd(systemd) => systemd.start().await,
            Self::Plain(plain) => plain.start(),
            Self::None => Ok(()),
        }
    }

    /// What runs now. A refusal says that it could not be found out, which is neither life nor death.
    pub async fn look(&self) -> Result<ProcessState, Refusal> {
        match self {
            Self::Systemd(systemd) => systemd.look().await,
            Self::Plain(plain) => Ok(plain.look()),
            Self::None => Ok(ProcessState::None),
        }
    }

    /// How it stands or ended, and its last log lines: printable, at most [`EVIDENCE_LIMIT`] bytes, empty without a process.
    pub async fn evidence(&self) -> String {
        match self {
            Self::Systemd(systemd) => systemd.evidence().await,
            Self::Plain(plain) => plain.evidence(),
            Self::None => String::new(),
        }
    }

    /// Whether a plain process ran when the device went down: that it is gone says nothing against it, and as a unit would be at boot it
    /// is to be started.
    #[must_use]
    pub fn went_down(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.went_down())
    }

    /// To be asked every few seconds for a component that is committed: whether a plain process ended and is to be started, with growing
    /// pauses. systemd does that by itself, as the unit says.
    #[must_use]
    pub fn is_due(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.is_due())
    }

    /// Starts a plain process that is due. Returns whether a process was started.
    pub fn ensure_running(&self) -> Result<bool, Refusal> {
        match self {
            Self::Plain(plain) => plain.ensure_running(),
            Self::Systemd(_) | Self::None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::Path;

    /// Writes a program by way of another process: one that this process has open for writing, or a child that it is forking at the
    /// moment in another test, cannot be executed.
    pub(super) fn executable(path: &Path, text: &str) {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", "rm -f \"$0\"; cat > \"$0\"; chmod 755 \"$0\""]).arg(path).stdin(std::process::Stdio::piped());
        let mut child = shell.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn parse(text: &str) -> Result<RunSettings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn exactly_one_way_to_run() {
        assert_eq!(parse("").unwrap().run, Run::Nobody);
        assert_eq!(parse("unit = \"edgecore.service\"").unwrap().run, Run::Unit("edgecore.service".into()));
        let plain = parse("command = [\"{current}/edgecore\", \"-v\"]\nenv = {A = \"b\"}\nstop_timeout = \"5s\"").unwrap();
        assert_eq!(plain.stop_timeout, Duration::from_secs(5));
        let Run::Command { command, env } = plain.run else { panic!("expected a command") };
        assert_eq!((command.len(), env.len()), (2, 1));
    }

    #[test]
    fn invalid_values_are_refused_by_the_name_of_their_key() {
        for (text, key) in [
            ("unit = \"a.service\"\ncommand = [\"/bin/a\"]", "`unit` and `command`"),
            ("unit = \"--all.service\"", "`unit`"),
            ("unit = \"a*.service\"", "`unit`"),
            ("unit = \"edgecore\"", "`unit`"),
            ("unit = \".service\"", "`unit`"),
            ("command = []", "`command`"),
            ("command = [\"edgecore\"]", "`command`"),
            ("command = [\"/bin/a\", \"\\u0000\"]", "`command`"),
            ("command = [\"/bin/a\"]\nenv = {\"A=B\" = \"c\"}", "`env`"),
            ("unit = \"a.service\"\nenv = {A = \"b\"}", "`env`"),
            ("stop_timeout = \"0s\"", "`stop_timeout`"),
            ("start_timeout = \"0s\"", "`start_timeout`"),
            ("units = \"a.service\"", "`units`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_component_without_a_process_is_not_a_failure() {
        let nobody = Supervisor::None;
        nobody.stop().await.unwrap();
        nobody.start().await.unwrap();
        assert_eq!(nobody.look().await.unwrap(), ProcessState::None);
        assert_eq!(nobody.evidence().await, "");
        assert!(!nobody.ensure_running().unwrap());
    }
}
