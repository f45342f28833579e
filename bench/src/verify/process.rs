//! What a whole process costs: peak memory and processor time of `slipway-agent verify`.
//!
//! Linux counts into a child's peak what its parent held when it was forked, so the children are started by a small process of their
//! own: this program again, before it has allocated anything worth mentioning.

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The hidden command that [`measure`] runs this program with.
pub(crate) const LAUNCH: &str = "launch";

/// What one run costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The highest peak of resident memory among all runs, in KiB.
    pub(crate) peak_kib: i64,
    /// Mean processor time.
    pub(crate) cpu: Duration,
}

/// Runs `command` so many times. It must succeed each time.
pub(crate) fn measure(command: &[OsString], runs: u32) -> Result<Cost> {
    let me = std::env::current_exe()?;
    let output = Command::new(me).arg(LAUNCH).arg(runs.to_string()).args(command).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "cannot measure {command:?}");
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<i64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [peak_kib, microseconds] = numbers[..] else { anyhow::bail!("unexpected answer {text:?}") };
    Ok(Cost { peak_kib, cpu: Duration::from_micros(microseconds.try_into()?) })
}

/// The hidden command: runs a program and prints its peak in KiB and the mean of its processor time in microseconds.
pub(crate) fn launch(mut args: impl Iterator<Item = OsString>) -> Result<()> {
    let runs: u32 = args.next().and_then(|runs| runs.to_str()?.parse().ok()).context("a number of runs")?;
    let program = args.next().context("a program")?;
    let args: Vec<OsString> = args.collect();
    for _ in 0..runs {
        let status = Command::new(&program).args(&args).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{} ended with {status}", program.to_string_lossy());
    }
    let (own, children) = (getrusage(UsageWho::RUSAGE_SELF)?, getrusage(UsageWho::RUSAGE_CHILDREN)?);
    ensure!(children.max_rss() > own.max_rss(), "the launcher is as large as what it measures");
    let cpu = children.user_time() + children.system_time();
    let microseconds = (cpu.tv_sec() * 1_000_000 + cpu.tv_usec()) / i64::from(runs.max(1));
    println!("{} {microseconds}", children.max_rss());
    Ok(())
}
