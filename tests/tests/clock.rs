//! The agent with wrong clocks and after years without power, with `libfaketime`.

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use slipway_operator::Role;
use slipway_operator::keys::KeyType;
use slipway_sim::factory::now;
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::tls::Authority;
use slipway_tests::clock::Clock;
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::{OLD, Scenario};
use slipway_tests::crash::testbed::Testbed;
use slipway_tests::crash::verdict;
use slipway_tests::disk::{Here, own_mounts};
use slipway_tests::faults::{self, NEW};
use std::path::Path;
use std::process::Command;

const TWO_YEARS: &str = "+730d";

fn in_two_years() -> Timestamp {
    now() + SignedDuration::from_hours(24 * 730)
}

/// An address at which nobody answers.
fn off_the_network(testbed: &Testbed, device: &CrashDevice) -> Result<()> {
    device.configure(&testbed.setting.url, "http://127.0.0.1:9")
}

fn on_the_network(testbed: &Testbed, device: &CrashDevice) -> Result<()> {
    device.configure("http://127.0.0.1:9", &testbed.setting.url)
}

/// The device talks TLS, whose certificates are judged by time as well.
#[test]
fn a_clock_in_1970_at_boot_is_reported_and_stops_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(clock) = Clock::new(dir.path())? else { return Ok(()) };
    let testbed = Testbed::new(dir.path())?;
    let authority = Authority::new(dir.path())?;
    let server = ReleaseServer::start_tls(&testbed.factory().repo_dir().join("public"), &authority.server()?)?;
    let mut device = testbed.device(&dir.path().join("node"), Scenario::Commit)?;
    device.configure(&testbed.setting.url, &server.url())?;
    device.configure("[http]\n", &format!("[tls]\nca = {:?}\n\n[http]\n", authority.ca()))?;
    clock.set("@1970-01-01 00:00:20")?;
    device.start_under(&clock.words())?;
    faults::answers(&mut device)?;
    let status = device.whole_status()?;
    ensure!(status.time_unsure && status.latest_known_time > "2026-01-01T00:00:00Z".parse()?, "{status:?}");
    faults::until(&mut device, "the update ends", CrashDevice::finished)?;
    // The clock is set, and believed again; nothing was started for that.
    clock.set("+0")?;
    faults::until(&mut device, "the clock is believed", |device| device.whole_status().is_ok_and(|status| !status.time_unsure))?;
    ensure!(device.log().matches("event=started").count() == 1, "{}", device.log());
    verdict::all_agree(&testbed.setting, &mut device)
}

/// A clock in 2100 makes everything look expired: that is told, nothing is lost, and nothing of it stays when the clock is set right.
#[test]
fn a_clock_in_2100_delays_and_locks_nothing_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(clock) = Clock::new(dir.path())? else { return Ok(()) };
    let testbed = Testbed::new(dir.path())?;
    let mut device = testbed.device(&dir.path().join("node"), Scenario::Commit)?;
    clock.set("@2100-01-01 00:00:00")?;
    device.start_under(&clock.words())?;
    faults::until(&mut device, "it says that the metadata is expired", |device| {
        faults::reported(device).is_ok_and(|reported| reported.iter().any(|code| code.starts_with("SLW-T-")))
    })?;
    faults::until(&mut device, "the old release runs", |device| device.running().iter().any(|slot| slot.starts_with(OLD)))?;
    ensure!(device.whole_status()?.time_unsure, "{:?}", device.whole_status());
    clock.set("+0")?;
    faults::until(&mut device, "the update ends", CrashDevice::finished)?;
    let status = device.whole_status()?;
    ensure!(!status.time_unsure && status.latest_known_time < "2099-01-01T00:00:00Z".parse()?, "{status:?}");
    ensure!(device.log().matches("event=started").count() == 1, "{}", device.log());
    verdict::all_agree(&testbed.setting, &mut device)
}

