//! A device whose files are damaged after its second release; it must recover without help.
//!
//! Built on the small setup of [`crash`](crate::crash): the component is a shell script, an update takes two seconds, and a program of
//! which one byte was changed leaves a mark when it runs.

use crate::crash::device::CrashDevice;
use crate::crash::scenario::{OLD, Scenario};
use crate::crash::testbed::{REWRITE, Testbed, copy, script};
use crate::crash::verdict;
use anyhow::{Context as _, Result, bail, ensure};
use slipway_protocol::Report;
use slipway_testkit::wait;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The release that the device runs when its trouble begins.
pub const NEW: &str = "v1.1.0";
/// The release that it must be able to take in the end.
pub const NEXT: &str = "v1.3.0";
/// How long anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A world with one device in it, as it was before its update and after.
#[derive(Debug)]
pub struct Bench {
    /// Releases and their server: channel `commit` has [`NEW`], `below` has [`OLD`], `next` has [`NEXT`].
    pub testbed: Testbed,
    dir: TempDir,
}

impl Bench {
    /// Makes all of it.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut testbed = Testbed::new(dir.path())?;
        testbed.release(NEXT, &script("12", REWRITE), 0)?;
        testbed.offer("below", OLD)?;
        testbed.offer("next", NEXT)?;
        let mut device = testbed.device(&dir.path().join("updated"), Scenario::Commit)?;
        copy(device.dir(), &dir.path().join("older"))?;
        device.start()?;
        wait::try_until("the second release is committed", PATIENCE, || device.finished()).with_context(|| device.log())?;
        verdict::all_agree(&testbed.setting, &mut device)?;
        device.end_component();
        std::fs::remove_file(device.dir().join("agent.log"))?;
        Ok(Self { testbed, dir })
    }

    /// A copy of the device after its update. Neither its agent nor its component runs.
    pub fn updated(&self, name: &str) -> Result<CrashDevice> {
        let dir = self.dir.path().join(name);
        copy(&self.dir.path().join("updated"), &dir)?;
        CrashDevice::at(&dir, Scenario::Commit, &self.testbed.setting)
    }

    /// A copy of the device before its update.
    pub fn before(&self, name: &str, scenario: Scenario) -> Result<CrashDevice> {
        self.testbed.device(&self.dir.path().join(name), scenario)
    }

    /// A file or folder of the agent's state as it was before the update.
    #[must_use]
    pub fn older(&self, name: &str) -> PathBuf {
        self.dir.path().join("older/state").join(name)
    }
}

// ---- what is done to it ---------------------------------------------------------------------------------------------------------------

/// The file in a folder that matters most: the largest.
pub fn largest(dir: &Path) -> Result<PathBuf> {
    let files = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    files.max_by_key(|path| std::fs::metadata(path).map_or(0, |found| found.len())).context("a file")
}

/// Cuts a file to a part of its length.
pub fn truncate(path: &Path, new: impl FnOnce(u64) -> u64) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    Ok(file.set_len(new(length))?)
}

/// Overwrites a part of a file with what `change` makes of it. In place: what runs keeps running from it.
pub fn overwrite(path: &Path, at: u64, length: usize, change: impl Fn(u8) -> u8) -> Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).with_context(|| path.display().to_string())?;
    bytes.iter_mut().for_each(|byte| *byte = change(*byte));
    Ok(file.write_all_at(&bytes, at)?)
}

