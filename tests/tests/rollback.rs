//! Rollback of releases that fail in the ways edgecore was measured to fail.
//!
//! Takes about a minute: each release is watched for a soak.

use anyhow::Result;
use slipway_protocol::{Event, Report};
use slipway_sim::Device;
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::{Behaviour, Dials};
use slipway_testkit::wait;
use slipway_tests::{LONG, attempt, device, factory, gate, stderr, trigger};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn committed(device: &Device) -> Option<String> {
    device.committed().map(|version| version.to_string())
}

fn slots(device: &Device) -> Vec<String> {
    let entries = std::fs::read_dir(device.state().join("slots/edgecore")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The file that the component's process runs.
fn program(device: &Device) -> Option<String> {
    let pid = *slipway_sim::device::processes_below(&device.state().join("slots")).first()?;
    Some(std::fs::read_link(format!("/proc/{pid}/exe")).ok()?.display().to_string())
}

/// Ends the component as a crash would.
fn crash(device: &Device) {
    for pid in slipway_sim::device::processes_below(&device.state().join("slots")) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Each is rolled back by the agent that was there before (3), with its reason and its last words in the report (22); success is never
/// said of one that fails later (6).
#[test]
fn whatever_a_new_release_does_the_old_one_comes_back_with_the_evidence() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let mut device = device(&factory, None, |options| {
        // Behind the stand-in's health without its cloud, the other half of it.
        options.more = format!(
            "[[component.health.check]]\nname = \"cloud\"\nhttp = \"http://{}/metaserver\"\ntimeout = \"2s\"\n",
            options.health
        );
    })?;
    device.wait_committed("v1.20.0", LONG)?;
    let never_connects = Dials { connects: false, ..Dials::healthy("v1.21.6") };
    // A soak for which nothing waits that ends by itself; and a deadline that only those meet who do not.
    let (slowly, soon) = ((60, 300), (2, 8));
    let mut limits = (0, 0);
    for (until, what, dials, code, evidence) in [
        (slowly, "exits at once", Dials::new("v1.21.0", Behaviour::ExitAtOnce { code: 1 }), "SLW-A-DIED", "exit status 1"),
        (slowly, "panics", Dials::new("v1.21.1", Behaviour::PanicsOnOldCertificate), "SLW-A-DIED", "panic: the certificate's"),
        (
            slowly,
            "is well, then dies",
            Dials::new("v1.21.2", Behaviour::DiesAfter { ms: 1500, code: 2 }),
            "SLW-A-DIED",
            "exit status 2",
        ),
        (
            slowly,
            "is well, then ill",
            Dials::new("v1.21.3", Behaviour::SickensAfterAnswers { answers: 6 }),
            "SLW-A-CHECK",
            "v1.21.3",
        ),
        (soon, "hangs", Dials::new("v1.21.4", Behaviour::NeverAnswers), "SLW-A-DEADLINE", "v1.21.4"),
        (soon, "never listens", Dials::new("v1.21.5", Behaviour::NeverListens), "SLW-A-DEADLINE", "v1.21.5"),
        (soon, "never connects", never_connects, "SLW-A-DEADLINE", "v1.21.6"),
    ] {
        if limits != until {
            limits = until;
            device.reconfigure(LONG, |options| {
                (options.soak, options.deadline) = (Duration::from_secs(until.0), Duration::from_secs(until.1));
            })?;
        }
        let output = attempt(&factory, &device, &dials)?;
        assert_eq!(output.status.code(), Some(4), "one that {what}: {}\n{}", stderr(&output), device.log());
        assert!(stderr(&output).contains(code), "one that {what}: {}", stderr(&output));
        assert_eq!(committed(&device).as_deref(), Some("v1.20.0"), "one that {what}");
        wait::until("the old release runs again", LONG, || program(&device).is_some_and(|exe| exe.contains("/v1.20.0-")));
        let reports = device.history()?;
        let of = |event| {
            let version = dials.version.as_str();
            reports.iter().find(move |r| r.event == event && r.to.as_ref().is_some_and(|to| to.as_str() == version))
        };
        let left = of(Event::RollingBack).expect("a report of the rollback");
        assert!(left.text.as_deref().unwrap_or_default().contains(evidence), "one that {what}: {left:#?}");
        assert_eq!(left.from.as_ref().map(|version| version.as_str()), Some("v1.20.0"));
        assert!(of(Event::RolledBack).is_some() && of(Event::Committed).is_none(), "one that {what}");
    }
    Ok(())
}

/// KubeEdge 1.23 without its cloud is well for 28 s and then dies. A soak that is longer than that finds out; one that is shorter does
/// not, and then what was committed stays committed.
#[test]
fn the_soak_is_what_finds_the_release_that_dies_after_28_seconds() -> Result<()> {
    // Everything ten times as fast, or where a machine is so slow that it dies before a second is over, less so.
    let lives = [("v1.23.0", 2_800), ("v1.23.1", 10_000), ("v1.23.2", 40_000)];
    for (soak, outcome) in [(60, 4), (1, 0)] {
        let factory = factory()?;
        factory.ship(&Dials::healthy("v1.22.0"))?;
        let mut device = device(&factory, None, |_| {})?;
        device.wait_committed("v1.22.0", LONG)?;
        device.reconfigure(LONG, |options| options.soak = Duration::from_secs(soak))?;
        let mut tries = lives.into_iter();
        let (version, output) = loop {
            let (version, ms) = tries.next().expect("a life that is long enough");
            let output = attempt(&factory, &device, &Dials::new(version, Behaviour::DiesAfter { ms, code: 1 }))?;
            if output.status.code() == Some(outcome) || tries.len() == 0 {
                break (version, output);
            }
        };
        assert_eq!(output.status.code(), Some(outcome), "soak of {soak} s: {}\n{}", stderr(&output), device.log());
        assert!(outcome == 0 || version == "v1.23.0", "the first to die before the soak is over is found out");
        if outcome == 0 {
            // It goes on dying, and is started again: a committed release is nobody's to take away but an operator's.
            device
                .wait("it died and was started again", LONG, |device| device.log().contains("component had exited; restarted"))?;
            assert_eq!(committed(&device).as_deref(), Some(version));
            let left = |report: &Report| {
                report.event == Event::RollingBack && report.to.as_ref().is_some_and(|to| to.as_str() == version)
            };
            assert!(!device.history()?.iter().any(left));
        }
    }
    Ok(())
}

/// Crashes and cuts after the commit are no attempts: nothing is counted, nothing is demoted.
#[test]
fn a_committed_release_is_never_demoted_by_a_flicker() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.21.0"))?;
    let mut device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.21.0", LONG)?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    assert!(device.run("check", &[])?.status.success());
    for flicker in 0..8 {
        // The agent alone, the component alone, both at once.
        if flicker % 3 != 1 {
            device.kill();
        }
        if flicker % 3 != 0 {
            crash(&device);
        }
        if flicker % 3 != 1 {
            device.start()?;
        }
        wait::until("the committed release answers", LONG, || device.healthy());
    }
    assert_eq!(committed(&device).as_deref(), Some("v1.22.0"));
    assert!(device.current().is_some_and(|slot| slot.starts_with("v1.22.0-")));
    assert!(device.history()?.iter().all(|report| report.event != Event::RollingBack), "{:#?}", device.history()?);
    Ok(())
}

/// While a release is tried, starts of the agent count: three are borne, the fourth is one too many, and no number of them lasts for ever.
#[test]
fn starts_count_only_while_a_release_is_tried() -> Result<()> {
    for (starts, commits) in [(3, true), (4, false)] {
        let factory = factory()?;
        factory.ship(&Dials::healthy("v1.21.0"))?;
        let dir = tempfile::tempdir()?;
        let open = dir.path().join("may-commit");
        std::fs::write(&open, "")?;
        let mut device = device(&factory, None, |options| {
            options.deadline = Duration::from_secs(600);
            options.more = gate(&open.display().to_string());
        })?;
        device.wait_committed("v1.21.0", LONG)?;
        std::fs::remove_file(&open)?;
        factory.ship(&Dials::healthy("v1.22.0"))?;
        let on_probation =
            |device: &Device| device.status().is_ok_and(|s| s.components.first().is_some_and(|c| c.state == "probation"));
        // The command is the ring; it ends with the agent that is killed.
        let mut asked = Command::new(slipway_tests::agent().exe)
            .args(["check", "--config"])
            .arg(device.config())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        device.wait("probation", LONG, on_probation)?;
        for start in 1..=starts {
            device.kill();
            device.start()?;
            // Not the state: where no agent runs yet, it is read from disk and is what it was.
            let begun = |device: &Device| device.log().matches("event=started to=v1.21.0").count() >= start;
            if start < 4 {
                device.wait("the agent's start", LONG, begun)?;
            }
        }
        let _ = asked.wait();
        if commits {
            std::fs::write(&open, "")?;
            device.wait_committed("v1.22.0", LONG)?;
        } else {
            device.wait_code("SLW-A-STARTS", LONG)?;
            device.wait("back", LONG, |device| committed(device).as_deref() == Some("v1.21.0") && device.healthy())?;
        }
    }
    Ok(())
}

/// Whatever is tried and fails, the committed release and the one before it stay on the device.
#[test]
fn the_previous_committed_release_is_always_kept() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let device = device(&factory, None, |_| {})?;
    device.wait_committed("v1.20.0", LONG)?;
    for version in ["v1.21.0", "v1.22.0"] {
        factory.ship(&Dials::healthy(version))?;
        assert!(device.run("check", &[])?.status.success());
    }
    let both = |device: &Device| {
        let slots = slots(device);
        slots.len() == 2 && slots[0].starts_with("v1.21.0-") && slots[1].starts_with("v1.22.0-")
    };
    // What else there was goes a moment after the answer.
    device.wait("the release and the one before it, alone", LONG, both)?;
    for version in ["v1.23.0", "v1.23.1"] {
        let output = attempt(&factory, &device, &Dials::new(version, Behaviour::ExitAtOnce { code: 1 }))?;
        assert_eq!(output.status.code(), Some(4), "{}", device.log());
        device.wait("the release and the one before it, alone", LONG, both)?;
    }
    // It is not only there but goes back by hand, and says who committed what.
    let status = device.status()?;
    let previous = status.components.first().and_then(|component| component.previous.clone());
    assert_eq!(previous.map(|installed| installed.version.to_string()).as_deref(), Some("v1.21.0"));
    assert!(device.run("rollback", &[])?.status.success());
    assert_eq!(committed(&device).as_deref(), Some("v1.21.0"));
    Ok(())
}

