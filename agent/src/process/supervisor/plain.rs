//! A component that the agent runs itself, on nodes without systemd and in the demo.
//!
//! The process is in a group of its own and writes to a log file, so that it outlives the agent. A small record, `process.json`, lets the
//! next life of the agent find it again. It is written twice: before the start with a mark that the process carries in its environment,
//! and after it with id and start time. An agent that is killed between the two finds the process by its mark instead of starting a second
//! one. The record is written in place and not synced: what a power cut would lose of it has ended with the same power cut. And so a
//! process can be started on a disk that is full.

use super::exec::{INHERITED, ending};
use super::process::{self, Stat};
use super::{KILL_WAIT, POLL, START, STOP, evidence};
use crate::clock;
use crate::storage::durable;
use crate::storage::layout;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use slipway_machine::record::{Process, ProcessState};
use slipway_machine::time::{BootId, Moment, doubled};
use slipway_protocol::{ComponentName, Refusal};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The environment variable that carries the mark.
const MARK: &str = "SLIPWAY_START";
/// Largest log: it is emptied beyond that, as a component that logs for years would fill the disk.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;
/// Longest pause between two starts of a committed component that keeps dying: it may be waiting for something that comes back.
const PAUSE_LIMIT: u64 = 300;
/// The record's length in its file, padded with spaces: more than any is long.
const RECORD_LENGTH: usize = 512;
/// A process that ran for this many seconds has started well: earlier deaths are forgotten.
const STEADY: u64 = 60;

/// A component that is a process of the agent's own making.
#[derive(Debug)]
pub struct Plain {
    component: ComponentName,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    current: PathBuf,
    dir: PathBuf,
    stop_timeout: Duration,
    inner: Mutex<Inner>,
}

/// What only this life of the agent knows.
#[derive(Debug, Default)]
struct Inner {
    /// The process, if it is our child; else its exit status goes to somebody else.
    child: Option<Child>,
    /// How our last child ended.
    ended: Option<String>,
    /// Starts by [`Plain::ensure_running`] since it last ran steadily.
    deaths: u32,
    /// When the last of them was.
    started: Option<Moment>,
}

/// `process.json`.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    boot: BootId,
    mark: String,
    process: Option<Id>,
}

/// A process, unmistakably.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct Id {
    pid: u32,
    started: u64,
}

impl Id {
    fn alive(self) -> Option<Stat> {
        process::stat(self.pid).filter(|stat| !stat.over && stat.started == self.started)
    }
}

impl Plain {
    pub(super) fn new(
        component: ComponentName,
        command: Vec<String>,
        env: BTreeMap<String, String>,
        current: PathBuf,
        dir: PathBuf,
        stop_timeout: Duration,
    ) -> Self {
        Self { component, command, env, current, dir, stop_timeout, inner: Mutex::default() }
    }

