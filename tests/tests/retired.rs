//! Retired releases: where one is committed it goes on running, and it is what a device rolls back to; nobody installs it any more.

use anyhow::Result;
use slipway_sim::Device;
use slipway_sim::factory::now;
use slipway_testkit::edgecore::{Behaviour, Dials};
use slipway_testkit::wait;
use slipway_tests::{LONG, device, factory, stderr};

fn committed(device: &Device) -> Option<String> {
    device.committed().map(|version| version.to_string())
}

#[test]
fn a_device_goes_on_with_a_retired_release_and_rolls_back_to_it() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let mut device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.20.0", LONG)?;
    factory.ship(&Dials::new("v1.21.0", Behaviour::ExitAtOnce { code: 1 }))?;
    let retired = factory.repo()?.retire(None, 0, now())?;
    assert_eq!(retired.iter().map(|one| one.version.as_str()).collect::<Vec<_>>(), ["v1.20.0"]);
    // The next one dies: the device knows that v1.20.0 is retired, and returns to it.
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(4), "{}\n{}", stderr(&output), device.log());
    wait::until("the retired release answers again", LONG, || device.healthy());
    assert_eq!(committed(&device).as_deref(), Some("v1.20.0"));
    // As after a power cut: the agent starts it from what is on disk.
    device.kill();
    for pid in slipway_sim::device::processes_below(&device.state().join("slots")) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    wait::until("nothing answers", LONG, || !device.healthy());
    device.start()?;
    wait::until("the retired release is started again", LONG, || device.healthy());
    // And it leaves it for the next good one.
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let output = device.run("check", &[])?;
    assert!(output.status.success(), "{}\n{}", stderr(&output), device.log());
    assert_eq!(committed(&device).as_deref(), Some("v1.22.0"));
    assert_eq!(factory.point("v1.20.0").unwrap_err().downcast::<slipway_protocol::Refusal>()?.code, "SLW-O-NO-RELEASE");
    Ok(())
}