/// A program of somebody else's, which leaves the same mark.
pub fn plant(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    std::fs::write(path, "#!/bin/sh\n: > \"$2.changed\"\nwhile :; do sleep 1000; done\nexit\n")?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

/// Whether a changed or foreign program ever ran here.
#[must_use]
pub fn marked(device: &CrashDevice) -> bool {
    verdict::marked(device)
}

/// The slot of a version, which must be there.
pub fn slot(device: &CrashDevice, version: &str) -> Result<PathBuf> {
    let home = device.state().join("slots/edgecore");
    let of = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{version}-")));
    std::fs::read_dir(&home)?.flatten().map(|entry| entry.path()).find(of).with_context(|| format!("no slot of {version}"))
}

/// The program of a version's slot.
pub fn program(device: &CrashDevice, version: &str) -> Result<PathBuf> {
    Ok(slot(device, version)?.join("bin/edgecore"))
}

// ---- what it must do ------------------------------------------------------------------------------------------------------------------

/// Starts the agent, waits until it answers, kills it: so often, and none of these lives may end by itself.
pub fn live_and_die(device: &mut CrashDevice, lives: usize) -> Result<()> {
    for life in 1..=lives {
        device.start()?;
        answers(device).with_context(|| format!("life {life}"))?;
        device.kill();
    }
    Ok(())
}

/// Waits until the agent answers; an error if it ends instead.
pub fn answers(device: &mut CrashDevice) -> Result<()> {
    let mut ended = None;
    wait::try_until("the agent answers", PATIENCE, || {
        ended = device.ended();
        ended.is_some() || device.whole_status().is_ok()
    })
    .with_context(|| device.log())?;
    match ended {
        Some(status) => bail!("the agent ended with {status}:\n{}", device.log()),
        None => Ok(()),
    }
}

/// Waits for a condition; an error with the agent's log if it ends instead, or takes too long.
pub fn until(device: &mut CrashDevice, what: &str, mut condition: impl FnMut(&CrashDevice) -> bool) -> Result<()> {
    let mut ended = None;
    let waited = wait::try_until(what, PATIENCE, || {
        ended = device.ended();
        ended.is_some() || condition(device)
    });
    let state = device.status().map_or_else(|error| format!("{error:#}"), |status| format!("{status:?}"));
    waited.with_context(|| {
        let process = std::fs::read_to_string(device.state().join("run/edgecore/process.json")).unwrap_or_default();
        format!("{state}\nruns: {:?}\nprocess: {}\n{}", device.running(), process.trim_end(), device.log())
    })?;
    match ended {
        Some(status) => bail!("{what}: the agent ended with {status}:\n{}", device.log()),
        None => Ok(()),
    }
}

/// Has the agent check now, and follows that to its end; says which codes were heard.
pub fn check(device: &CrashDevice) -> Result<Vec<String>> {
    let mut received = Vec::new();
    let code = |report: Report| report.refusal.map(|refusal| refusal.code.to_string());
    device.follow(|report| received.extend(code(report)))?;
    Ok(received)
}

/// The codes of all reports that the device remembers, newest first: what is in there goes out by the outbox.
pub fn reported(device: &CrashDevice) -> Result<Vec<String>> {
    Ok(device.history()?.into_iter().filter_map(|report| Some(report.refusal?.code.to_string())).collect())
}

/// What was set aside under this name, for whoever wants to know what happened.
#[must_use]
pub fn set_aside(device: &CrashDevice, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(device.state()).into_iter().flatten().flatten().map(|entry| entry.path());
    let prefix = format!("{name}.damaged-");
    entries.filter(|path| path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(&prefix))).collect()
}

/// A signed release below the floor is offered: it is refused for its version, and the floor is what it was.
pub fn refuses_to_go_below(device: &mut CrashDevice, floor: &str) -> Result<()> {
    device.stop()?;
    device.configure("channel = \"commit\"", "channel = \"below\"")?;
    device.start()?;
    answers(device)?;
    let received = check(device)?;
    ensure!(
        received.iter().any(|code| code == "SLW-A-FLOOR"),
        "an older release was answered with {received:?}:\n{}",
        device.log()
    );
    let status = device.status()?;
    let seen = status.floor.as_ref().map(|version| version.as_str());
    ensure!(seen == Some(floor), "the floor is {seen:?}");
    device.stop()?;
    device.configure("channel = \"below\"", "channel = \"commit\"")
}

/// It takes the next release, like any other device.
pub fn takes_the_next(device: &mut CrashDevice) -> Result<()> {
    device.stop()?;
    device.configure("channel = \"commit\"", "channel = \"next\"")?;
    device.start()?;
    answers(device)?;
    check(device)?;
    until(device, "the next release is committed", |device| device.settled(NEXT))
}

// ---- many at once ---------------------------------------------------------------------------------------------------------------------

/// Runs every row, so many at a time, since most of a row is waiting; an error that names every row that failed.
pub fn all<T: Sync>(
    rows: &[T],
    at_once: usize,
    name: impl Fn(&T) -> String + Sync,
    run: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // For a person who looks into one of them.
    let only = std::env::var("SLIPWAY_ROW").ok();
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(rows.len()) {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = name(row);
                    if only.as_ref().is_some_and(|only| *only != name) {
                        continue;
                    }
                    if let Err(error) = run(row) {
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(format!("== {name}: {error:#}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(failed.is_empty(), "{} of {} rows failed\n{}", failed.len(), rows.len(), failed.join("\n"));
    Ok(())
}
