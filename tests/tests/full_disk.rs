//! Full and failing disks.
//!
//! Disks that are full at every moment of an update, that have no inode left, or that fail: the agent lives, answers and says why, the
//! component runs, and when there is room again it all goes on by itself.
//!
//! Needs root, for small disks on loop devices; skipped without, except in CI. That the rows notice was seen with an agent that needed room to
//! start a process and an inode to swap the link: a rollback on a full disk left nothing running.

use anyhow::{Result, ensure};
use slipway_protocol::Refusal;
use slipway_testkit::server::Fault;
use slipway_testkit::wait;
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::{OLD, Scenario};
use slipway_tests::crash::testbed::{REWRITE, Testbed, copy, script};
use slipway_tests::crash::verdict;
use slipway_tests::disk::{Disk, Here, Left, own_mounts};
use slipway_tests::faults::{self, PATIENCE};
use std::path::Path;
use std::time::Duration;

/// Of the disk that the agent's state is on: an update and the reserve that it leaves free fit.
const SIZE: u64 = 96 << 20;
/// Of the disk that the component's configuration is on.
const SMALL: u64 = 1 << 20;
/// A release that is a while on its way and in its slot.
const LARGE: &str = "v1.1.1";
/// A release that nobody else asks for.
const ALONE: &str = "v1.1.2";

/// The moment at which the disk is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    Idle,
    Downloading,
    Staging,
    Staged,
    Probation,
    RollingBack,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    when: When,
    left: Left,
    scenario: Scenario,
}

impl Row {
    fn name(&self) -> String {
        format!("{:?}-{:?}-{}", self.when, self.left, self.scenario.name()).to_lowercase()
    }
}

const fn row(when: When, left: Left) -> Row {
    Row { when, left, scenario: Scenario::Commit }
}

const fn dying(when: When, left: Left) -> Row {
    Row { when, left, scenario: Scenario::RollBack }
}

const NONE: Left = Left::Bytes(0);
const A_BLOCK: Left = Left::Bytes(1024);

const ROWS: &[Row] = &[
    row(When::Idle, NONE),
    row(When::Idle, A_BLOCK),
    row(When::Idle, Left::NoInodes),
    row(When::Downloading, NONE),
    row(When::Downloading, Left::NoInodes),
    row(When::Staging, NONE),
    row(When::Staging, A_BLOCK),
    row(When::Staged, NONE),
    row(When::Staged, A_BLOCK),
    row(When::Staged, Left::NoInodes),
    row(When::Probation, NONE),
    row(When::Probation, Left::NoInodes),
    dying(When::Staged, NONE),
    dying(When::Probation, NONE),
    dying(When::Probation, A_BLOCK),
    dying(When::Probation, Left::NoInodes),
    dying(When::RollingBack, NONE),
    dying(When::RollingBack, Left::NoInodes),
];

/// A device whose state is on a disk of its own.
struct FullDiskDevice {
    device: CrashDevice,
    disk: Disk,
}

impl FullDiskDevice {
    fn new(testbed: &Testbed, dir: &Path, scenario: Scenario) -> Result<Self> {
        let disk = Disk::mount(&dir.with_extension("disk"), &dir.join("state"), SIZE)?;
        Ok(Self { device: testbed.device(dir, scenario)?, disk })
    }
}

/// Whether the device is there, by what can be seen from outside.
fn reached(device: &CrashDevice, when: When) -> bool {
    let slots = |part: &str| {
        let entries = std::fs::read_dir(device.state().join("slots/edgecore")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).any(|name| name.starts_with(part))
    };
    match when {
        When::Idle => true,
        When::Downloading => {
            let parts = std::fs::read_dir(device.state().join("downloads")).into_iter().flatten().flatten();
            parts.filter(|entry| entry.path().extension().is_some_and(|end| end == "part")).any(|part| {
                use std::os::unix::fs::MetadataExt as _;
                part.metadata().is_ok_and(|found| found.blocks() > 0)
            })
        }
        When::Staging => slots(".writing-"),
        When::Staged => slots(device.scenario().new_version()) || slots(LARGE),
        When::Probation => device.link().is_ok_and(|link| !link.starts_with(OLD)),
        When::RollingBack => device.log().contains("event=rolling-back"),
    }
}

