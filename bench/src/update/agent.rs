//! One update by a real agent process, measured from outside.

use crate::peers;
use crate::releases::{BEFORE, Release, Releases};
use anyhow::{Context as _, Result, bail, ensure};
use slipway_agent::control::{Request, Response};
use slipway_bench::process::{number, read};
use slipway_protocol::Event;
use slipway_sim::factory::edgecore_name;
use slipway_sim::{AgentProgram, Device, DeviceOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an update may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Nothing runs for so long before the agent's memory is taken as idle.
const QUIET: Duration = Duration::from_millis(500);

/// Where the release comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Http,
    Bundle,
}

impl Source {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Bundle => "bundle",
        }
    }
}

/// What an update took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Seconds from the command until the release is durable in its slot.
    pub(crate) wall: f64,
    /// Processor seconds of the agent from the command until the release is committed and everything about it was verified again.
    pub(crate) cpu: f64,
    /// Bytes that the agent had written to the disk.
    pub(crate) written: f64,
    /// The highest resident memory over that of the idle agent, which has done one update before, in MiB.
    pub(crate) peak_over_idle: f64,
}

/// A new device takes a small release first, then the one that is measured.
pub(crate) fn update(program: &Path, releases: &Releases, release: &Release, source: Source) -> Result<Cost> {
    let http = source == Source::Http;
    let component = r#"
[[component]]
name = "edgecore"
channel = "stable"

[component.run]
command = ["{current}/bin/edgecore", "1000000"]
stop_timeout = "2s"

[component.health]
soak = "1s"
deadline = "120s"
interval = "250ms"
"#;
    let options = DeviceOptions {
        repository: http.then(|| releases.url()),
        refresh: Duration::from_secs(3600),
        component: Some(component.to_owned()),
        ..DeviceOptions::named("bench")
    };
    let program = AgentProgram { exe: program.to_owned(), first: Vec::new() };
    if http {
        releases.factory.point(BEFORE)?;
    }
    let mut device = Device::new(&program, &releases.factory.root()?, options)?;
    device.start()?;
    device.wait("the agent answers", PATIENCE, Device::answers)?;
    let order = |release: &Release| match source {
        Source::Http => Request::Check { component: edgecore_name() },
        Source::Bundle => Request::Install { component: edgecore_name(), path: release.bundle.clone() },
    };
    follow(&device, &order(&releases.before))?;
    device.wait_committed(BEFORE, PATIENCE)?;
    if http {
        releases.factory.point(release.version)?;
    }
    let pid = device.pid().context("the agent runs")?;
    std::thread::sleep(QUIET);
    let field = |file: &str, word: &str| -> Result<f64> { Ok(number(&read(pid, file)?, word)? as f64) };
    // Forgets the peak so far: proc_pid_clear_refs(5).
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    let (cpu, written, idle) = (cpu(&read(pid, "stat")?)?, field("io", "write_bytes:")?, field("status", "VmRSS:")?);
    let wall = follow(&device, &order(release)).with_context(|| device.log())?;
    device.wait_committed(release.version, PATIENCE)?;
    std::thread::sleep(QUIET);
    Ok(Cost {
        wall,
        cpu: self::cpu(&read(pid, "stat")?)? - cpu,
        written: field("io", "write_bytes:")? - written,
        peak_over_idle: (field("status", "VmHWM:")? - idle) / 1024.0,
    })
}

/// Gives the order and waits until the update is over; says after how many seconds the release was staged.
fn follow(device: &Device, order: &Request) -> Result<f64> {
    let mut stream = UnixStream::connect(device.path("agent.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let began = peers::now();
    stream.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes())?;
    let mut staged = None;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Response::Report(report) if report.event == Event::Staged => staged = Some(began.elapsed().as_secs_f64()),
            Response::Report(report) => ensure!(report.refusal.is_none(), "refused: {:?}", report.refusal),
            Response::Done(_) => break,
            other => bail!("unexpected answer {other:?}"),
        }
    }
    staged.context("nothing was staged")
}

/// User and system time of all threads in seconds; the kernel counts hundredths.
fn cpu(stat: &str) -> Result<f64> {
    let fields: Vec<&str> = stat.rsplit_once(") ").context("/proc/PID/stat")?.1.split(' ').collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("/proc/PID/stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
