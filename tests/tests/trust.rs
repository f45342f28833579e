//! The trust state of a real device.
//!
//! Trust on a real device: what `slipway-agent trust` shows, a possible freeze reported to the cloud, Sigstore's own repository followed and
//! never gone back, and metadata on disk that is damaged.

use anyhow::{Context as _, Result};
use serde_json::Value;
use slipway_protocol::Event;
use slipway_sim::{Device, Factory};
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::sigstore::PrivateSigstore;
use slipway_testkit::tuf::Repository;
use slipway_tests::{LONG, device, device_off, factory, stderr, trigger};

fn trust(device: &Device) -> Result<Value> {
    let output = device.run("trust", &["--json"])?;
    anyhow::ensure!(output.status.success(), "{}", stderr(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn table(device: &Device) -> Result<String> {
    let output = device.run("trust", &[])?;
    anyhow::ensure!(output.status.success(), "{}", stderr(&output));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn trust_is_shown_with_the_agent_running_and_stopped_and_says_what_is_stale() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut device = device_off(&factory, None, |_| {})?;
    let before = trust(&device)?;
    assert_eq!(before["repositories"][0]["damage"], Value::Null, "before the first refresh nothing is damaged");
    assert!(table(&device)?.contains("never fetched"), "{}", table(&device)?);
    device.start()?;
    device.wait_committed("v1.22.0", LONG)?;
    let running = trust(&device)?;
    device.stop()?;
    let stopped = trust(&device)?;
    for view in [&running, &stopped] {
        let operator = &view["repositories"][0];
        let roles: Vec<_> =
            operator["roles"].as_array().context("roles")?.iter().filter_map(|role| role["name"].as_str()).collect();
        assert_eq!(roles, ["root", "timestamp", "snapshot", "targets", "channels", "releases"]);
        for role in operator["roles"].as_array().context("roles")? {
            assert_eq!((&role["version"], &role["expired"]), (&role["floor"], &Value::Bool(false)), "{role}");
        }
        assert_eq!((&operator["trouble"], &view["sigstore_root"]["origin"]), (&Value::Null, &Value::from("mirror")));
        assert_eq!(view["time"]["time_unsure"], Value::Bool(false));
        assert!(view["time"]["latest"].as_str() > Some("2026"), "proven by the provenance's signed times: {view}");
    }
    let text = table(&device)?;
    for says in ["Latest known time:", "Sigstore's root:    the operator's mirror", "ROLE", "timestamp", "verified 2"] {
        assert!(text.contains(says), "{text}");
    }
    // The server is away: what was verified is shown all the same, and since when it could not be renewed.
    drop(factory.server);
    device.run("check", &[])?;
    let stale = trust(&device)?;
    assert!(stale["repositories"][0]["trouble"]["since"].is_string(), "{stale}");
    assert!(table(&device)?.contains("stale since"), "{}", table(&device)?);
    Ok(())
}

#[test]
fn a_notice_of_a_release_that_the_repository_does_not_show_is_reported_once_as_a_possible_freeze() -> Result<()> {
    let broker = Mosquitto::start(Access::Plain)?;
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let device = device(&factory, Some(&broker.url()), |_| {})?;
    device.wait_committed("v1.22.0", LONG)?;
    trigger(&broker.url(), Some("v1.23.0"))?;
    let report = device.wait_code("SLW-A-FREEZE", LONG)?;
    assert_eq!((report.event, report.to.map(|to| to.to_string()).as_deref()), (Event::Refused, Some("v1.23.0")));
    let status = String::from_utf8(device.run("status", &[])?.stdout)?;
    assert!(status.contains("possible freeze: a notice named v1.23.0") && status.contains("shows v1.22.0"), "{status}");
    // Rung again, it is no news; shown at last, it is forgotten.
    trigger(&broker.url(), Some("v1.23.0"))?;
    factory.ship(&Dials::healthy("v1.23.0"))?;
    device.wait_committed("v1.23.0", LONG)?;
    let reported =
        device.history()?.iter().filter(|report| report.refusal.as_ref().is_some_and(|r| r.code == "SLW-A-FREEZE")).count();
    assert_eq!(reported, 1);
    assert!(!String::from_utf8(device.run("status", &[])?.stdout)?.contains("possible freeze"));
    Ok(())
}

/// Sigstore's own repository, with one trusted root in it.
struct Sigstore {
    repository: Repository,
    served: tempfile::TempDir,
    server: ReleaseServer,
}

impl Sigstore {
    fn new(trusted_root: &[u8]) -> Result<Self> {
        let served = tempfile::tempdir()?;
        let mut repository = Repository::bare(slipway_sim::factory::now() + jiff::SignedDuration::from_hours(24));
        repository.put("targets", "trusted_root.json", trusted_root);
        repository.publish();
        let server = ReleaseServer::start(served.path())?;
        let sigstore = Self { repository, served, server };
        sigstore.publish()?;
        Ok(sigstore)
    }

    /// Laid out as Sigstore's is: metadata at the top.
    fn publish(&self) -> Result<()> {
        self.repository.write_to(self.served.path())?;
        let metadata = self.served.path().join("metadata");
        for entry in std::fs::read_dir(&metadata)? {
            let entry = entry?;
            std::fs::copy(entry.path(), self.served.path().join(entry.file_name()))?;
        }
        Ok(())
    }
}

fn follower(factory: &Factory, sigstore: &Sigstore) -> Result<Device> {
    let root = sigstore.served.path().join("born-with.json");
    std::fs::write(&root, &sigstore.repository.files["1.root.json"])?;
    device_off(factory, None, |options| {
        options.more = format!("\n[sigstore]\nurl = \"{}/\"\nroot = {root:?}\n", sigstore.server.url());
    })
}

#[test]
fn sigstores_own_repository_is_followed_and_its_root_never_goes_back() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut sigstore = Sigstore::new(&factory.sigstore.trusted_root())?;
    let device = follower(&factory, &sigstore)?;
    assert!(device.run("check", &[])?.status.success(), "{}", device.log());
    let view = trust(&device)?;
    assert_eq!(view["sigstore_root"]["origin"], "sigstore", "{view}");
    assert_eq!(view["repositories"][1]["name"], "sigstore");
    let with_us = sigstore.repository.clone();

    // Sigstore revokes what our builder was certified by: what comes next is refused, whatever the operator's mirror says.
    sigstore.repository.put("targets", "trusted_root.json", &PrivateSigstore::new("another").trusted_root());
    sigstore.repository.publish();
    sigstore.publish()?;
    factory.ship(&Dials::healthy("v1.23.0"))?;
    let output = device.run("check", &[])?;
    assert!(stderr(&output).contains("SLW-V-"), "{}", stderr(&output));

    // The old root shown again does not help, not even with all files on the device gone.
    let revoked = sigstore.repository.clone();
    for lose in [false, true] {
        sigstore.repository = with_us.clone();
        sigstore.publish()?;
        if lose {
            std::fs::remove_dir_all(device.state().join("trust"))?;
        }
        let output = device.run("check", &[])?;
        // With the files gone, the operator's mirror may stand in: that is the operator's word, and newer than what was replayed.
        if !lose {
            assert!(stderr(&output).contains("SLW-V-"), "{}", stderr(&output));
        }
        let view = trust(&device)?;
        assert_eq!(view["repositories"][1]["trouble"]["refusal"]["code"], "SLW-T-ROLLBACK", "{view}");
    }
    sigstore.repository = revoked;
    sigstore.publish()
}

#[test]
fn a_sigstore_that_cannot_be_reached_stops_nothing() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let sigstore = Sigstore::new(&factory.sigstore.trusted_root())?;
    let device = follower(&factory, &sigstore)?;
    assert!(device.run("check", &[])?.status.success(), "{}", device.log());
    let Sigstore { served: _born_with, server, .. } = sigstore;
    drop(server);
    factory.ship(&Dials::healthy("v1.23.0"))?;
    let output = device.run("check", &[])?;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(device.committed().map(|v| v.to_string()).as_deref(), Some("v1.23.0"));
    assert!(table(&device)?.contains("stale since"), "{}", table(&device)?);
    Ok(())
}

#[test]
fn damaged_metadata_on_disk_is_reported_and_fetched_again() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let device = device_off(&factory, None, |_| {})?;
    assert!(device.run("check", &[])?.status.success(), "{}", device.log());
    let file = device.state().join("trust/operator.tar");
    let bytes = std::fs::read(&file)?;
    for damaged in [Vec::new(), bytes[..bytes.len() / 2].to_vec(), bytes.iter().map(|byte| byte ^ 1).collect()] {
        std::fs::write(&file, damaged)?;
        let view = trust(&device)?;
        assert!(view["repositories"][0]["damage"]["code"].is_string(), "{view}");
        assert!(view["repositories"][0]["roles"][1]["floor"].as_u64() > Some(0), "the floors are elsewhere: {view}");
        assert!(device.run("check", &[])?.status.success());
        assert_eq!(trust(&device)?["repositories"][0]["damage"], Value::Null);
    }
    Ok(())
}
