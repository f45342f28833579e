//! Runs the demo in a child process, and cleans up however that ends: success, panic or signal.
//!
//! Everything happens in one folder: all files, and the copy of this program that everybody runs. So whatever is to be ended afterwards
//! is found by its executable, even when nobody is left who knows its process id.

use anyhow::{Context as _, Result};
use slipway_sim::device::processes_below;
use slipway_testkit::wait;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Killing and burying a dozen processes takes no time; this is for machines that are very busy.
const SWEEP: Duration = Duration::from_secs(20);

/// How the story ended.
enum End {
    ReportDraft(ExitStatus),
    Interrupted(SignalKind),
}

/// Plays the story and cleans up after it.
pub(crate) fn run() -> ExitCode {
    match keep() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("slipway-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keep() -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before there is anything to be left behind.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let home = tempfile::Builder::new().prefix("slipway-sim-").tempdir().context("no folder to play in")?;
    // As the kernel will name it when it is asked who runs.
    let path = home.path().canonicalize()?;
    let end = runtime.block_on(play(&path, signals));
    // Before the folder goes, and also when the story could not even begin.
    let swept = sweep(&path);
    let removed = home.close().with_context(|| format!("cannot remove {}", path.display()));
    let code = match end? {
        End::ReportDraft(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or_else(|| {
            eprintln!("slipway-sim: the story broke off: {status}");
            1
        }),
        End::Interrupted(kind) => {
            eprintln!("\nslipway-sim: interrupted; everything that ran has been ended, all files are removed");
            u8::try_from(kind.as_raw_value()).unwrap_or(0).saturating_add(128)
        }
    };
    swept.and(removed)?;
    Ok(code)
}

async fn play(home: &Path, mut signals: Signals) -> Result<End> {
    let program = home.join("slipway-sim");
    std::fs::copy("/proc/self/exe", &program).with_context(|| format!("cannot copy this program to {}", home.display()))?;
    let mut demo = tokio::process::Command::new(&program)
        .arg("story")
        .env("TMPDIR", home)
        .spawn()
        .with_context(|| format!("cannot run programs in {}; set TMPDIR to a folder where they may run", home.display()))?;
    let end = tokio::select! {
        status = demo.wait() => return Ok(End::ReportDraft(status?)),
        kind = signals.next() => End::Interrupted(kind),
    };
    // First the one who could start more.
    demo.kill().await.context("cannot end the story")?;
    Ok(end)
}

/// The signals that ask to end. They are kept from when this is made.
struct Signals([(SignalKind, Signal); 4]);

impl Signals {
    fn listen() -> Result<Self> {
        let one = |kind| -> Result<_> { Ok((kind, signal(kind)?)) };
        let (interrupt, terminate) = (one(SignalKind::interrupt())?, one(SignalKind::terminate())?);
        Ok(Self([interrupt, terminate, one(SignalKind::hangup())?, one(SignalKind::quit())?]))
    }

    async fn next(&mut self) -> SignalKind {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            _ = a.1.recv() => a.0,
            _ = b.1.recv() => b.0,
            _ = c.1.recv() => c.0,
            _ = d.1.recv() => d.0,
        }
    }
}

/// Ends all processes whose program is below `home`, until there are none: an agent may start one more while it is being ended.
fn sweep(home: &Path) -> Result<()> {
    wait::try_until("everything that the demo started is gone", SWEEP, || {
        let left = processes_below(home);
        for pid in &left {
            // It may be gone already.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
        }
        left.is_empty()
    })
}
