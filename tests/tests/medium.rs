//! A medium that is removed during an installation, and readers of files that are being written.

use anyhow::{Context as _, Result, bail, ensure};
use slipway_agent::storage::slots::Slots;
use slipway_protocol::{Event, Platform};
use slipway_sim::factory::edgecore_name;
use slipway_testkit::server::Fault;
use slipway_testkit::wait;
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::Scenario;
use slipway_tests::crash::testbed::{REWRITE, Testbed, script};
use slipway_tests::crash::verdict;
use slipway_tests::disk::{Disk, Here, own_mounts};
use slipway_tests::faults;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Large enough to be pulled out in the middle.
const LARGE: &str = "v1.4.0";
const PAD: u64 = 8 << 20;

fn install(testbed: &Testbed, device: &CrashDevice, file: &Path) -> Result<std::process::Output> {
    let mut command = Command::new(&testbed.setting.agent);
    command.arg("install").arg(file).arg("--config").arg(device.dir().join("agent.toml"));
    Ok(command.stdin(std::process::Stdio::null()).output()?)
}

/// The ways in which a medium goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goes {
    /// From its middle on it cannot be read: the kernel says EIO.
    Unreadable,
    /// Cut short between the check and the download, or later.
    Short,
    /// Away with its folder between the check and the download.
    Away,
    /// Another one, with the same name and length, likewise.
    Exchanged,
}

/// Each ends the installation with a code, in the command's answer and in a report; agent and component go on as if nothing had been;
/// and the same medium, put in again, is installed from.
#[test]
fn a_medium_that_goes_in_the_middle_is_a_failed_result_and_nothing_else() -> Result<()> {
    if own_mounts("a_medium_that_goes_in_the_middle_is_a_failed_result_and_nothing_else")? == Here::No {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut testbed = Testbed::new(dir.path())?;
    testbed.release(LARGE, &script("12", REWRITE), PAD)?;
    testbed.offer("large", LARGE)?;
    let bundle = dir.path().join("bundle.tar");
    let channel = "large".parse().map_err(anyhow::Error::msg)?;
    testbed.factory().repo()?.bundle(&edgecore_name(), &channel, &[Platform::current()], &bundle)?;
    let rows = [Goes::Unreadable, Goes::Short, Goes::Away, Goes::Exchanged];
    faults::all(
        &rows,
        4,
        |row| format!("{row:?}").to_lowercase(),
        |row| pulled(&testbed, &bundle, &dir.path().join(format!("{row:?}")), *row),
    )
}

/// On a busy machine everything may have been read before the medium goes: then it is done again with another.
fn pulled(testbed: &Testbed, bundle: &Path, dir: &Path, goes: Goes) -> Result<()> {
    for attempt in 0..5 {
        if pulled_in_time(testbed, bundle, &dir.join(attempt.to_string()), goes)? {
            return Ok(());
        }
    }
    bail!("five times it was installed although the medium went")
}

/// Whether it went in time; if not, it is seen that what was installed is the release.
fn pulled_in_time(testbed: &Testbed, bundle: &Path, dir: &Path, goes: Goes) -> Result<bool> {
    let mut device = testbed.device(&dir.join("node"), Scenario::Commit)?;
    device.configure(&format!("url = \"{}/\"\n", testbed.setting.url), "")?;
    device.configure("channel = \"commit\"", "channel = \"large\"")?;
    let (image, mount) = (dir.join("stick.disk"), dir.join("stick"));
    let disk = Disk::mount(&image, &mount, 24 << 20)?;
    let file = mount.join("folder/slipway.tar");
    let put = || -> Result<()> {
        std::fs::create_dir_all(mount.join("folder"))?;
        std::fs::copy(bundle, &file)?;
        Ok(())
    };
    put()?;
    device.start()?;
    faults::answers(&mut device)?;
    let before = device.running();
    let size = std::fs::metadata(&image)?.len();
    if goes == Goes::Unreadable {
        // Out and in again: nothing of it is in memory.
        disk.repair()?;
        let middle = first_block_of(&file, 2)?;
        faults::truncate(&image, |_| middle)?;
    }
    let output = std::thread::scope(|scope| -> Result<_> {
        let asked = scope.spawn(|| install(testbed, &device, &file));
        if goes != Goes::Unreadable {
            wait::try_until("it is being read", faults::PATIENCE, || device.log().contains("event=checking"))?;
            device.freeze(true);
            match goes {
                Goes::Short => faults::truncate(&file, |length| length / 3)?,
                Goes::Away => std::fs::remove_dir_all(mount.join("folder"))?,
                _ => faults::overwrite(&file, PAD / 2, 1 << 20, |byte| byte ^ 0x55)?,
            }
            device.freeze(false);
        }
        asked.join().ok().context("the command")?
    })?;
    if output.status.success() {
        let slots = Slots::new(&device.state());
        let name = edgecore_name();
        slots.list(&name)?.iter().try_for_each(|slot| verdict::verify_installed(&testbed.setting, &slots, &name, slot))?;
        device.stop()?;
        return Ok(false);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        matches!(output.status.code(), Some(1 | 3)) && said.contains("SLW-A-"),
        "{:?}: {said}\n{}",
        output.status,
        device.log()
    );
    let reported = device.history()?;
    let failed =
        reported.iter().find(|report| matches!(report.event, Event::Refused | Event::Retrying) && report.refusal.is_some());
    ensure!(failed.is_some(), "nothing was reported: {reported:?}");
    ensure!(device.running() == before || before.is_empty(), "{:?}", device.running());
    faults::answers(&mut device)?;
    // Put in again.
    if goes == Goes::Unreadable {
        faults::truncate(&image, |_| size)?;
        disk.repair()?;
    }
    put()?;
    let output = install(testbed, &device, &file)?;
    ensure!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), device.log());
    faults::until(&mut device, "it runs", |device| device.settled(LARGE))?;
    ensure!(device.log().matches("event=started").count() == 1, "{}", device.log());
    device.stop()?;
    Ok(true)
}

