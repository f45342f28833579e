//! The steps of the demo.
//!
//! Each acts on the fleet, waits for what the devices report through the broker, and then checks facts:
//! records, links, configuration files, health, and what the release server was really asked for.

use crate::fleet::{Fleet, Wanted, component, fact};
use crate::screen::{Screen, Style, columns, megabytes, seconds};
use anyhow::{Context as _, Result, ensure};
use slipway_protocol::{Event, Report};
use slipway_sim::Device;
use slipway_testkit::edgecore::{Behaviour, Dials};
use slipway_testkit::server::Fault;
use slipway_testkit::sigstore::Attestation;
use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const GOOD: &str = "v1.22.0";
const FORKED: &str = "v1.23.0";
const TAMPERED: &str = "v1.24.0";
const DYING: &str = "v1.25.0";
const LARGE: &str = "v1.26.0";
const FORK: &str = "https://github.com/kubeedge-nightly/kubeedge";
/// When the dying release dies: after it has rewritten its configuration and said that it is well, before the soak is over.
const LIFE: Duration = Duration::from_millis(1800);
/// Padding of the large release: several of the agent's checkpoints, which are 4 MiB apart.
const PADDING: u64 = 14 << 20;
/// How long its download takes at the throttled speed, if nobody is killed.
const DOWNLOAD_SECS: u64 = 6;

/// Plays a chapter; returns what it showed, for the table at the end.
type Chapter = fn(&mut Fleet) -> Result<String>;

const CHAPTERS: [(&str, Chapter); 5] = [
    ("a good release is taken", good),
    ("wrong provenance is refused", forked),
    ("a tampered download is refused", tampered),
    ("a release that dies is rolled back", dying),
    ("a killed agent resumes its download", killed),
];