    /// Starts it unless it runs.
    pub(super) fn start(&self) -> Result<(), Refusal> {
        let mut inner = self.lock();
        if self.find(&mut inner).is_some() {
            return Ok(());
        }
        // Its record and log are the disk's business; only the program itself can be what does not start.
        let disk = |error: io::Error| durable::refusal(&self.dir, &error);
        fs::create_dir_all(&self.dir).map_err(disk)?;
        let now = clock::now();
        let mark = format!("{}-{}-{}", std::process::id(), now.moment.secs, now.dice);
        let boot = now.moment.boot;
        let mut command = self.command_line().map_err(disk)?;
        command.env(MARK, &mark);
        let write = |process| self.write(&Record { boot: boot.clone(), mark: mark.clone(), process });
        write(None).map_err(disk)?;
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            START.with(format_args!("{program}: {error}"), format_args!("{} running", self.component))
        })?;
        let pid = child.id();
        inner.ended = None;
        inner.child = Some(child);
        // When this write fails the mark still finds the process.
        let id = process::stat(pid).map(|stat| Id { pid, started: stat.started });
        if let Err(error) = write(id) {
            tracing::warn!(component = %self.component, %error, "process record not written; the process is found by its environment");
        }
        tracing::info!(component = %self.component, pid, "process started");
        Ok(())
    }

    /// Asks it to end, then kills it and the rest of its group.
    pub(super) async fn stop(&self) -> Result<(), Refusal> {
        let found = self.find(&mut self.lock());
        let Some((id, stat)) = found else { return Ok(()) };
        signal(id, stat, Signal::SIGTERM);
        if !self.over(id, self.stop_timeout).await {
            tracing::warn!(component = %self.component, pid = id.pid, timeout = ?self.stop_timeout, "process did not stop in time; killing it");
        }
        // Also when it ended by itself: a child that stays behind may still have the database open.
        signal(id, stat, Signal::SIGKILL);
        if !self.over(id, KILL_WAIT).await {
            return Err(STOP.with(format_args!("{}: process {} still runs", self.component, id.pid), "no such process"));
        }
        Ok(())
    }

    /// Waits until the process is gone; says whether it is.
    async fn over(&self, id: Id, limit: Duration) -> bool {
        let waiting = async {
            loop {
                // Our own child stays a zombie until it is waited for.
                self.lock().reap();
                if id.alive().is_none() {
                    return;
                }
                sleep(POLL).await;
            }
        };
        timeout(limit, waiting).await.is_ok()
    }

    pub(super) fn look(&self) -> ProcessState {
        self.trim_log();
        let mut inner = self.lock();
        match self.find(&mut inner) {
            Some((id, _)) => ProcessState::Running(Process { pid: id.pid, restarts: 0 }),
            None => {
                // It may have ended between the two questions: whether it has an exit status, and whether it is there.
                inner.reap();
                ProcessState::Dead(evidence::short(&self.ending(&inner), &self.log_tail()))
            }
        }
    }

    pub(super) fn evidence(&self) -> String {
        let mut inner = self.lock();
        let status = match self.find(&mut inner) {
            Some((id, _)) => format!("process {} runs", id.pid),
            None => self.ending(&inner),
        };
        evidence::long(&format!("{}: {status}", self.component), &self.log_tail())
    }

    /// Whether it ended and the pause since the last start is over.
    pub(super) fn is_due(&self) -> bool {
        let now = clock::now().moment;
        let runs = matches!(self.look(), ProcessState::Running(_));
        let mut inner = self.lock();
        let since = inner.started.as_ref().and_then(|started| now.since(started));
        if runs && since.is_none_or(|secs| secs >= STEADY) {
            inner.deaths = 0;
        }
        !runs && since.is_none_or(|secs| secs >= pause(inner.deaths))
    }

    /// Starts it if it is due.
    pub(super) fn ensure_running(&self) -> Result<bool, Refusal> {
        if !self.is_due() {
            return Ok(false);
        }
        let mut inner = self.lock();
        inner.deaths = inner.deaths.saturating_add(1);
        inner.started = Some(clock::now().moment);
        drop(inner);
        self.start().map(|()| true)
    }

    /// Whether it was started in another boot.
    pub(super) fn went_down(&self) -> bool {
        self.read().is_some_and(|record| record.boot != clock::now().moment.boot)
    }

    fn read(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.dir.join(layout::PROCESS)).ok()?).ok()
    }

    /// The process, if it runs.
    fn find(&self, inner: &mut Inner) -> Option<(Id, Stat)> {
        inner.reap();
        let record = self.read()?;
        if record.boot != clock::now().moment.boot {
            return None;
        }
        match record.process {
            Some(id) => Some((id, id.alive()?)),
            None => {
                let (pid, stat) = process::marked(&format!("{MARK}={}", record.mark))?;
                let id = Id { pid, started: stat.started };
                if i32::try_from(pid) == Ok(stat.group) {
                    return Some((id, stat));
                }
                // It leads a group; a process that only inherited its mark remains of one that ended, and is not the started one.
                if let Err(error) = killpg(Pid::from_raw(stat.group), Signal::SIGKILL) {
                    tracing::warn!(component = %self.component, pid, %error, "child process not killed");
                }
                None
            }
        }
    }

    fn ending(&self, inner: &Inner) -> String {
        match &inner.ended {
            Some(ended) => ended.clone(),
            None if self.dir.join(layout::PROCESS).exists() => {
                "exit status unknown: the agent was restarted meanwhile".to_owned()
            }
            None => "never started".to_owned(),
        }
    }

    fn command_line(&self) -> io::Result<Command> {
        // A link that points nowhere shows when the program is not found.
        let slot = fs::canonicalize(&self.current).unwrap_or_else(|_| self.current.clone());
        let fill =
            |word: &String| word.replace("{current}", &self.current.to_string_lossy()).replace("{slot}", &slot.to_string_lossy());
        let mut words = self.command.iter().map(fill);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).envs(&self.env).current_dir("/");
        let file = self.new_log()?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        Ok(command)
    }

    /// One log per life: what is in it is about this process. On a full disk it takes the place of the one before, and is none at all
    /// where there is no room for that either: better a process without a log than a log of no process.
    fn new_log(&self) -> io::Result<File> {
        let log = self.log();
        let before = log.with_extension("log.1");
        match fs::rename(&log, &before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Appending, so that the log can be emptied while the process writes to it.
        let open = || OpenOptions::new().create(true).append(true).mode(0o640).open(&log);
        match open() {
            Err(error) if durable::is_full(&error) => {
                tracing::warn!(component = %self.component, log = %log.display(), "disk full; reusing the old log file of the component");
                let reused = fs::rename(&before, &log).and_then(|()| open()).and_then(|file| file.set_len(0).map(|()| file));
                reused.or_else(|_| OpenOptions::new().append(true).open("/dev/null"))
            }
            opened => opened,
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.join(layout::OUTPUT)
    }

    fn log_tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(evidence::LOG_TAIL)))?;
            let mut tail = Vec::new();
            file.take(evidence::LOG_TAIL).read_to_end(&mut tail)?;
            Ok(tail)
        };
        read().map(|tail| String::from_utf8_lossy(&tail).into_owned()).unwrap_or_default()
    }

    fn trim_log(&self) {
        let log = self.log();
        if fs::metadata(&log).is_ok_and(|found| found.len() > LOG_LIMIT) {
            let emptied = fs::copy(&log, log.with_extension("log.1"))
                .and_then(|_| OpenOptions::new().write(true).truncate(true).open(&log));
            if let Err(error) = emptied {
                tracing::warn!(component = %self.component, %error, "log file of the component not rotated");
            }
        }
    }

    /// In place and always as long: once it is there it takes no more room. Whoever is killed here has written all of it or nothing.
    fn write(&self, record: &Record) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(record)?;
        bytes.resize(bytes.len().max(RECORD_LENGTH), b' ');
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.dir.join(layout::PROCESS))?;
        file.write_all_at(&bytes, 0)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes our child's exit status, if it ended.
    fn reap(&mut self) {
        let Some(child) = &mut self.child else { return };
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                self.ended = Some(ending(status));
                self.child = None;
            }
            Err(error) => {
                self.ended = Some(format!("exit status unknown: {error}"));
                self.child = None;
            }
        }
    }
}

/// To its group when it leads one, as it does when we started it; a group that is empty already is no failure.
fn signal(id: Id, stat: Stat, signal: Signal) {
    let Ok(pid) = i32::try_from(id.pid) else { return };
    let sent = if stat.group == pid {
        killpg(Pid::from_raw(pid), signal)
    } else if id.alive().is_some() {
        kill(Pid::from_raw(pid), signal)
    } else {
        Ok(())
    };
    if let Err(error) = sent
        && error != Errno::ESRCH
    {
        tracing::warn!(pid, %signal, %error, "failed to send signal");
    }
}

/// Seconds between two starts after this many deaths in a row: 1, 2, 4, … up to [`PAUSE_LIMIT`].
fn pause(deaths: u32) -> u64 {
    doubled(1, deaths.saturating_sub(1), PAUSE_LIMIT)
}

#[cfg(test)]
mod tests;