fn about_space(refusal: &Refusal) -> bool {
    ["SLW-A-SPACE", "SLW-A-DISK-FULL", "SLW-A-STORE-DEGRADED"].contains(&refusal.code.as_ref())
}

fn survives(testbed: &Testbed, dir: &Path, row: &Row) -> Result<()> {
    let FullDiskDevice { mut device, disk } = FullDiskDevice::new(testbed, &dir.join(row.name()), row.scenario)?;
    let slow = matches!(row.when, When::Downloading | When::Staging);
    if slow {
        device.configure("channel = \"commit\"", "channel = \"large\"")?;
    }
    if row.when == When::Idle {
        disk.fill(row.left)?;
    }
    device.start()?;
    let mut polls = 0_u32;
    wait::try_until("the moment to be full has come", PATIENCE, || {
        // Some of these moments are short.
        (0..8).any(|_| {
            polls += 1;
            let there = reached(&device, row.when);
            if !there {
                std::thread::sleep(Duration::from_millis(1));
            }
            there
        })
    })?;
    if row.when != When::Idle {
        device.freeze(true);
        disk.fill(row.left)?;
        device.freeze(false);
    }
    faults::answers(&mut device)?;
    // Full as the disk is, one of the two runs, and the agent answers. What is undone has been undone.
    let ends = device.scenario().ends_at();
    faults::until(&mut device, "one of them runs on a full disk", |device| {
        let settled = row.scenario == Scenario::RollBack && matches!(row.when, When::Probation | When::RollingBack);
        let runs = device.running();
        device.status().is_ok() && runs.len() == 1 && (!settled || runs[0].starts_with(OLD))
    })?;
    // An update that is far enough ends all the same.
    if !matches!(row.when, When::Probation | When::RollingBack) {
        faults::until(&mut device, "the report says why", |device| {
            let reported = device.history().unwrap_or_default();
            device.finished() || reported.iter().filter_map(|report| report.refusal.as_ref()).any(about_space)
        })?;
    }
    verdict::nothing_is_torn(&testbed.setting, &device)?;
    // Room again: it ends as it should have, without a start and without help.
    disk.clear()?;
    if slow {
        faults::until(&mut device, "the update ends", |device| device.settled(LARGE))?;
        return device.stop();
    }
    faults::until(&mut device, &format!("the update ends at {ends}"), CrashDevice::finished)?;
    ensure!(device.log().matches("event=started").count() == 1, "it was started again:\n{}", device.log());
    verdict::all_agree(&testbed.setting, &mut device)
}

fn testbed(dir: &Path) -> Result<Testbed> {
    let mut testbed = Testbed::new(dir)?;
    let large = testbed.release(LARGE, &script("12", REWRITE), 6 << 20)?;
    testbed.release(ALONE, &script("12", REWRITE), 100 << 10)?;
    testbed.offer("large", LARGE)?;
    testbed.offer("alone", ALONE)?;
    let path = testbed.factory().artifact_path(&large);
    testbed.factory().server.fault(&path, Fault::Throttle(4 << 20));
    Ok(testbed)
}

