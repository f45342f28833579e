//! Halted rollouts and future waves: the device reports that, and checks nothing of the release.

use anyhow::Result;
use slipway_operator::ChannelChange;
use slipway_protocol::Event;
use slipway_protocol::channel::Wave;
use slipway_testkit::edgecore::Dials;
use slipway_testkit::sigstore::Attestation;
use slipway_tests::{LONG, device, factory, stderr};

/// The operator halts because something is wrong with the release: devices that hear of it now are not to cry murder.
#[test]
fn a_halted_release_with_bad_provenance_is_halted_and_no_attack() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.20.0", LONG)?;
    // Built from somebody else's source.
    let foreign = Attestation { source: "https://github.com/evil/kubeedge".into(), ..Attestation::kubeedge("v1.21.0") };
    let release = factory.release_attested(&Dials::healthy("v1.21.0"), foreign, true)?;
    let asked = || factory.server.requests().iter().filter(|request| request.path.contains("v1.21.0")).count();

    let halt = ChannelChange { release: Some("v1.21.0".parse().unwrap()), halted: Some(true), ..ChannelChange::default() };
    factory.change(&halt)?;
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("SLW-A-HALTED"), "{}", stderr(&output));
    assert_eq!(asked(), 0, "neither its manifest nor its provenance was asked for");
    assert_eq!(factory.server.bytes_sent(&factory.artifact_path(&release)), 0);
    let codes = || -> Result<Vec<String>> {
        Ok(device.history()?.into_iter().filter_map(|report| Some(report.refusal?.code.into_owned())).collect())
    };
    assert_eq!(codes()?, ["SLW-A-HALTED"], "that is all the cloud hears of it");

    // Not halted, but its wave is yet to come: the same.
    let wave = Wave { percent: 100, start: "2099-01-01T00:00:00Z".parse()?, more: Default::default() };
    factory.change(&ChannelChange { halted: Some(false), waves: Some(vec![wave]), ..ChannelChange::default() })?;
    let output = device.run("check", &[])?;
    assert!(output.status.success() && stderr(&output).contains("SLW-A-WAVE"), "{}", stderr(&output));
    assert_eq!((asked(), codes()?.len()), (0, 2));

    // Its time has come: now it is judged, and refused for what it is.
    factory.change(&ChannelChange { waves: Some(vec![]), ..ChannelChange::default() })?;
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("SLW-V-"), "{}", stderr(&output));
    assert!(asked() > 0);
    assert!(device.history()?.iter().all(|report| report.event != Event::Downloading || report.to != "v1.21.0".parse().ok()));
    Ok(())
}
