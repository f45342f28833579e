//! What a device makes of an expiry, by its own program under clocks that are wrong: judged once,
//! judged for good; and not too far ahead.

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use serde_json::Value;
use slipway_sim::factory::now;
use slipway_sim::{Device, DeviceOptions, Factory};
use slipway_testkit::edgecore::Dials;
use slipway_tests::clock::Clock;
use slipway_tests::{LONG, factory, stderr};
use std::process::Output;

/// The timestamp has expired, nothing else has.
const NEXT_WEEK: &str = "+8d";
const TODAY: &str = "+0";

/// A factory and a device under a clock; every command is a start of the agent, which has only
/// its disk to remember by.
struct Scene {
    _dir: tempfile::TempDir,
    clock: Clock,
    factory: Factory,
    device: Device,
}

impl Scene {
    fn new(change: impl FnOnce(&mut DeviceOptions)) -> Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let Some(clock) = Clock::new(dir.path())? else { return Ok(None) };
        clock.set(TODAY)?;
        let factory = factory()?;
        factory.ship(&Dials::healthy("v1.22.0"))?;
        let mut options = DeviceOptions::named("edge-1");
        options.repository = Some(format!("{}/", factory.server.url()));
        change(&mut options);
        let device = Device::new(&clock.agent(), &factory.root()?, options)?;
        Ok(Some(Self { _dir: dir, clock, factory, device }))
    }

    fn at(&self, time: &str, verb: &str, args: &[&str]) -> Result<Output> {
        self.clock.set(time)?;
        self.device.run(verb, args)
    }

    fn accepted(&self, output: &Output, version: &str) {
        assert!(output.status.success(), "{}{}", stderr(output), self.device.log());
        assert_eq!(self.device.committed().map(|it| it.to_string()).as_deref(), Some(version), "{}", stderr(output));
    }

    /// The roles with a version that was judged expired.
    fn judged(&self) -> Result<Vec<String>> {
        let output = self.device.run("trust", &["--json"])?;
        let view: Value = serde_json::from_slice(&output.stdout)?;
        let roles = view["repositories"][0]["roles"].as_array().context("roles")?.clone();
        Ok(roles.iter().filter(|role| role["judged_expired"].is_u64()).map(|role| role["name"].to_string()).collect())
    }
}

fn refused(output: &Output, code: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", stderr(output));
    assert!(stderr(output).contains(code), "{}", stderr(output));
}

/// Seen to fail with `keep_expired` left out of `Rules::operator`: the release is taken when the
/// clock is set back.
#[test]
fn a_clock_that_is_set_back_does_not_revive_an_expired_timestamp() -> Result<()> {
    let Some(scene) = Scene::new(|_| {})? else { return Ok(()) };
    scene.accepted(&scene.at(TODAY, "check", &[])?, "v1.22.0");
    scene.factory.ship(&Dials::healthy("v1.23.0"))?;
    refused(&scene.at(NEXT_WEEK, "check", &[])?, "SLW-T-EXPIRED");
    for _ in 0..2 {
        let output = scene.at(TODAY, "check", &[])?;
        refused(&output, "SLW-T-EXPIRED");
        assert!(stderr(&output).contains("was recorded as expired"), "{}", stderr(&output));
    }
    assert_eq!(scene.judged()?, ["\"timestamp\""]);
    let table = String::from_utf8(scene.device.run("trust", &[])?.stdout)?;
    assert!(table.contains("recorded as expired"), "{table}");
    // The operator's next refresh is judged again, and nothing is left to remember.
    scene.factory.repo()?.refresh(now())?;
    scene.accepted(&scene.at(TODAY, "check", &[])?, "v1.23.0");
    assert!(scene.judged()?.is_empty());
    Ok(())
}

#[test]
fn one_boot_in_2100_is_over_with_the_next_refresh() -> Result<()> {
    let Some(scene) = Scene::new(|_| {})? else { return Ok(()) };
    scene.accepted(&scene.at(TODAY, "check", &[])?, "v1.22.0");
    scene.factory.ship(&Dials::healthy("v1.23.0"))?;
    refused(&scene.at("@2100-01-01 00:00:00", "check", &[])?, "SLW-T-EXPIRED");
    scene.factory.repo()?.refresh(now())?;
    scene.accepted(&scene.at(TODAY, "check", &[])?, "v1.23.0");
    Ok(())
}

#[test]
fn a_person_clears_the_recorded_expiry_of_an_offline_device() -> Result<()> {
    let Some(mut scene) = Scene::new(|options| options.repository = None)? else { return Ok(()) };
    let file = scene.device.path("release.tar");
    scene.factory.bundle(&file)?;
    let file = file.display().to_string();
    for time in [NEXT_WEEK, TODAY] {
        refused(&scene.at(time, "install", &[&file])?, "SLW-T-OFFLINE");
    }
    let output = scene.at(TODAY, "unblock", &["--expiry"])?;
    let said = String::from_utf8(output.stdout.clone())?;
    assert!(
        output.status.success() && said.contains("timestamp version") && said.contains("cleared the recorded expiry"),
        "{said}"
    );
    scene.accepted(&scene.at(TODAY, "install", &[&file])?, "v1.22.0");
    // By its old name, when there is nothing to do; and not two things at once.
    let output = scene.at(TODAY, "forgive", &["--expiry"])?;
    assert!(output.status.success() && String::from_utf8(output.stdout)?.contains("nothing to unblock"));
    assert_eq!(scene.at(TODAY, "unblock", &["--expiry", "--freeze"])?.status.code(), Some(2));
    // The service does it as well.
    scene.device.start()?;
    scene.device.wait("answers", LONG, Device::answers)?;
    refused(&scene.at(NEXT_WEEK, "install", &[&file])?, "SLW-T-OFFLINE");
    let output = scene.at(TODAY, "unblock", &["--expiry"])?;
    assert!(output.status.success() && String::from_utf8(output.stdout)?.contains("cleared the recorded expiry"));
    assert!(scene.at(TODAY, "install", &[&file])?.status.success());
    scene.device.stop()
}

/// A thief of the online keys signs a timestamp for longer than devices believe one: here the
/// operator's own tool, under a clock that is ahead. Seen to fail with `max_lifetimes` left out
/// of `Rules::operator`.
#[test]
fn a_timestamp_that_expires_too_far_ahead_is_refused_and_the_next_one_taken() -> Result<()> {
    let Some(scene) = Scene::new(|_| {})? else { return Ok(()) };
    scene.factory.repo()?.refresh(now() + SignedDuration::from_hours(24 * 40))?;
    refused(&scene.at(TODAY, "check", &[])?, "SLW-T-LIFETIME");
    assert!(scene.judged()?.is_empty(), "it has not expired");
    scene.factory.repo()?.refresh(now())?;
    scene.accepted(&scene.at(TODAY, "check", &[])?, "v1.22.0");
    Ok(())
}