/// A release that failed is not tried again, however often the bell rings, by whomever: not a byte of it is fetched.
#[test]
fn the_same_notice_a_hundred_times_does_not_bring_a_failed_release_back() -> Result<()> {
    let broker = Mosquitto::start(Access::Plain)?;
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.21.0"))?;
    let device = device(&factory, Some(&broker.url()), |_| {})?;
    device.wait_committed("v1.21.0", LONG)?;
    device.wait("connects", LONG, |device| device.status().is_ok_and(|status| status.broker == Some(true)))?;
    device.run("check", &[])?;
    let bad = factory.ship(&Dials::new("v1.22.0", Behaviour::ExitAtOnce { code: 1 }))?;
    assert_eq!(device.run("check", &[])?.status.code(), Some(4), "{}", device.log());
    let path = factory.artifact_path(&bad);
    let (fetched, reported) = (factory.server.requests_for(&path).len(), device.history()?.len());
    for _ in 0..100 {
        trigger(&broker.url(), Some("v1.22.0"))?;
    }
    // One more that must be answered: behind all the others.
    assert_eq!(device.run("check", &[])?.status.code(), Some(3));
    device.wait("the storm is over", LONG, |device| {
        device.status().is_ok_and(|s| s.outbox == 0 && s.components.first().is_some_and(|c| c.state == "idle"))
    })?;
    assert_eq!(factory.server.requests_for(&path).len(), fetched, "not a byte of it was fetched again");
    let history = device.history()?;
    let news: Vec<_> = history[..history.len() - reported].iter().filter(|report| report.event != Event::Checking).collect();
    assert!(news.len() < 5, "reports about nothing new: {news:#?}");
    // Forgiven, or replaced by a new version, it is another matter.
    factory.ship(&Dials::healthy("v1.22.1"))?;
    assert!(device.run("check", &[])?.status.success());
    Ok(())
}

