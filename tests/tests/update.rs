//! Ordinary updates: announced, proven, staged, activated, committed; or refused, or rolled back.
//!
//! Takes about 25 s: a dozen releases are watched for whole soaks and deadlines, which are seconds even here.

use anyhow::Result;
use slipway_operator::ChannelChange;
use slipway_protocol::Event;
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::{Behaviour, Dials};
use slipway_testkit::server::Fault;
use slipway_testkit::sigstore::{Attestation, PrivateSigstore};
use slipway_testkit::wait;
use slipway_tests::{LONG, attempt, device, factory, stderr, trigger};
use std::time::Duration;

/// A soak for which nothing waits that ends by itself.
const SLOWLY: Duration = Duration::from_secs(60);

#[test]
fn takes_a_good_release_and_returns_from_one_that_dies() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.22.0", LONG)?;
    assert!(device.healthy());
    let config = device.component_config();
    device.reconfigure(LONG, |options| options.soak = SLOWLY)?;
    let dies = Dials::new("v1.23.0", Behaviour::DiesAfter { ms: 700, code: 2 });
    let output = attempt(&factory, &device, &Dials { rewrites_config: true, ..dies })?;
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.22.0"));
    assert_eq!(device.component_config(), config, "the configuration came back with the program");
    wait::until("the old release answers again", LONG, || device.healthy());
    let reports = device.history()?;
    let report = reports.iter().find(|report| report.event == Event::RollingBack).expect("a report of the rollback");
    assert!(report.refusal.as_ref().is_some_and(|refusal| refusal.code == "SLW-A-DIED"), "{report:?}");
    assert!(report.text.as_ref().is_some_and(|text| !text.is_empty()), "the evidence is in the report: {report:?}");
    // The same bad release again: refused without a download.
    let before = factory.server.requests().len();
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("SLW-A-CONDEMNED"), "{}", stderr(&output));
    let artifacts = factory.server.requests()[before..].iter().filter(|r| r.path.ends_with(".tar.gz")).count();
    assert_eq!(artifacts, 0);
    // Forgiven, it is tried again and fails again.
    assert!(device.run("forgive", &[])?.status.success());
    assert_eq!(device.run("check", &[])?.status.code(), Some(4));
    Ok(())
}

#[test]
fn every_unhealthy_release_is_rolled_back() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let mut device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.20.0", LONG)?;
    for (version, behaviour, code) in [
        ("v1.21.0", Behaviour::ExitAtOnce { code: 1 }, "SLW-A-DIED"),
        ("v1.21.1", Behaviour::SickensAfterAnswers { answers: 3 }, "SLW-A-CHECK"),
        ("v1.21.2", Behaviour::NeverAnswers, "SLW-A-DEADLINE"),
        ("v1.21.3", Behaviour::NeverListens, "SLW-A-DEADLINE"),
    ] {
        let soon = code == "SLW-A-DEADLINE";
        let (soak, deadline) = if soon { (Duration::from_secs(2), Duration::from_secs(8)) } else { (SLOWLY, 5 * SLOWLY) };
        device.reconfigure(LONG, |options| (options.soak, options.deadline) = (soak, deadline))?;
        let output = attempt(&factory, &device, &Dials::new(version, behaviour))?;
        assert_eq!(output.status.code(), Some(4), "{version}: {}\n{}", stderr(&output), device.log());
        assert!(stderr(&output).contains(code), "{version}: {}", stderr(&output));
        assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.20.0"));
        wait::until("the old release answers again", LONG, || device.healthy());
    }
    // None of that keeps a good one away.
    device.reconfigure(LONG, |options| options.deadline = 5 * SLOWLY)?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    assert!(device.run("check", &[])?.status.success());
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.22.0"));
    // A person may go back, and the release that was left is not taken again by itself.
    assert!(device.run("rollback", &[])?.status.success(), "{}", device.log());
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.20.0"));
    assert!(stderr(&device.run("check", &[])?).contains("SLW-A-CONDEMNED"));
    Ok(())
}

