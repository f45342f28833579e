//! The byte budget of a download: enforced, reported once, kept through restarts, lifted by a person.

use anyhow::Result;
use slipway_protocol::Event;
use slipway_testkit::edgecore::Dials;
use slipway_testkit::server::Fault;
use slipway_tests::{LONG, device_off, factory, stderr};

/// A server that drops every connection and cannot resume: on a metered line somebody pays for each time.
#[test]
fn a_download_over_budget_ends_is_reported_once_and_continues_after_unblock() -> Result<()> {
    let factory = factory()?;
    let release = factory.release(&Dials { pad: 6 << 20, ..Dials::healthy("v1.22.0") })?;
    let (path, size) = (factory.artifact_path(&release), release.archives[0].size);
    factory.server.fault(&path, Fault::IgnoreRange);
    factory.server.fault(&path, Fault::CutAfter(size * 3 / 4));
    factory.point("v1.22.0")?;
    // The timer looks every two seconds: what is refused is refused often.
    let mut device = device_off(&factory, None, |options| options.refresh = std::time::Duration::from_secs(2))?;
    let config = std::fs::read_to_string(device.config())?;
    std::fs::write(device.config(), config.replacen("[http]", "[http]\nbyte_budget = 1", 1))?;
    device.start()?;
    let report = device.wait_code("SLW-A-BUDGET", LONG)?;
    assert_eq!((report.event, report.to), (Event::Refused, Some("v1.22.0".parse().unwrap())));
    let refusal = report.refusal.expect("a reason");
    assert!(refusal.seen.contains(&format!("{} bytes", size * 3 / 4)), "{refusal}");
    assert!(refusal.wanted.contains(&format!("{} bytes", size + (1 << 20))), "{refusal}");

    let asked = || factory.server.requests_for(&path).len();
    let (before, looked) = (asked(), factory.server.requests().len());
    device.wait("it looks again", LONG, |_| factory.server.requests().len() > looked + 4)?;
    // Killed and started again it remembers, and so does a person's look.
    device.kill();
    device.start()?;
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("SLW-A-BUDGET") && stderr(&output).contains("slipway-agent unblock"), "{}", stderr(&output));
    assert_eq!(asked(), before, "the artifact is asked for no more");
    let reported = device.history()?.iter().filter(|report| report.event == Event::Refused).count();
    assert_eq!(reported, 2, "once, and to the person who asked");

    factory.server.heal(&path);
    let output = device.run("forgive", &[])?;
    assert!(String::from_utf8_lossy(&output.stdout).contains("reset the count of downloaded bytes"), "{}", stderr(&output));
    let output = device.run("forgive", &[])?;
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("nothing to unblock"));
    let output = device.run("check", &[])?;
    assert!(output.status.success(), "{}", stderr(&output));
    device.wait_committed("v1.22.0", LONG)?;
    let status = String::from_utf8(device.run("status", &[])?.stdout)?;
    assert!(status.contains("Broker:    none configured\n"), "{status}");
    Ok(())
}
