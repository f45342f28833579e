//! The demo: each step happens, it exits with 0, and it leaves no files or processes.

use anyhow::Result;
use slipway_sim::device::processes_below;
use slipway_testkit::programs;
use std::process::{Command, Stdio};

/// Takes about a minute: it tells the whole story, with real soaks and a throttled download.
#[test]
fn every_step_happens_and_nothing_remains() -> Result<()> {
    let exe = programs::program("slipway-sim", "slipway-sim")?;
    let scratch = tempfile::tempdir()?;
    let output = Command::new(&exe).env("TMPDIR", scratch.path()).env("NO_COLOR", "1").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for word in ["SLW-V-POLICY-SOURCE", "SLW-A-DIGEST", "SLW-A-DIED"] {
        assert!(said.contains(word), "{word} is not in the story:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "no colour where there is no terminal");
    let left: Vec<_> = std::fs::read_dir(scratch.path())?.flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(processes_below(scratch.path()), [0; 0], "processes were left behind");
    Ok(())
}
