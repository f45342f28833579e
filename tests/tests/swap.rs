//! Files that are exchanged during an update.
//!
//! Somebody on the device exchanges files behind the agent's back at every moment of an update: what runs are the bytes that were
//! verified, or nothing.
//!
//! Between the last look at the bytes and the kernel's own reading of them lie milliseconds that no program can close against whoever may
//! write there, which is root alone and outside the threat model. A release that was exchanged in them is found out while it is watched
//! and never committed, which is what the test then asks for. Seen to fail with an agent that did not read the bytes again after their start:
//! it committed what had been exchanged 150 ms after the slot appeared.

use anyhow::{Context as _, Result, ensure};
use slipway_testkit::edgecore::tarball;
use slipway_testkit::wait;
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::{OLD, Scenario};
use slipway_tests::crash::testbed::poison;
use slipway_tests::crash::verdict;
use slipway_tests::faults::{self, Bench, NEW, plant};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What is exchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    /// The download, by another whole archive.
    Download,
    /// The program that is being written to its slot.
    Unfinished,
    /// The program in its slot, by rename.
    Program,
    /// The same, written into.
    InPlace,
    /// The whole slot.
    Slot,
    /// The link.
    Link,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    what: What,
    /// So long after the first moment at which there is something to exchange.
    after: u64,
}

fn rows() -> Vec<Row> {
    let kinds = [What::Download, What::Unfinished, What::Program, What::InPlace, What::Slot, What::Link];
    // From at once to on probation.
    let moments = [0, 5, 20, 60, 150, 400];
    kinds.into_iter().flat_map(|what| moments.into_iter().map(move |after| Row { what, after })).collect()
}

/// The first entry of a folder that fits, as soon as there is one.
fn first(dir: &Path, fits: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| path.file_name().is_some_and(|name| fits(&name.to_string_lossy())))
}

/// Whether what was to be exchanged is no longer there.
fn too_late(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Exchanges it when there is something to exchange; says whether it did.
fn exchange(state: &Path, outside: &Path, foreign: &[u8], row: Row, over: &AtomicBool) -> Result<bool> {
    let slots = state.join("slots/edgecore");
    let there = || match row.what {
        What::Download => first(&state.join("downloads"), |name| name.ends_with(".part")),
        What::Unfinished => {
            first(&slots, |name| name.starts_with(".writing-")).map(|slot| slot.join("bin/edgecore")).filter(|at| at.exists())
        }
        What::Program | What::InPlace | What::Slot | What::Link => first(&slots, |name| name.starts_with(NEW)),
    };
    let found = loop {
        match there() {
            Some(found) => break found,
            None if over.load(Ordering::Relaxed) => return Ok(false),
            None => std::hint::spin_loop(),
        }
    };
    std::thread::sleep(Duration::from_millis(row.after));
    let beside = state.join("foreign");
    let put = |at: &Path| -> Result<()> {
        std::fs::copy(outside.join("bin/edgecore"), &beside)?;
        Ok(std::fs::rename(&beside, at)?)
    };
    match row.what {
        What::Download if found.exists() => {
            std::fs::write(&beside, foreign)?;
            std::fs::rename(&beside, &found)?;
        }
        What::Unfinished if found.exists() => put(&found)?,
        What::Download | What::Unfinished => return Ok(false),
        What::Program => poison(&found.join("bin/edgecore"))?,
        What::InPlace => std::fs::write(found.join("bin/edgecore"), std::fs::read(outside.join("bin/edgecore"))?)?,
        What::Slot => {
            let aside = state.join("aside");
            std::fs::rename(&found, aside)?;
            plant(&found.join("bin/edgecore"))?;
        }
        What::Link => {
            symlink("../../outside", &beside)?;
            std::fs::rename(&beside, state.join("current/edgecore"))?;
        }
    }
    Ok(true)
}

fn attacked(bench: &Bench, foreign: &[u8], row: Row, done: &AtomicUsize) -> Result<()> {
    let mut device = bench.before(&format!("{:?}-{}", row.what, row.after).to_lowercase(), Scenario::Commit)?;
    let (state, outside) = (device.state(), device.dir().join("outside"));
    plant(&outside.join("bin/edgecore"))?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let attack = scope.spawn(|| exchange(&state, &outside, foreign, row, &over));
        device.start()?;
        // However this try ends, it ends; what is refused for good is not looked for again by itself.
        let ended = faults::until(&mut device, "this try ends", |device| {
            device.status().is_ok_and(|status| {
                status.state == "idle" && (device.settled(NEW) || status.last.is_some_and(|last| last.refusal.is_some()))
            })
        });
        over.store(true, Ordering::Relaxed);
        let exchanged = match attack.join().ok().context("the attacker")? {
            // What was found may get another name at any moment, also between a look and the rename.
            Err(error) if too_late(&error) => false,
            exchanged => exchanged?,
        };
        done.fetch_add(usize::from(exchanged), Ordering::Relaxed);
        ended
    })?;
    caught(&device)?;
    // Left alone, the node comes to the right release by itself or with one word from a person; what stands in the way is gone.
    device.stop()?;
    device.start()?;
    faults::answers(&mut device)?;
    let status = device.status()?;
    for blocked in &status.blocked {
        ensure!(blocked.reason.code.starts_with("SLW-A-"), "{blocked:?}");
    }
    faults::check(&device)?;
    let blocked = device.status()?.blocked.iter().any(|one| one.version.as_str() == NEW);
    let ends = if blocked { OLD } else { NEW };
    faults::until(&mut device, &format!("{ends} runs in the end"), |device| device.settled(ends))?;
    caught(&device)?;
    device.stop()?;
    verdict::nothing_is_torn(&bench.testbed.setting, &device)
}

/// Nothing foreign ran, or what ran was found out and left.
fn caught(device: &CrashDevice) -> Result<()> {
    if !faults::marked(device) {
        return Ok(());
    }
    let reported = faults::reported(device)?;
    let found_out = reported.iter().any(|code| ["SLW-A-SLOT-CHANGED", "SLW-A-CHECK", "SLW-A-DIED"].contains(&code.as_str()));
    let committed = device.history()?.iter().any(|report| {
        report.event == slipway_protocol::Event::Committed && report.to.as_ref().is_some_and(|to| to.as_str() == NEW)
    });
    ensure!(found_out && !committed, "a foreign program ran, reported {reported:?}, committed: {committed}\n{}", device.log());
    Ok(())
}

/// Takes about 20 s: thirty-six updates of two to four seconds, six at a time.
#[test]
fn whatever_is_exchanged_between_verification_and_use_only_verified_bytes_are_committed() -> Result<()> {
    let bench = Bench::new()?;
    let foreign = tarball(NEW, slipway_protocol::Platform::current().arch(), b"#!/bin/sh\n: > \"$2.changed\"\nsleep 1000\n");
    let done = AtomicUsize::new(0);
    let rows = rows();
    faults::all(
        &rows,
        6,
        |row| format!("{:?}-{}", row.what, row.after).to_lowercase(),
        |row| attacked(&bench, &foreign, *row, &done),
    )?;
    // A download is gone after a moment, and so is a slot that is being written.
    let done = done.into_inner();
    wait::try_until("most attacks hit", Duration::ZERO, || done >= rows.len() / 2 || std::env::var_os("SLIPWAY_ROW").is_some())
}