#[test]
fn every_refusal_has_its_code_and_nothing_is_installed() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.20.0", LONG)?;
    let attested = |version: &str| Attestation::kubeedge(version);
    // Provenance that is genuine, but of something else.
    let other_source = |version: &str| Attestation { source: "https://github.com/evil/kubeedge".into(), ..attested(version) };
    let other_tag = |version: &str| Attestation { git_ref: "refs/tags/v9.9.9".into(), ..attested(version) };
    let pull_request = |version: &str| Attestation { trigger: "pull_request".into(), ..attested(version) };
    type Change<'a> = &'a dyn Fn(&str) -> Attestation;
    for (version, change, part) in [
        ("v1.21.0", &other_source as Change<'_>, "SOURCE"),
        ("v1.21.1", &other_tag, "REF"),
        ("v1.21.2", &pull_request, "TRIGGER"),
    ] {
        factory.release_attested(&Dials::healthy(version), change(version), true)?;
        factory.point(version)?;
        let output = device.run("check", &[])?;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{version}: {said}");
        assert!(said.contains("SLW-V-") && said.contains(part), "{version}: {said}");
        assert!(said.contains("\n  found ") && said.contains("\n  expected ") && said.contains("\n  fix "), "{said}");
    }
    // Signed by another Sigstore.
    let stranger = PrivateSigstore::new("stranger");
    factory.release_signed_by(&stranger, &Dials::healthy("v1.21.3"), attested("v1.21.3"), true)?;
    factory.point("v1.21.3")?;
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("SLW-V-LOG-UNKNOWN"), "{}", stderr(&output));
    // Older than what is committed.
    factory.ship(&Dials::healthy("v1.19.0"))?;
    assert!(stderr(&device.run("check", &[])?).contains("SLW-A-FLOOR"));
    // Halted.
    factory.ship(&Dials::healthy("v1.22.0"))?;
    factory.change(&ChannelChange { halted: Some(true), ..ChannelChange::default() })?;
    assert!(stderr(&device.run("check", &[])?).contains("SLW-A-HALTED"));
    // Tampered on the way: one byte of the artifact.
    let release = factory.release(&Dials::healthy("v1.23.0"))?;
    factory.change(&ChannelChange {
        release: Some("v1.23.0".parse().unwrap()),
        halted: Some(false),
        ..ChannelChange::default()
    })?;
    factory.server.fault(&factory.artifact_path(&release), Fault::FlipByte(100));
    let output = device.run("check", &[])?;
    assert_eq!(output.status.code(), Some(3), "{}", device.log());
    assert!(stderr(&output).contains("SLW-A-DIGEST"), "{}", stderr(&output));
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.20.0"));
    assert_eq!(std::fs::read_dir(device.state().join("slots/edgecore"))?.flatten().count(), 1, "nothing else was staged");
    // Healed, the same release is taken.
    factory.server.heal(&factory.artifact_path(&release));
    assert!(device.run("check", &[])?.status.success(), "{}", device.log());
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.23.0"));
    Ok(())
}

#[test]
fn notices_trigger_checks_reports_arrive_and_bad_notices_cost_nothing() -> Result<()> {
    let broker = Mosquitto::start(Access::Plain)?;
    let factory = factory()?;
    factory.release(&Dials::healthy("v1.22.0"))?;
    let device = device(&factory, Some(&broker.url()), |_| {})?;
    device.wait("connects", LONG, |device| device.status().is_ok_and(|status| status.broker == Some(true)))?;
    factory.point("v1.22.0")?;
    trigger(&broker.url(), Some("v1.22.0"))?;
    device.wait_committed("v1.22.0", LONG)?;
    device.wait("the broker has every report", LONG, |device| device.status().is_ok_and(|status| status.outbox == 0))?;
    let events: Vec<Event> = device.history()?.into_iter().rev().map(|report| report.event).collect();
    let order = [Event::Checking, Event::Downloading, Event::Staged, Event::Activated, Event::Committed];
    let mut rest = events.iter();
    assert!(order.iter().all(|wanted| rest.any(|event| event == wanted)), "{events:?}");
    // The same again, a hundred times: at most one more check, and nothing new to say.
    let before = (device.history()?.len(), factory.server.requests().len());
    for _ in 0..100 {
        trigger(&broker.url(), Some("v1.22.0"))?;
    }
    device.wait("the storm is over", LONG, |device| {
        device.status().is_ok_and(|s| s.outbox == 0 && s.components.first().is_some_and(|c| c.state == "idle"))
    })?;
    let history = device.history()?;
    let news: Vec<_> = history[..history.len() - before.0].iter().filter(|report| report.event != Event::Checking).collect();
    assert!(news.len() < 5, "reports about nothing new: {news:#?}");
    Ok(())
}

#[test]
fn a_way_back_that_was_damaged_is_fetched_again() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.22.0", LONG)?;
    device.reconfigure(LONG, |options| options.soak = SLOWLY)?;
    let slot = device.state().join("slots/edgecore").join(device.current().expect("a link"));
    // One byte of the committed program is another; by rename, since a running program cannot be written to.
    let (program, damaged) = (slot.join("bin/edgecore"), slot.join("bin/damaged"));
    let mut bytes = std::fs::read(&program)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes)?;
    std::fs::rename(&damaged, &program)?;
    let output = attempt(&factory, &device, &Dials::new("v1.23.0", Behaviour::DiesAfter { ms: 700, code: 2 }))?;
    assert_eq!(output.status.code(), Some(4), "{}\n{}", stderr(&output), device.log());
    wait::until("the old release answers again", LONG, || device.healthy());
    assert_ne!(std::fs::read(&program)?, bytes, "what was damaged does not run");
    assert!(device.log().contains("SLW-A-SLOT-CHANGED"), "{}", device.log());
    Ok(())
}