/// Two years in a cupboard: everything on the device has expired, and the operator's keys are others. It runs what it had without a
/// network, and with one walks from root to root, each long expired but the last.
#[test]
fn a_device_that_was_off_for_two_years_comes_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(clock) = Clock::new(dir.path())? else { return Ok(()) };
    let testbed = Testbed::new(dir.path())?;
    let mut device = testbed.device(&dir.path().join("node"), Scenario::Commit)?;
    let mut repo = testbed.factory().repo()?;
    let later = |days: i64| now() + SignedDuration::from_hours(24 * days);
    for (days, role) in [(200, Role::Timestamp), (400, Role::Root), (500, Role::Snapshot), (600, Role::Root)] {
        let (_, key) = repo.make_key(role, KeyType::P256, None)?;
        repo.rotate_key(role, None, &key, later(days))?;
    }
    repo.renew_roles(&[Role::Root, Role::Targets, Role::Releases, Role::Channels], in_two_years())?;
    repo.refresh(in_two_years())?;
    drop(repo);
    off_the_network(&testbed, &device)?;
    clock.set(TWO_YEARS)?;
    device.start_under(&clock.words())?;
    faults::until(&mut device, "it runs what it had", |device| device.running().iter().any(|slot| slot.starts_with(OLD)))?;
    faults::answers(&mut device)?;
    device.stop()?;
    on_the_network(&testbed, &device)?;
    device.start_under(&clock.words())?;
    faults::until(&mut device, "the update ends", CrashDevice::finished)?;
    let roles = device.whole_status()?.roles;
    let root = roles.iter().find(|role| role.name == "root").context("a root")?;
    ensure!(root.version >= 6 && root.expires > in_two_years(), "{roles:?}");
    verdict::all_agree(&testbed.setting, &mut device)
}

/// From here on programs of this test see the identity of another boot of the machine.
fn another_boot(dir: &Path) -> Result<()> {
    let identity = dir.join("boot_id");
    std::fs::write(&identity, "00000000-0000-4000-8000-000000000000\n")?;
    let status = Command::new("mount").arg("--bind").arg(&identity).arg("/proc/sys/kernel/random/boot_id").status()?;
    ensure!(status.success(), "mount --bind: {status}");
    Ok(())
}

/// What was accepted once is not judged for expiry again: the power goes in the middle of an update, comes back two years later, and the
/// update goes on to its end without a network; and so does every boot after it.
#[test]
fn metadata_that_expired_before_the_reboot_stops_neither_the_boot_nor_the_commit() -> Result<()> {
    if own_mounts("metadata_that_expired_before_the_reboot_stops_neither_the_boot_nor_the_commit")? == Here::No {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let Some(clock) = Clock::new(dir.path())? else { return Ok(()) };
    let testbed = Testbed::new(dir.path())?;
    let mut device = testbed.device(&dir.path().join("node"), Scenario::Commit)?;
    device.configure("soak = \"1s\"", "soak = \"20s\"")?;
    device.start()?;
    faults::until(&mut device, "the new release is watched", |device| {
        device.status().is_ok_and(|status| status.state == "probation")
    })?;
    device.kill();
    device.end_component();
    off_the_network(&testbed, &device)?;
    device.configure("soak = \"20s\"", "soak = \"1s\"")?;
    another_boot(dir.path())?;
    clock.set(TWO_YEARS)?;
    device.start_under(&clock.words())?;
    let committed =
        |device: &CrashDevice| device.status().is_ok_and(|status| status.committed.is_some_and(|it| it.version.as_str() == NEW));
    faults::until(&mut device, "the new release is committed", committed)?;
    device.kill();
    device.end_component();
    device.start_under(&clock.words())?;
    faults::until(&mut device, "it boots again", |device| device.running().iter().any(|slot| slot.starts_with(NEW)))?;
    ensure!(device.history()?.iter().all(|report| report.event != slipway_protocol::Event::RollingBack), "{}", device.log());
    ensure!(committed(&device), "{}", device.log());
    device.stop()
}
