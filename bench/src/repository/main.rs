//! `bench/repository`: what a repository with many releases costs a device for each update, beside the artifact, and what it costs the
//! operator. How to read it: `bench/README.md`.

use anyhow::{Context as _, Result, ensure};
use lexopt::prelude::{Long, Value, ValueExt as _};
use slipway_bench::exit_code;
use slipway_bench::process::{number, read};
use slipway_operator::{ChannelChange, Repo};
use slipway_protocol::{ChannelName, Manifest, Sha256};
use slipway_sim::factory::{edgecore_name, now, stable};
use slipway_sim::{AgentProgram, Device, DeviceOptions, Factory};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::programs;
use slipway_testkit::server::Request;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What a device may fetch for an update beside the artifact, in bytes: the Sigstore bundle is half of it, the rest is constant.
const MOST_BYTES: u64 = 20_000;
/// The first release, at which one channel stays.
const FIRST: &str = "v1.22.0";
/// What the other channels name, and what comes next.
const NEWEST: &str = "v1.23.0";
const NEXT: &str = "v1.23.1";
/// Long enough for a loaded machine; every wait ends as soon as its condition holds.
const LONG: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    exit_code("bench/repository", options().and_then(bench))
}

/// How many releases.
fn options() -> Result<u32> {
    let mut parser = lexopt::Parser::from_env();
    let mut releases = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("smoke") => releases = Some(100),
            Value(value) => releases = Some(value.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let releases = releases.unwrap_or(1000);
    ensure!(releases >= 2, "two releases are the least: the first and the newest");
    Ok(releases)
}

fn bench(releases: u32) -> Result<bool> {
    let factory = Factory::new(&programs::edgecore_standin()?)?;
    factory.server.compress();
    factory.release(&Dials::healthy(FIRST))?;
    let filling = timed(|| fill(&factory, releases.saturating_sub(2)))?;
    eprintln!("{releases} releases signed in {:.1} s", filling.as_secs_f64());
    factory.release(&Dials::healthy(NEWEST))?;
    for (channel, release) in [(stable(), NEWEST), (named("canary")?, NEWEST), (named("pinned")?, FIRST)] {
        point(&factory, &channel, release)?;
    }

    let mut device = device(&factory, "follows", "stable")?;
    let cold = update(&factory, &mut device, NEWEST)?;
    for request in factory.server.requests().iter().filter(|request| is_counted(request)) {
        eprintln!("{:>8}  {}", request.bytes_sent, request.path);
    }
    let mut pinned = self::device(&factory, "pinned", "pinned")?;
    let cold_pinned = update(&factory, &mut pinned, FIRST)?;

    let archive = factory.repo_dir().join("small");
    std::fs::write(&archive, "a program")?;
    let signing = timed(|| release(&factory, &archive))?;

    factory.ship(&Dials::healthy(NEXT))?;
    let next = update(&factory, &mut device, NEXT)?;
    let idle_pinned = {
        let before = sent(&factory);
        let output = pinned.run("check", &[])?;
        ensure!(output.status.success(), "check of the pinned device: {}", String::from_utf8_lossy(&output.stderr));
        since(&factory, before).sent
    };
    let (rss, peak) = memory(&device)?;
    let metadata = folder(&factory.repo_dir().join("public/metadata"))?;

    println!("releases: {releases}");
    println!("slipway release s: {:.2}", signing.as_secs_f64());
    println!("public/metadata bytes: {metadata}");
    println!("agent rss MiB: {rss:.1} (peak {peak:.1})");
    println!("pinned device, after others' releases, bytes: {idle_pinned}");
    let mut good = true;
    for (what, bytes) in [("cold device", cold), ("cold device, pinned to the first", cold_pinned), ("next update", next)] {
        println!("{what}, bytes beside the artifact: {} ({} without gzip)", bytes.sent, bytes.stored);
        if !(1..=MOST_BYTES).contains(&bytes.sent) {
            eprintln!("bench/repository: {what}: {} bytes; it must be at most {MOST_BYTES}", bytes.sent);
            good = false;
        }
    }
    Ok(good)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

/// Further releases between the first and the newest, with manifests like the first one's. Nobody installs them.
fn fill(factory: &Factory, count: u32) -> Result<()> {
    let mut repo = factory.repo()?;
    let first = repo.manifest(&edgecore_name(), &FIRST.parse().map_err(anyhow::Error::msg)?)?.context("the first release")?;
    let text = serde_json::to_string(&first)?;
    let mut manifests = Vec::new();
    for n in 1..=count {
        let version = format!("v1.22.{n}");
        let mut manifest = Manifest::parse(text.replace(FIRST, &version).as_bytes()).map_err(anyhow::Error::msg)?;
        for artifact in &mut manifest.artifacts {
            artifact.sha256 = Sha256::of(version.as_bytes());
            artifact.provenance.sha256 = Sha256::of(artifact.sha256.0.as_slice());
        }
        manifests.push(manifest);
    }
    if !manifests.is_empty() {
        repo.add_manifests(&manifests, now())?;
    }
    Ok(())
}

fn named(name: &str) -> Result<ChannelName> {
    name.parse().map_err(anyhow::Error::msg)
}

fn point(factory: &Factory, channel: &ChannelName, release: &str) -> Result<()> {
    let release = Some(release.parse().map_err(anyhow::Error::msg)?);
    let mut repo: Repo = factory.repo()?;
    repo.channel(&edgecore_name(), channel, &ChannelChange { release, ..ChannelChange::default() }, now())?;
    Ok(())
}

/// A device that looks when it is asked to, and not by itself meanwhile.
fn device(factory: &Factory, name: &str, channel: &str) -> Result<Device> {
    let program = AgentProgram { exe: programs::program("slipway-agent", "slipway-agent")?, first: Vec::new() };
    let mut options = DeviceOptions::named(name);
    options.repository = Some(format!("{}/", factory.server.url()));
    options.refresh = Duration::from_secs(24 * 60 * 60);
    let device = Device::new(&program, &factory.root()?, options)?;
    let config = std::fs::read_to_string(device.config())?;
    std::fs::write(device.config(), config.replace("channel = \"stable\"", &format!("channel = {channel:?}")))?;
    Ok(device)
}

/// Lets a device update itself, and says what it fetched for that beside the artifact.
fn update(factory: &Factory, device: &mut Device, to: &str) -> Result<Bytes> {
    let before = sent(factory);
    if !device.answers() {
        device.start()?;
        device.wait("answers", LONG, Device::answers)?;
    }
    device.run("check", &[])?;
    device.wait_committed(to, LONG)?;
    Ok(since(factory, before))
}

/// Bytes that a device fetched beside the artifact.
#[derive(Clone, Copy)]
struct Bytes {
    /// Of bodies on the way.
    sent: u64,
    /// Of the same files as they are stored: what a server that does not compress would have sent.
    stored: u64,
}

/// What the server has sent so far, but for artifacts.
fn sent(factory: &Factory) -> Bytes {
    let public = factory.repo_dir().join("public");
    let stored = |request: &Request| {
        let file = public.join(request.path.trim_start_matches('/'));
        std::fs::metadata(file).map_or(0, |file| if request.status == 200 { file.len() } else { 0 })
    };
    let requests: Vec<Request> = factory.server.requests().into_iter().filter(is_counted).collect();
    Bytes { sent: requests.iter().map(|request| request.bytes_sent).sum(), stored: requests.iter().map(stored).sum() }
}

fn since(factory: &Factory, before: Bytes) -> Bytes {
    let now = sent(factory);
    Bytes { sent: now.sent.saturating_sub(before.sent), stored: now.stored.saturating_sub(before.stored) }
}

fn is_counted(request: &Request) -> bool {
    !request.path.ends_with(".tar.gz")
}

/// One `slipway release` as a person runs it: the program starts, reads the repository, signs, publishes and checks.
fn release(factory: &Factory, file: &Path) -> Result<()> {
    let slipway = programs::program("slipway", "slipway")?;
    let status = Command::new(slipway)
        .arg("release")
        .arg(factory.repo_dir())
        .args(["--version", "v1.22.999999", "--unsafe-skip-verify", "--artifact"])
        .arg(format!("any={}", file.display()))
        .arg("--provenance")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "slipway release ended with {status}");
    Ok(())
}

/// Resident memory of the running agent in MiB: now, and at most.
fn memory(device: &Device) -> Result<(f64, f64)> {
    let pid = device.pid().context("the agent runs")?;
    let status = read(pid, "status")?;
    let mib = |word: &str| -> Result<f64> { Ok(number(&status, word)? as f64 / 1024.0) };
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}

/// Bytes of all files in a folder.
fn folder(path: &Path) -> Result<u64> {
    std::fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}
