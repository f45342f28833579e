//! A release that is a bare file: its download becomes the program in the slot, and there is no second copy to begin anew from.

use anyhow::{Context as _, Result, ensure};
use slipway_operator::{ArtifactOptions, ReleaseOptions};
use slipway_protocol::{Platform, Sha256};
use slipway_sim::factory::{edgecore_name, find, now};
use slipway_testkit::sigstore::{Attestation, Subject};
use slipway_testkit::wait;
use slipway_tests::crash::scenario::Scenario;
use slipway_tests::crash::testbed::{REWRITE, Testbed, script};
use slipway_tests::faults::{self, PATIENCE};
use std::ffi::OsString;

const BARE: &str = "v1.3.0";
/// Enough for several reads and writes.
const PAD: usize = 3 << 20;

/// Makes a release that is a script with bytes behind it, offers it to the channel `commit`, and says where the server has it.
fn release(testbed: &mut Testbed) -> Result<(String, Vec<u8>)> {
    let dir = tempfile::tempdir()?;
    let name = format!("edgecore-{BARE}");
    let mut program = script("12", REWRITE).into_bytes();
    program.resize(PAD, 7);
    let (file, provenance) = (dir.path().join(&name), dir.path().join("proof"));
    std::fs::write(&file, &program)?;
    let digest = Sha256::of(&program).to_string();
    let attestation = Attestation::kubeedge(BARE).subject(Subject::sha256(&name, &digest)).at(now().as_second() - 60);
    std::fs::write(&provenance, testbed.factory().sigstore.attest(&attestation))?;
    let artifact =
        ArtifactOptions { platform: Platform::current(), file, name: None, member: None, provenance, urls: Vec::new() };
    let version = BARE.parse().map_err(anyhow::Error::msg)?;
    let options = ReleaseOptions {
        component: edgecore_name(),
        version,
        artifacts: vec![artifact],
        min_agent: None,
        unsafe_skip_verify: false,
    };
    testbed.factory().repo()?.release(&options, now())?;
    testbed.offer("commit", BARE)?;
    testbed.setting.programs.insert(digest, BARE.to_owned());
    let public = testbed.factory().repo_dir().join("public");
    let published = find(&public.join("artifacts"), &name).context("the published file")?;
    Ok((published.strip_prefix(&public)?.display().to_string(), program))
}

/// Killed right before and after each rename on the way of the file, the agent goes on with it: it is fetched once.
#[test]
fn a_bare_file_is_fetched_once_wherever_the_agent_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut testbed = Testbed::new(dir.path())?;
    let (path, program) = release(&mut testbed)?;
    let size = u64::try_from(program.len())?;
    let points = [None, Some("slot: download is its payload"), Some("slot: before its name"), Some("slot: after its name")];
    for (row, point) in points.into_iter().enumerate() {
        let before = testbed.factory().server.bytes_sent(&path);
        let mut device = testbed.device(&dir.path().join(row.to_string()), Scenario::Commit)?;
        if let Some(point) = point {
            device.start_under(&["env".into(), OsString::from(format!("SLIPWAY_CRASHPOINT={point}#1"))])?;
            wait::try_until("the agent is killed", PATIENCE, || device.ended().is_some()).with_context(|| device.log())?;
        }
        device.start()?;
        faults::until(&mut device, "the bare file is committed", |device| device.settled(BARE))?;
        let sent = testbed.factory().server.bytes_sent(&path) - before;
        ensure!(sent == size, "{point:?}: {sent} bytes of a file of {size} were sent");
        ensure!(std::fs::read(faults::program(&device, BARE)?)? == program, "{point:?}: another program");
        device.stop()?;
    }
    Ok(())
}