/// A person calls a release off while it is watched: it ends there and then, with what was there before, were it nothing.
#[test]
fn an_update_on_probation_is_called_off_by_hand() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.21.0"))?;
    let device = device(&factory, None, |options| {
        options.soak = Duration::from_secs(600);
        options.deadline = Duration::from_secs(1200);
    })?;
    device.wait("the first one is on probation", LONG, |device| {
        device.status().is_ok_and(|s| s.components.first().is_some_and(|c| c.state == "probation"))
    })?;
    // There is nothing to go back to yet: what was there before is nothing, and that comes back.
    let output = device.run("rollback", &[])?;
    assert!(output.status.success(), "{}\n{}", stderr(&output), device.log());
    assert_eq!((committed(&device), device.current()), (None, None));
    assert!(!device.healthy());
    Ok(())
}

/// What the outgoing release's files were, by content, mode, owner and group.
fn described(path: &Path) -> (Vec<u8>, u32, u32, u32) {
    let metadata = std::fs::metadata(path).expect("it is there");
    (std::fs::read(path).expect("readable"), metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid())
}

fn sql(database: &Path, statement: &str) -> Result<String> {
    let output = Command::new("sqlite3").arg(database).arg(statement).output()?;
    anyhow::ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Measured: v1.23.1 rewrites `edgecore.yaml` and migrates `edgecore.db`, and v1.13.0 exits at once on what it leaves. Program,
/// configuration and a live database return together; and so do any other files that the component lists.
#[test]
fn program_configuration_and_database_come_back_together() -> Result<()> {
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.20.0"))?;
    let files = tempfile::tempdir()?;
    let at = |name: &str| files.path().join(name);
    std::fs::write(at("edgecore.yaml"), "apiVersion: v1\nmine: kept\n")?;
    std::fs::set_permissions(at("edgecore.yaml"), std::fs::Permissions::from_mode(0o640))?;
    std::fs::write(at("token"), "another file\n")?;
    std::fs::set_permissions(at("token"), std::fs::Permissions::from_mode(0o600))?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(at("edgecore.yaml"), Some(1234), Some(2345))?;
    }
    // In WAL mode, as a program that is killed leaves it: part of the data is in its companion.
    sql(&at("edgecore.db"), "pragma journal_mode=wal; create table mine (t text); insert into mine values ('kept');")?;
    std::fs::set_permissions(at("edgecore.db"), std::fs::Permissions::from_mode(0o600))?;
    let path = |name: &str| at(name).display().to_string();
    let component = |health: std::net::SocketAddr, soak: u32| {
        format!(
            r#"
[[component]]
name = "edgecore"
channel = "stable"
[component.run]
command = ["{{current}}/bin/edgecore", "--config", "{config}"]
env = {{ EDGECORE_HEALTH = "{health}", EDGECORE_DATABASE = "{database}", PATH = "/usr/bin:/bin" }}
[component.snapshot]
files = ["{config}", "{token}", "{later}"]
databases = ["{database}"]
[component.health]
soak = "{soak}s"
deadline = "300s"
interval = "100ms"
[[component.health.check]]
name = "healthz"
http = "http://{health}/healthz"
timeout = "10s"
"#,
            config = path("edgecore.yaml"),
            token = path("token"),
            later = path("later"),
            database = path("edgecore.db"),
        )
    };
    let mut device = device(&factory, None, |options| options.component = Some(component(options.health, 2)))?;
    device.wait_committed("v1.20.0", LONG)?;
    // It ends when all is done, and not before.
    device.reconfigure(LONG, |options| options.component = Some(component(options.health, 120)))?;
    assert_eq!(sql(&at("edgecore.db"), "select * from starts")?, "v1.20.0\n");
    let before = (described(&at("edgecore.yaml")), described(&at("token")));

    // Rewrites the configuration and adds to the database; while it runs the rest is touched too, as only root can; and then it dies.
    factory.ship(&Dials { rewrites_config: true, ..Dials::healthy("v1.23.1") })?;
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait::until("the new release has written what it writes, and answers", LONG, || {
                std::fs::read_to_string(at("edgecore.yaml")).is_ok_and(|text| text.contains("v1.23.1")) && device.healthy()
            });
            std::fs::write(at("token"), "rewritten\n").expect("writable");
            std::fs::set_permissions(at("token"), std::fs::Permissions::from_mode(0o644)).expect("ours");
            std::fs::write(at("later"), "made by the new release\n").expect("writable");
            crash(&device);
        });
        device.run("check", &[])
    })?;
    assert_eq!(output.status.code(), Some(4), "{}\n{}", stderr(&output), device.log());
    // Had the file not come back, the old release would exit over the newer one's signature.
    device.wait("the old release runs again", LONG, |_| {
        sql(&at("edgecore.db"), "select * from starts").is_ok_and(|rows| rows == "v1.20.0\nv1.20.0\n")
    })?;
    assert_eq!((described(&at("edgecore.yaml")), described(&at("token"))), before, "content, mode, owner, group");
    assert!(!at("later").exists(), "what was not there before is not there after");
    assert_eq!(sql(&at("edgecore.db"), "select * from mine; pragma integrity_check")?, "kept\nok\n");
    assert_eq!(std::fs::metadata(at("edgecore.db"))?.permissions().mode() & 0o777, 0o600);
    assert!(program(&device).is_some_and(|exe| exe.contains("/v1.20.0-")));
    Ok(())
}