/// Tells the story; success only when all of it really happened.
pub(crate) fn run() -> ExitCode {
    let began = Instant::now();
    let mut screen = Screen::new();
    screen.line("Slipway, on this machine: real processes, real signals, real files; loopback only.");
    screen.waiting("     starting a broker, a release server and three agents");
    let mut fleet = match Fleet::start(screen) {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("slipway-sim: the fleet did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let failure = introduce(&mut fleet).context("the beginning").err();
    let mut shown = Vec::new();
    let failure = failure.or_else(|| {
        CHAPTERS.iter().find_map(|(title, chapter)| {
            let start = Instant::now();
            let outcome = chapter(&mut fleet).with_context(|| format!("chapter {}, {title}", shown.len() + 1));
            shown.push((outcome.as_ref().ok().cloned(), start.elapsed()));
            outcome.err()
        })
    });
    table(&mut fleet.screen, &shown);
    match failure {
        None => {
            let end = format!("All of it happened, in {}.", seconds(began.elapsed()));
            fleet.screen.line(&format!("\n{}", fleet.screen.paint(Style::Good, &end)));
            ExitCode::SUCCESS
        }
        Some(error) => {
            // An interrupt ends agents a moment before it ends us: then this failure is none, and nobody hears of it.
            std::thread::sleep(Duration::from_millis(200));
            eprintln!("\nslipway-sim: this did not happen as it must: {error:#}\n{}", fleet.logs());
            ExitCode::FAILURE
        }
    }
}

fn table(screen: &mut Screen, shown: &[(Option<String>, Duration)]) {
    screen.heading("Summary", &[]);
    let row = |(number, (title, _)): (usize, &(&str, Chapter))| {
        let (outcome, time) = match shown.get(number) {
            Some((outcome, time)) => (outcome.clone().unwrap_or_else(|| "did not happen".to_owned()), seconds(*time)),
            None => ("not played".to_owned(), String::new()),
        };
        [(number + 1).to_string(), (*title).to_owned(), outcome, time]
    };
    let rows: Vec<_> = CHAPTERS.iter().enumerate().map(row).collect();
    for (number, line) in columns(&rows).into_iter().enumerate() {
        let tick = match shown.get(number) {
            Some((outcome, _)) => screen.tick(outcome.is_some()),
            None => " ".to_owned(),
        };
        screen.line(&format!(" {tick} {line}"));
    }
}

/// Three agents reach the broker.
fn introduce(fleet: &mut Fleet) -> Result<()> {
    let began = Instant::now();
    fleet.until("all agents are connected to the broker", |fleet| {
        Ok(fleet.devices.iter().all(|device| device.status().is_ok_and(|status| status.broker == Some(true))))
    })?;
    for device in &fleet.devices {
        let pid = device.pid().map_or_else(String::new, |pid| pid.to_string());
        let text = format!("{}  agent is process {pid}, connected to the broker", device.name());
        fleet.screen.line(&format!("   {} {text}", fleet.screen.tick(true)));
    }
    fleet.screen.line(&format!("   {}", fleet.screen.paint(Style::Dim, &format!("ready after {}", seconds(began.elapsed())))));
    Ok(())
}

/// 1. Announced, proven, installed, watched, committed.
fn good(fleet: &mut Fleet) -> Result<String> {
    fleet.screen.heading(
        &format!("1  A good release: edgecore {GOOD}"),
        &[
            "The operator signs a release that KubeEdge built, points the channel at it and rings the doorbell.",
            "Each device checks who released it and who built it, and commits once it has run well for a while.",
        ],
    );
    let since = fleet.now();
    let release = fleet.factory.ship(&Dials::healthy(GOOD))?;
    fleet.notify(GOOD)?;
    fleet.all_report(since, &Wanted { event: Event::Committed, version: GOOD, code: None }, |_| Ok(()))?;
    fleet.runs(GOOD)?;
    fact("downloads of the release", fleet.asked_for(&fleet.factory.artifact_path(&release)), fleet.devices.len())?;
    Ok(format!("{GOOD} committed by all, healthy"))
}

/// 2. Built from another source; refused before a byte of it is fetched.
fn forked(fleet: &mut Fleet) -> Result<String> {
    fleet.screen.heading(
        &format!("2  Wrong provenance: {FORKED}"),
        &[
            "Signed by the operator's own keys, and by the right builder, but built from somebody's fork of the source.",
            "Devices answer one notice in five seconds, so this may take a moment.",
        ],
    );
    let since = fleet.now();
    let attestation = Attestation { source: FORK.to_owned(), ..Attestation::kubeedge(FORKED) };
    // The operator's tool itself would refuse to sign this; whoever has stolen the keys has another tool.
    let release = fleet.factory.release_attested(&Dials::healthy(FORKED), attestation, true)?;
    fleet.factory.point(FORKED)?;
    fleet.notify(FORKED)?;
    let code = "SLW-V-POLICY-SOURCE";
    let wanted = Wanted { event: Event::Refused, version: FORKED, code: Some(code) };
    let reports = fleet.all_report(since, &wanted, |_| Ok(()))?;
    reasons(&mut fleet.screen, &reports);
    fleet.refused(&wanted)?;
    fact("requests for the artifact of the wrong build", fleet.asked_for(&fleet.factory.artifact_path(&release)), 0)?;
    fleet.runs(GOOD)?;
    still(&mut fleet.screen, "not one byte of it was fetched");
    Ok(format!("{code}, nothing fetched"))
}

/// 3. The server sends one wrong bit.
fn tampered(fleet: &mut Fleet) -> Result<String> {
    fleet.screen.heading(
        &format!("3  A tampered download: {TAMPERED}"),
        &["Everything about this release is right, but one bit of it is changed on its way to the devices."],
    );
    let since = fleet.now();
    let release = fleet.factory.release(&Dials::healthy(TAMPERED))?;
    let artifact = fleet.factory.artifact_path(&release);
    let middle = release.archives.first().context("an archive")?.size / 2;
    // Never healed: a device that looks by its own timer must not find the release good after all and spoil the next chapter.
    fleet.factory.server.fault(&artifact, Fault::FlipByte(middle));
    fleet.factory.point(TAMPERED)?;
    fleet.notify(TAMPERED)?;
    let code = "SLW-A-DIGEST";
    let wanted = Wanted { event: Event::Refused, version: TAMPERED, code: Some(code) };
    let reports = fleet.all_report(since, &wanted, |_| Ok(()))?;
    reasons(&mut fleet.screen, &reports);
    fleet.refused(&wanted)?;
    let sent = fleet.factory.server.bytes_sent(&artifact);
    ensure!(sent > 0, "the tampered artifact: expected it to be downloaded, found no byte of it sent");
    for device in &fleet.devices {
        fact(&format!("{}: slot of the tampered release", device.name()), slot(device, TAMPERED), None)?;
    }
    fleet.runs(GOOD)?;
    still(&mut fleet.screen, &format!("{} were sent, none of them was unpacked", megabytes(sent)));
    Ok(format!("{code}, nothing unpacked"))
}

/// 4. Passes every check, rewrites its configuration, dies.
fn dying(fleet: &mut Fleet) -> Result<String> {
    fleet.screen.heading(
        &format!("4  A release that dies: {DYING}"),
        &[
            "It passes every check, starts, answers its health check, rewrites edgecore.yaml, and dies.",
            "Program and configuration go back together; then the same release is offered once more.",
        ],
    );
    let before: Vec<String> = fleet.devices.iter().map(Device::component_config).collect();
    let since = fleet.now();
    let life = u64::try_from(LIFE.as_millis())?;
    let dials = Dials { rewrites_config: true, ..Dials::new(DYING, Behaviour::DiesAfter { ms: life, code: 2 }) };
    let release = fleet.factory.ship(&dials)?;
    let artifact = fleet.factory.artifact_path(&release);
    fleet.notify(DYING)?;
    // It writes in place, and what comes back comes under the same name: whoever has the file open sees what was written, however late.
    let open = |device: &Device| File::open(device.path("edgecore.yaml"));
    let written = fleet.devices.iter().map(open).collect::<Result<Vec<File>, _>>()?;
    let wanted = Wanted { event: Event::RolledBack, version: DYING, code: Some("SLW-A-DIED") };
    let reports = fleet.all_report(since, &wanted, |_| Ok(()))?;
    let meanwhile = written.into_iter().map(std::io::read_to_string).collect::<Result<Vec<String>, _>>()?;
    reasons(&mut fleet.screen, &reports);
    for ((device, before), meanwhile) in fleet.devices.iter().zip(&before).zip(&meanwhile) {
        let name = device.name();
        let signed = meanwhile.contains(&format!("writtenBy: {DYING}"));
        fact(&format!("{name}: {DYING} rewrote edgecore.yaml"), signed, true)?;
        fact(&format!("{name}: our own key while {DYING} ran"), meanwhile.contains("mine: kept"), false)?;
        fact(&format!("{name}: edgecore.yaml after the rollback"), &device.component_config(), before)?;
    }
    let first = fleet.devices.first().context("a device")?;
    let after = first.component_config();
    let rows = [("before", before.first()), ("meanwhile", meanwhile.first()), ("afterwards", Some(&after))];
    fleet.screen.line(&format!("     edgecore.yaml of {}", first.name()));
    for (when, config) in rows {
        let lines: Vec<&str> = config.map(|config| config.lines().collect()).unwrap_or_default();
        fleet.screen.line(&format!("       {when:<10}  {}", lines.join(" ⏎ ")));
    }
    fleet.runs(GOOD)?;
    // Once more. Its own timer may have made a device look before the bell did; both answers are the same.
    let asked = fleet.asked_for(&artifact);
    let again = fleet.now();
    fleet.notify(DYING)?;
    let code = "SLW-A-CONDEMNED";
    let wanted = Wanted { event: Event::Refused, version: DYING, code: Some(code) };
    fleet.until("the same release, offered again, is answered by all", |fleet| {
        let devices: Vec<&str> = fleet.devices.iter().map(Device::name).collect();
        for name in devices {
            let looked = fleet.reported(again, name)?.iter().any(|report| report.event == Event::Checking);
            let said = fleet.reported(since, name)?.iter().any(|report| wanted.is(report));
            if !(looked && said) {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    fleet.runs(GOOD)?;
    fleet.refused(&wanted)?;
    fact("downloads of the condemned release", fleet.asked_for(&artifact), asked)?;
    for device in &fleet.devices {
        let blocked: Vec<String> = component(device)?.blocked.iter().map(|blocked| blocked.version.to_string()).collect();
        fact(&format!("{}: condemned", device.name()), blocked, vec![DYING.to_owned()])?;
        let line = format!("   {} {}  offered again: refused, {code}, not fetched", fleet.screen.tick(true), device.name());
        fleet.screen.line(&line);
    }
    still(&mut fleet.screen, "edgecore.yaml is as it was, byte for byte");
    Ok(format!("SLW-A-DIED, configuration back; then {code}"))
}

/// 5. SIGKILL in the middle of a download.
fn killed(fleet: &mut Fleet) -> Result<String> {
    fleet.screen.heading(
        &format!("5  Killed in mid-download: {LARGE}"),
        &["A larger release from a slow server. The agent of edge-2 is killed with SIGKILL when it has about two thirds of it."],
    );
    let since = fleet.now();
    let release = fleet.factory.release(&Dials { pad: PADDING, ..Dials::healthy(LARGE) })?;
    let artifact = fleet.factory.artifact_path(&release);
    let size = release.archives.first().context("an archive")?.size;
    fleet.factory.server.fault(&artifact, Fault::Throttle(size / DOWNLOAD_SECS));
    // Nobody gets further than this before edge-2 is caught.
    fleet.factory.server.fault(&artifact, Fault::HoldAfter(size / 4 * 3));
    fleet.factory.point(LARGE)?;
    fleet.notify(LARGE)?;
    let mut on_disk = None;
    fleet.all_report(since, &Wanted { event: Event::Committed, version: LARGE, code: None }, |fleet| {
        if on_disk.is_none() {
            on_disk = kill_at(fleet, size / 3 * 2)?;
            if on_disk.is_some() {
                // Only requests from here on are fast: the others go on at their speed.
                fleet.factory.server.heal(&artifact);
                victim(fleet)?.start()?;
            }
        }
        Ok(())
    })?;
    let on_disk = on_disk
        .with_context(|| format!("expected edge-2 to be killed in mid-download of {size} bytes, found no moment for it"))?;
    let asked = fleet.factory.server.requests_for(&artifact);
    let ranges: Vec<_> = asked.iter().filter_map(|request| Some((request, request.range.as_ref()?))).collect();
    fact("requests from the start of the file", asked.len() - ranges.len(), fleet.devices.len())?;
    fact("requests that go on in the middle", ranges.len(), 1)?;
    let (rest, range) = ranges.first().context("one range")?;
    let offset =
        range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).and_then(|first| first.parse::<u64>().ok());
    let offset = offset.with_context(|| format!("the resumed request: expected `bytes=N-`, found {range:?}"))?;
    fact("status of the resumed request", rest.status, 206)?;
    ensure!(
        offset > 0 && offset <= on_disk,
        "the resumed request: expected it to begin within the {on_disk} bytes that were there, found {offset}"
    );
    fact("bytes fetched after the kill", rest.bytes_sent, size - offset)?;
    let started = fleet.reported(since, "edge-2")?.iter().any(|report| report.event == Event::Started);
    fact("edge-2 reported that it started again", started, true)?;
    fleet.runs(LARGE)?;
    for (what, bytes) in [
        ("on the disk when it was killed", on_disk),
        ("of that durable, so kept", offset),
        ("fetched afterwards", rest.bytes_sent),
        ("the whole", size),
    ] {
        fleet.screen.line(&format!("     {what:<32} {bytes:>10} bytes"));
    }
    fleet.screen.line(&format!("     the server was asked for         Range: {range}"));
    Ok(format!("{} kept, {} fetched after", megabytes(offset), megabytes(rest.bytes_sent)))
}

fn victim(fleet: &mut Fleet) -> Result<&mut Device> {
    fleet.devices.get_mut(1).context("there are three devices")
}

/// Kills edge-2's agent once so many bytes are on its disk; says how many were there.
fn kill_at(fleet: &mut Fleet, bytes: u64) -> Result<Option<u64>> {
    let device = victim(fleet)?;
    if part_length(device) < bytes {
        return Ok(None);
    }
    let pid = device.pid().context("edge-2: expected a running agent, found none")?;
    device.kill();
    let on_disk = part_length(device);
    fact("edge-2: slot of the release when its agent was killed", slot(device, LARGE), None)?;
    fact("edge-2: edgecore answers while its agent is dead", device.healthy(), true)?;
    let text =
        format!("     edge-2  agent {pid} killed with {} on the disk; its edgecore runs on; started again", megabytes(on_disk));
    fleet.screen.line(&text);
    Ok(Some(on_disk))
}

/// Length of what the device has downloaded and not staged yet.
fn part_length(device: &Device) -> u64 {
    let Ok(entries) = std::fs::read_dir(device.state().join("downloads")) else { return 0 };
    let parts = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "part"));
    parts.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
}

/// The slot of a version, if the device has one.
fn slot(device: &Device, version: &str) -> Option<String> {
    let slots = std::fs::read_dir(device.state().join("slots/edgecore")).ok()?;
    slots
        .flatten()
        .map(|slot| slot.file_name().to_string_lossy().into_owned())
        .find(|name| name.starts_with(&format!("{version}-")))
}

/// Why: once for all devices with the same code.
fn reasons(screen: &mut Screen, reports: &[Report]) {
    let mut shown: Vec<String> = Vec::new();
    for report in reports {
        let Some(refusal) = &report.refusal else { continue };
        let text = refusal.explain();
        if shown.iter().any(|other| other.lines().next() == text.lines().next()) {
            continue;
        }
        for line in text.lines() {
            screen.wrapped("     ", line);
        }
        shown.push(text);
    }
}

fn still(screen: &mut Screen, what: &str) {
    let line = format!("   {} {GOOD} still runs everywhere; {what}", screen.tick(true));
    screen.line(&line);
}