/// Takes about 40 s: what waits between two tries waits for seconds, eighteen times, six at a time.
#[test]
fn the_agent_survives_reports_and_recovers_from_a_full_disk_at_any_moment() -> Result<()> {
    if own_mounts("the_agent_survives_reports_and_recovers_from_a_full_disk_at_any_moment")? == Here::No {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let testbed = testbed(dir.path())?;
    faults::all(ROWS, 6, Row::name, |row| survives(&testbed, dir.path(), row))
}

/// With less free than the update takes, the numbers are in the refusal, and not a byte of the artifact was asked for.
#[test]
fn what_will_not_fit_is_refused_with_numbers_before_the_first_byte() -> Result<()> {
    if own_mounts("what_will_not_fit_is_refused_with_numbers_before_the_first_byte")? == Here::No {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut testbed = Testbed::new(dir.path())?;
    let release = testbed.release(ALONE, &script("12", REWRITE), 100 << 10)?;
    testbed.offer("commit", ALONE)?;
    let path = testbed.factory().artifact_path(&release);
    let FullDiskDevice { mut device, disk } = FullDiskDevice::new(&testbed, &dir.path().join("node"), Scenario::Commit)?;
    disk.fill(Left::Bytes(24 << 20))?;
    device.start()?;
    let space = |device: &CrashDevice| {
        let reported = device.history().unwrap_or_default();
        reported.into_iter().filter_map(|report| report.refusal).find(|refusal| refusal.code == "SLW-A-SPACE")
    };
    faults::until(&mut device, "it says that there is no space", |device| space(device).is_some())?;
    let refusal = space(&device).unwrap();
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let (seen, wanted, size) = (number(&refusal.seen), number(&refusal.wanted), release.archives[0].size);
    ensure!(seen.abs_diff(24 << 20) < 2 << 20, "it found {seen}: {refusal}");
    ensure!(wanted > seen && wanted > size && wanted < 64 << 20, "{refusal}");
    ensure!(testbed.factory().server.requests_for(&path).is_empty(), "it asked for what will not fit");
    disk.clear()?;
    faults::until(&mut device, "it goes on when there is room", |device| device.settled(ALONE))?;
    device.stop()
}

/// The disk with the component's configuration is another one. Full before the update, it is no time for one, and everything runs on; full
/// in the middle, the old release comes back with what it had.
#[test]
fn a_rollback_brings_back_the_configuration_on_a_full_disk_of_its_own() -> Result<()> {
    if own_mounts("a_rollback_brings_back_the_configuration_on_a_full_disk_of_its_own")? == Here::No {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let testbed = Testbed::new(dir.path())?;
    let mut device = testbed.device(&dir.path().join("node"), Scenario::RollBack)?;
    let disk = Disk::mount(&dir.path().join("etc.disk"), &device.dir().join("etc"), SMALL)?;
    for name in ["edgecore.yaml", "data"] {
        let (at, there) = (device.dir().join(name), device.dir().join("etc").join(name));
        std::fs::copy(&at, &there)?;
        std::fs::remove_file(&at)?;
        std::os::unix::fs::symlink(&there, &at)?;
        device.configure(&at.display().to_string(), &there.display().to_string())?;
    }
    disk.fill(NONE)?;
    device.start()?;
    faults::until(&mut device, "it says why it does not begin", |device| {
        device.history().is_ok_and(|reported| reported.iter().filter_map(|report| report.refusal.as_ref()).any(about_space))
    })?;
    ensure!(matches!(device.running().as_slice(), [slot] if slot.starts_with(OLD)), "runs: {:?}", device.running());
    disk.clear()?;
    wait::try_until("the new release is current", PATIENCE, || reached(&device, When::Probation))?;
    device.freeze(true);
    disk.fill(NONE)?;
    device.freeze(false);
    faults::until(&mut device, "the old release is back", CrashDevice::finished)?;
    verdict::all_agree(&testbed.setting, &mut device)
}

/// An error on the disk makes it read-only: the agent answers and says so, the component runs; after the repair it goes on.
#[test]
fn a_disk_that_becomes_read_only_is_reported_and_work_continues_after_its_repair() -> Result<()> {
    if own_mounts("a_disk_that_becomes_read_only_is_reported_and_work_continues_after_its_repair")? == Here::No {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let testbed = Testbed::new(dir.path())?;
    let older = dir.path().join("older");
    let FullDiskDevice { mut device, disk } = FullDiskDevice::new(&testbed, &dir.path().join("node"), Scenario::Commit)?;
    copy(device.dir(), &older)?;
    device.configure("channel = \"commit\"", "channel = \"rollback\"")?;
    testbed.offer("rollback", OLD)?;
    device.start()?;
    faults::until(&mut device, "the old release runs", |device| device.settled(OLD))?;
    testbed.offer("rollback", Scenario::Commit.new_version())?;
    disk.fail()?;
    wait::try_until("it is read-only", PATIENCE, || std::fs::write(device.state().join("probe"), "").is_err())?;
    faults::until(&mut device, "it says so", |device| device.log().contains("SLW-A-DISK-READ-ONLY"))?;
    faults::answers(&mut device)?;
    ensure!(matches!(device.running().as_slice(), [slot] if slot.starts_with(OLD)), "runs: {:?}", device.running());
    device.stop()?;
    device.end_component();
    disk.repair()?;
    device.start()?;
    faults::until(&mut device, "it goes on", |device| device.settled(Scenario::Commit.new_version()))?;
    verdict::all_agree(&testbed.setting, &mut device)
}