/// Where on its disk a file's content is, so many thirds into it.
fn first_block_of(file: &Path, thirds: u64) -> Result<u64> {
    let output = Command::new("filefrag").args(["-b1", "-v"]).arg(file).output().context("filefrag")?;
    let text = String::from_utf8(output.stdout)?;
    let at = std::fs::metadata(file)?.len() * thirds / 3;
    // ext: logical: physical: length: …
    let extents = text.lines().filter_map(|line| {
        let numbers: Vec<u64> = line.split([':', '.', ' ']).filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [_, from, to, physical, ..] if line.trim_start().starts_with(|c: char| c.is_ascii_digit()) => {
                Some((*from, *to, *physical))
            }
            _ => None,
        }
    });
    let (from, _, physical) =
        extents.into_iter().find(|(from, to, _)| (*from..=*to).contains(&at)).with_context(|| text.clone())?;
    Ok(physical + (at - from))
}

/// A reader who looks all the time, through drops, damage on the way and kills: a slot that has its name is whole and what it says it is.
#[test]
fn nothing_is_ever_seen_half_done_under_its_final_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut testbed = Testbed::new(dir.path())?;
    let release = testbed.release(LARGE, &script("12", REWRITE), 2 << 20)?;
    testbed.offer("commit", LARGE)?;
    let path = testbed.factory().artifact_path(&release);
    let size = release.archives[0].size;
    testbed.factory().server.fault_times(&path, Fault::CutAfter(size / 2), 1);
    testbed.factory().server.fault_times(&path, Fault::FlipByte(size - 100), 1);
    let mut device = testbed.device(&dir.path().join("node"), Scenario::Commit)?;
    let (slots, name) = (Slots::new(&device.state()), edgecore_name());
    let (over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| -> Result<()> {
        let reader = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                for slot in slots.list(&name)? {
                    verdict::verify_installed(&testbed.setting, &slots, &name, &slot)?;
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        let mut dice: u64 = 0x5eed;
        let lived = (0..5).try_for_each(|_| {
            device.start()?;
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (seen, lines) = (device.log().len(), dice >> 61);
            let _ = wait::try_until("it gets a little further", std::time::Duration::from_millis(1500), || {
                device.log()[seen..].lines().count() as u64 > lines
            });
            device.kill();
            Ok::<(), anyhow::Error>(())
        });
        let ended = lived.and_then(|()| {
            device.start()?;
            faults::answers(&mut device)?;
            faults::check(&device)?;
            faults::until(&mut device, "the update ends", |device| device.settled(LARGE))
        });
        over.store(true, Ordering::Relaxed);
        reader.join().ok().context("the reader")??;
        ended
    })?;
    ensure!(looks.into_inner() > 20, "nobody looked");
    device.stop()
}
