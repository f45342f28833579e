//! Damaged state.
//!
//! State that is damaged while the agent is stopped, or while it runs: whatever becomes of database, witness, slots, link, snapshots and
//! metadata, no floor is lowered, nothing runs that was not proven, and the release that should run does in the end.
//!
//! Each row is damaged, then the agent is killed and started three times, then it is offered a signed release below its floor, then a
//! new one. That the rows notice was seen with an agent that did not hash before it started a committed program again (the changed one ran), one
//! that kept what it healed to itself (nothing was reported), and one that could not replace a folder by its link.

use anyhow::{Context as _, Result, ensure};
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::OLD;
use slipway_tests::crash::testbed::{copy, poison};
use slipway_tests::crash::verdict;
use slipway_tests::faults::{self, Bench, NEW, overwrite, plant, truncate};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

type Damage = fn(&Bench, &CrashDevice) -> Result<()>;

/// One kind of damage.
struct Row {
    name: &'static str,
    damage: Damage,
    /// One of these codes must be told; none where there is nothing to tell.
    reported: &'static [&'static str],
    /// What must be kept as evidence.
    kept: Option<&'static str>,
    /// Whether nothing at all is missing afterwards: what nobody needs while all is well is not mended.
    ends_intact: bool,
}

const fn row(name: &'static str, damage: Damage, reported: &'static [&'static str]) -> Row {
    Row { name, damage, reported, kept: None, ends_intact: true }
}

const fn kept(what: &'static str, row: Row) -> Row {
    Row { kept: Some(what), ..row }
}

const fn partly(row: Row) -> Row {
    Row { ends_intact: false, ..row }
}

const STORE: &[&str] = &["SLW-A-STORE-DAMAGED"];
const SLOT: &[&str] = &["SLW-A-SLOT-CHANGED", "SLW-A-SLOT-MISSING", "SLW-A-SLOT-DAMAGED"];
const LINK: &[&str] = &["SLW-A-LINK-MOVED", "SLW-A-LINK-FOREIGN"];
const WITNESS: &[&str] = &["SLW-A-WITNESS-MISSING", "SLW-A-WITNESS-DAMAGED"];
const ALL: &[&str] = &["SLW-A-STATE-MISSING"];

fn database(device: &CrashDevice) -> std::path::PathBuf {
    device.state().join("state/db")
}

fn witness(device: &CrashDevice) -> std::path::PathBuf {
    device.state().join("witness")
}

fn link(device: &CrashDevice) -> std::path::PathBuf {
    device.state().join("current/edgecore")
}

fn point(device: &CrashDevice, target: &str) -> Result<()> {
    fs::remove_file(link(device))?;
    Ok(symlink(target, link(device))?)
}

/// The newest of the two slots of the witness: the one that was written last has the higher generation, which is in its first bytes.
fn flip_witness(device: &CrashDevice, slots: &[u64]) -> Result<()> {
    slots.iter().try_for_each(|slot| overwrite(&witness(device), slot * 4096 + 100, 1, |byte| byte ^ 4))
}

const ROWS: &[Row] = &[
    // The database.
    kept("state", row("database-empty", |_, d| truncate(&database(d), |_| 0), STORE)),
    row("database-half", |_, d| truncate(&database(d), |length| length / 2), &[]),
    row("database-a-page-less", |_, d| truncate(&database(d), |length| length.saturating_sub(4096)), &[]),
    row("database-zeroed-page", |_, d| overwrite(&database(d), 4096, 4096, |_| 0), &[]),
    row("database-flipped-first", |_, d| overwrite(&database(d), 20, 1, |byte| byte ^ 1), &[]),
    row("database-flipped-early", |_, d| overwrite(&database(d), 900, 1, |byte| byte ^ 16), &[]),
    row("database-flipped-late", |_, d| overwrite(&database(d), 9000, 1, |byte| byte ^ 128), &[]),
    kept("state", row("database-noise", |_, d| overwrite(&database(d), 0, 30_000, |byte| byte.wrapping_mul(31) ^ 0x5a), STORE)),
    row("database-deleted", |_, d| Ok(fs::remove_file(database(d))?), STORE),
    row("database-folder-deleted", |_, d| Ok(fs::remove_dir_all(d.state().join("state"))?), STORE),
    kept(
        "state",
        row(
            "database-older",
            |b, d| {
                fs::remove_dir_all(d.state().join("state"))?;
                copy(&b.older("state"), &d.state().join("state"))
            },
            STORE,
        ),
    ),
    row(
        "database-no-permission",
        |_, d| Ok(fs::set_permissions(d.state().join("state"), fs::Permissions::from_mode(0o000))?),
        &[],
    ),
    // The witness.
    row("witness-empty", |_, d| truncate(&witness(d), |_| 0), WITNESS),
    row("witness-half", |_, d| truncate(&witness(d), |length| length / 2), &[]),
    kept("witness", row("witness-zeroed", |_, d| overwrite(&witness(d), 0, 8192, |_| 0), WITNESS)),
    row("witness-one-flipped", |_, d| flip_witness(d, &[0]), &[]),
    row("witness-other-flipped", |_, d| flip_witness(d, &[1]), &[]),
    kept("witness", row("witness-both-flipped", |_, d| flip_witness(d, &[0, 1]), WITNESS)),
    row("witness-deleted", |_, d| Ok(fs::remove_file(witness(d))?), WITNESS),
    row("witness-older", |b, d| Ok(fs::copy(b.older("witness"), witness(d)).map(|_| ())?), &[]),
    // Both at once.
    partly(row(
        "both-deleted",
        |_, d| {
            fs::remove_dir_all(d.state().join("state"))?;
            Ok(fs::remove_file(witness(d))?)
        },
        ALL,
    )),
    partly(kept(
        "state",
        row(
            "both-flipped",
            |_, d| {
                overwrite(&database(d), 0, 30_000, |byte| byte ^ 0x5a)?;
                flip_witness(d, &[0, 1])
            },
            ALL,
        ),
    )),
    // A slot.
    partly(row("slot-record-damaged", |_, d| truncate(&faults::slot(d, NEW)?.join("release.json"), |length| length / 2), &[])),
    partly(row("slot-record-removed", |_, d| Ok(fs::remove_file(faults::slot(d, NEW)?.join("release.json"))?), &[])),
    row("slot-manifest-damaged", |_, d| overwrite(&faults::slot(d, NEW)?.join("manifest.json"), 10, 1, |byte| byte ^ 1), &[]),
    partly(row("slot-evidence-removed", |_, d| Ok(fs::remove_file(faults::slot(d, NEW)?.join("evidence.sigstore.json"))?), &[])),
    row("program-changed", |_, d| poison(&faults::program(d, NEW)?), SLOT),
    row("program-removed", |_, d| Ok(fs::remove_file(faults::program(d, NEW)?)?), SLOT),
    row("slot-removed", |_, d| Ok(fs::remove_dir_all(faults::slot(d, NEW)?)?), SLOT),
    partly(row("previous-program-changed", |_, d| poison(&faults::program(d, OLD)?), &[])),
    // The link.
    row("link-to-the-previous", |_, d| point(d, &format!("../slots/edgecore/{}", slot_name(d, OLD)?)), LINK),
    row("link-to-nothing", |_, d| point(d, "../slots/edgecore/v9.9.9-000000000000"), LINK),
    row(
        "link-outside",
        |_, d| {
            plant(&d.dir().join("outside/bin/edgecore"))?;
            point(d, "../../outside")
        },
        LINK,
    ),
    row("link-removed", |_, d| Ok(fs::remove_file(link(d))?), LINK),
    row(
        "link-is-a-file",
        |_, d| {
            fs::remove_file(link(d))?;
            Ok(fs::write(link(d), "not a link")?)
        },
        LINK,
    ),
    row(
        "link-is-a-folder",
        |_, d| {
            fs::remove_file(link(d))?;
            plant(&link(d).join("bin/edgecore"))
        },
        LINK,
    ),
    // Metadata.
    row("metadata-half", |_, d| truncate(&d.state().join("trust/operator.tar"), |length| length / 2), &[]),
    row("metadata-removed", |_, d| Ok(fs::remove_file(d.state().join("trust/operator.tar"))?), &[]),
    row(
        "metadata-older",
        |b, d| Ok(fs::copy(b.older("trust/operator.tar"), d.state().join("trust/operator.tar")).map(|_| ())?),
        &[],
    ),
    row("trust-removed", |_, d| Ok(fs::remove_dir_all(d.state().join("trust"))?), &[]),
    // Everything else.
    row("snapshots-removed", |_, d| Ok(fs::remove_dir_all(d.state().join("snapshots"))?), &[]),
    row(
        "downloads-are-noise",
        |_, d| Ok(fs::write(d.state().join("downloads").join(format!("{}.part", "0".repeat(64))), [7; 5000])?),
        &[],
    ),
];

fn slot_name(device: &CrashDevice, version: &str) -> Result<String> {
    Ok(faults::slot(device, version)?.file_name().context("a name")?.to_string_lossy().into_owned())
}

fn survives(bench: &Bench, row: &Row) -> Result<()> {
    let mut device = bench.updated(row.name)?;
    (row.damage)(bench, &device)?;
    faults::live_and_die(&mut device, 3)?;
    device.start()?;
    faults::answers(&mut device)?;
    faults::until(&mut device, "the committed release runs", |device| device.settled(NEW))?;
    let reported = faults::reported(&device)?;
    ensure!(
        row.reported.is_empty() || row.reported.iter().any(|code| reported.iter().any(|seen| seen == code)),
        "reported: {reported:?}, expected {:?}\n{}",
        row.reported,
        device.log()
    );
    if let Some(what) = row.kept {
        ensure!(!faults::set_aside(&device, what).is_empty(), "{what} was not kept:\n{}", device.log());
    }
    faults::refuses_to_go_below(&mut device, NEW)?;
    device.start()?;
    faults::until(&mut device, "the committed release runs", |device| device.settled(NEW))?;
    if row.ends_intact {
        verdict::all_agree(&bench.testbed.setting, &mut device)?;
    }
    faults::takes_the_next(&mut device)?;
    ensure!(!faults::marked(&device), "a program ran that nobody had proven:\n{}", device.log());
    device.stop()
}

/// Takes about half a minute: some forty devices live four times each.
#[test]
fn whatever_is_damaged_no_floor_falls_nothing_unproven_runs_and_the_release_comes_back() -> Result<()> {
    let bench = Bench::new()?;
    faults::all(ROWS, 6, |row| row.name.to_owned(), |row| survives(&bench, row))
}
