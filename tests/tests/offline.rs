//! Offline bundles without a network: the same states and refusals, with and without a service.

use anyhow::Result;
use slipway_operator::ChannelChange;
use slipway_testkit::edgecore::{Behaviour, Dials};
use slipway_testkit::sigstore::Attestation;
use slipway_testkit::wait;
use slipway_tests::{LONG, device_off, factory, stderr};

#[test]
fn a_bundle_is_installed_without_network_by_the_command_alone() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let device = device_off(&factory, None, |options| options.repository = None)?;
    let file = device.path("release.tar");
    factory.bundle(&file)?;
    let file = file.display().to_string();
    let before = factory.server.requests().len();
    let output = device.run("install", &[&file])?;
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout)?;
    for word in ["downloading", "staged", "activated", "committed"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.22.0"));
    assert!(device.healthy());
    assert_eq!(factory.server.requests().len(), before, "nothing was asked over the network");
    // Again: nothing to do, and said so.
    assert!(device.run("install", &[&file])?.status.success());
    Ok(())
}

#[test]
fn a_running_agent_takes_bundles_and_refuses_bad_ones() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut device = device_off(&factory, None, |options| options.repository = None)?;
    device.start()?;
    device.wait("answers", LONG, slipway_sim::Device::answers)?;
    let pack = |name: &str| -> Result<String> {
        let file = device.path(name);
        factory.bundle(&file)?;
        Ok(file.display().to_string())
    };
    let good = pack("good.tar")?;
    let output = device.run("install", &[&good])?;
    assert!(output.status.success(), "{}\n{}", stderr(&output), device.log());
    // One byte of the artifact inside is another.
    factory.ship(&Dials::healthy("v1.23.0"))?;
    let tampered = pack("tampered.tar")?;
    let mut bytes = std::fs::read(&tampered)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tampered, bytes)?;
    let output = device.run("install", &[&tampered])?;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("SLW-A-DIGEST"), "{}", stderr(&output));
    // Cut short, as by a medium that was pulled out while it was written.
    let bytes = std::fs::read(&tampered)?;
    std::fs::write(&tampered, &bytes[..bytes.len() / 3])?;
    let output = device.run("install", &[&tampered])?;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("SLW-A-BUNDLE"), "{}", stderr(&output));
    // Wrong provenance.
    let evil = Attestation { source: "https://github.com/evil/kubeedge".into(), ..Attestation::kubeedge("v1.23.1") };
    factory.release_attested(&Dials::healthy("v1.23.1"), evil, true)?;
    factory.point("v1.23.1")?;
    let output = device.run("install", &[&pack("evil.tar")?])?;
    assert!(stderr(&output).contains("SLW-V-"), "{}", stderr(&output));
    // An older bundle, replayed: its metadata goes back.
    let output = device.run("install", &[&good])?;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("rollback") || stderr(&output).contains("SLW-T-"), "{}", stderr(&output));
    // One that dies is rolled back.
    factory.ship(&Dials::new("v1.24.0", Behaviour::ExitAtOnce { code: 1 }))?;
    assert_eq!(device.run("install", &[&pack("dies.tar")?])?.status.code(), Some(4), "{}", device.log());
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.22.0"));
    wait::until("the old release answers again", LONG, || device.healthy());
    // And a good one still comes through.
    factory.change(&ChannelChange { release: None, ..ChannelChange::default() })?;
    factory.ship(&Dials::healthy("v1.25.0"))?;
    assert!(device.run("install", &[&pack("better.tar")?])?.status.success(), "{}", device.log());
    Ok(())
}
