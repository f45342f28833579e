//! Interrupted publications.
//!
//! A publication that is killed at every single system call that changes something leaves a repository that devices accept, and that
//! the same command completes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Device, copy, done, release_line};
use tempfile::TempDir;

/// Every call that changes something. Strace counts each by itself; those that this machine does not have are passed over.
const CHANGING: [&str; 12] = [
    "write",
    "fsync",
    "?rename",
    "?renameat",
    "renameat2",
    "linkat",
    "?unlink",
    "unlinkat",
    "?mkdir",
    "mkdirat",
    "fchmodat",
    "ftruncate",
];
/// More than any of these commands needs; a sweep that never ends is a fault.
const MOST: usize = 400;

/// Kills `line` at every call that changes something. How many there were.
fn sweep(line: &str, check: impl Fn(&mut Device, &Path)) -> usize {
    let dir = TempDir::new().unwrap();
    done(dir.path(), "init fleet --unencrypted");
    done(dir.path(), &release_line("fleet", dir.path(), "v1.23.1"));
    done(dir.path(), "channel fleet --release v1.23.1");
    let repo = dir.path().join("fleet");
    let mut device = Device::born(&repo);
    device.refresh(&repo).unwrap();
    fs::rename(&repo, dir.path().join("before")).unwrap();
    CHANGING.iter().map(|call| kill_at_each(call, line, dir.path(), &device, &check)).sum()
}

/// Kills `line` at its first, second, … `call`. How often it was killed.
fn kill_at_each(call: &str, line: &str, dir: &Path, device: &Device, check: &impl Fn(&mut Device, &Path)) -> usize {
    let repo = dir.join("fleet");
    for when in 1..MOST {
        copy(&dir.join("before"), &repo);
        let killed = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"])
            .arg(format!("inject={call}:signal=KILL:when={when}"))
            .arg(env!("CARGO_BIN_EXE_slipway"))
            .args(line.split_whitespace())
            .current_dir(dir)
            .env_remove("SLIPWAY_KEY_PASSWORD")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let through = killed.status.success();
        assert!(
            through || killed.status.signal() == Some(9) || killed.status.code() == Some(137),
            "{call} {when}: {:?} {}",
            killed.status,
            support::text(&killed.stderr)
        );
        // Old or new, whoever asks.
        let mut experienced = device.clone();
        experienced.refresh(&repo).unwrap_or_else(|refusal| panic!("{line}, killed at {call} {when}: {refusal:?}"));
        let born = Device::born(&repo).refresh(&repo);
        born.unwrap_or_else(|refusal| panic!("{line}, killed at {call} {when}, first boot: {refusal:?}"));
        if !through {
            done(dir, line);
            assert!(!repo.join("staged").exists(), "{call} {when}");
        }
        check(&mut experienced, &repo);
        fs::remove_dir_all(&repo).unwrap();
        if through {
            return when.saturating_sub(1);
        }
    }
    panic!("{line} never gets through");
}

#[test]
fn a_channel_is_moved_or_not() {
    let calls = sweep("channel fleet --halt", |device, repo| {
        let channel = device.target(repo, "channels/edgecore/stable.json").unwrap();
        assert!(support::text(&channel).contains("\"halted\":true"));
    });
    assert!(calls > 15, "{calls}");
}

#[test]
fn a_timestamp_key_is_replaced_or_not() {
    let calls = sweep("key rotate fleet timestamp", |device, repo| assert!(device.version(repo, "root") >= 2));
    assert!(calls > 30, "{calls}");
}

#[test]
fn a_root_and_a_targets_key_are_replaced_or_not() {
    let calls = sweep("key rotate fleet targets --unencrypted", |device, repo| assert!(device.version(repo, "root") >= 2));
    assert!(calls > 30, "{calls}");
}
