//! The main job: a release is announced, proven, staged, activated, watched, committed; or refused, or rolled back.

use slipway_tests::{LONG, device, factory, mosquitto};
use slipway_world::edgecore::{Behaviour, Dials};
use slipway_world::wait;

#[test]
fn takes_a_good_release_and_returns_from_one_that_dies() -> anyhow::Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.22.0", LONG)?;
    assert!(device.healthy());
    let config = device.component_config();
    factory.ship(&Dials { rewrites_config: true, ..Dials::new("v1.23.0", Behaviour::DiesAfter { ms: 700, code: 2 }) })?;
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.22.0"));
    assert_eq!(device.component_config(), config, "the configuration came back with the program");
    wait::until("the old release answers again", LONG, || device.healthy());
    let report = device.wait_code("SLW-A-DIED", LONG)?;
    assert!(report.refusal.is_some());
    // The same bad release again: refused without a download.
    let before = factory.server.requests().len();
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SLW-A-CONDEMNED"));
    let artifacts = |n: usize| factory.server.requests()[n..].iter().filter(|r| r.path.contains("artifacts")).count();
    assert_eq!(artifacts(before), 0);
    let _ = mosquitto;
    Ok(())
}
