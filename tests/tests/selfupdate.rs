//! Updates of the agent itself under a real systemd: a good release commits, a bad one is rolled back.
//!
//! Shown: the updater disturbs no component, a broken version never does the rollback, success is reported after health, intent is
//! compared with what is found after a boot, and the evidence is in the report.
//!
//! Each takes about a minute and a half: a dozen releases of the agent start and fail within systemd's own time limits.

use anyhow::{Context as _, Result, ensure};
use slipway_operator::{ArtifactOptions, ChannelChange, ReleaseOptions};
use slipway_protocol::{ComponentName, Platform, Sha256};
use slipway_sim::{Factory, factory::now};
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::{Member, pack};
use slipway_testkit::sigstore::{Attestation, Subject};
use slipway_tests::machine::{Machine, text, unit_file};
use slipway_tests::{agent, factory, gate, trigger_check_for};
use std::path::Path;
use std::process::Command;

const AGENT: &str = "slipway-agent";
/// Where the real program is that wrappers may fall back to: not where any unit starts it from.
const REAL: &str = "/usr/local/bin/slipway-agent";
/// A new agent is on probation until this is there, or until it is bad.
const GATE: &str = "/etc/slipway/may-commit";

/// A new agent that breaks, and how.
struct Bad {
    name: &'static str,
    program: Vec<u8>,
    /// Done from outside once it is on probation.
    during: Option<&'static str>,
    /// What systemd is told about it: the shipped unit's own patience would take minutes.
    limits: &'static str,
    /// One of these is the reason.
    codes: &'static [&'static str],
    /// In the report's text.
    evidence: &'static str,
}

fn script(lines: &str) -> Vec<u8> {
    format!("#!/bin/sh\n{lines}\n").into_bytes()
}

/// Everything a new agent can do wrong, at its start or later.
fn bad_ones(real: &dyn Fn(&str) -> Vec<u8>) -> Vec<Bad> {
    let bad = |name, program, codes: &'static [&'static str], evidence| Bad {
        name,
        program,
        during: None,
        limits: "",
        codes,
        evidence,
    };
    vec![
        bad("exits at once", script("echo cannot start >&2; exit 1"), &["SLW-A-RESTARTED"], "cannot start"),
        bad("is no program", b"not for this machine".to_vec(), &["SLW-A-RESTARTED"], "slipway-agent.service"),
        Bad {
            limits: "TimeoutStartSec=6",
            ..bad(
                "never says that it is ready",
                script("echo waiting for nothing; exec sleep 1000"),
                &["SLW-A-RESTARTED"],
                "waiting",
            )
        },
        // Three deaths while the database is open are one too many for an agent that does not know whose fault that was.
        bad(
            "leaves a state that only it can read",
            script("cp /root/witness.newer /var/lib/slipway/witness; echo migrated >&2; exit 3"),
            &["SLW-A-RESTARTED"],
            "migrated",
        ),
        // Decision 6: what is committed is what runs.
        bad("starts another program", script(&format!("exec {REAL} \"$@\"")), &["SLW-A-SELF-PROGRAM"], ""),
        Bad {
            during: Some("kill -KILL $(systemctl show -P MainPID slipway-agent)"),
            ..bad("is ready and dies", real("dies"), &["SLW-A-RESTARTED"], "")
        },
        Bad {
            during: Some("kill -STOP $(systemctl show -P MainPID slipway-agent)"),
            limits: "WatchdogSec=8",
            ..bad("is ready and hangs", real("hangs"), &["SLW-A-RESTARTED"], "")
        },
    ]
}

/// One whose program is as good as any: what is wrong is around it.
fn outside(name: &'static str) -> Bad {
    Bad { name, program: Vec::new(), during: None, limits: "", codes: &[], evidence: "" }
}

/// The real program, as another file.
fn real_agent(dir: &Path) -> Result<impl Fn(&str) -> Vec<u8> + use<>> {
    let small = dir.join("agent");
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(agent().exe).status();
    if !stripped.is_ok_and(|status| status.success()) {
        std::fs::copy(agent().exe, &small)?;
    }
    let bytes = std::fs::read(&small)?;
    Ok(move |mark: &str| [&bytes, mark.as_bytes()].concat())
}

fn name() -> ComponentName {
    AGENT.parse().expect("a constant name")
}

/// Builds, attests, signs and publishes a release of the agent, and points its channel there.
fn ship(factory: &Factory, version: &str, program: &[u8]) -> Result<()> {
    let platform = Platform::current();
    let file_name = format!("slipway-agent-{version}-linux-{}.tar.gz", platform.arch());
    let archive = pack(&[Member::file("slipway-agent", 0o755, program)]);
    let dir = factory.repo_dir().with_file_name("agents").join(version);
    std::fs::create_dir_all(&dir)?;
    let (file, provenance) = (dir.join(&file_name), dir.join("provenance.json"));
    std::fs::write(&file, &archive)?;
    let attestation = Attestation::kubeedge(version).subject(Subject::of(&file_name, &archive)).at(now().as_second() - 60);
    std::fs::write(&provenance, factory.sigstore.attest(&attestation))?;
    let artifact =
        ArtifactOptions { platform, file, name: None, member: Some("slipway-agent".into()), provenance, urls: Vec::new() };
    let version = version.parse().map_err(anyhow::Error::msg)?;
    let options =
        ReleaseOptions { component: name(), version, artifacts: vec![artifact], min_agent: None, unsafe_skip_verify: false };
    let release = options.version.clone();
    let mut repo = factory.repo()?;
    repo.release(&options, now())?;
    let stable = "stable".parse().map_err(anyhow::Error::msg)?;
    repo.channel(&name(), &stable, &ChannelChange { release: Some(release), ..ChannelChange::default() }, now())?;
    Ok(())
}

/// The agent's part of the configuration. Nothing that is bad waits for the deadline, but for what never becomes well.
fn components(deadline: &str) -> String {
    let gate = gate(GATE);
    format!(
        r#"
[[component]]
name = "edgecore"
channel = "stable"
run.unit = "edgecore.service"
adopt = {{ path = "/usr/local/bin/edgecore", version = "v1.21.0" }}
[[component]]
name = "slipway-agent"
channel = "stable"
run.unit = "slipway-agent.service"
adopt = {{ path = "{REAL}", version = "v0.2.0" }}
[component.health]
soak = "2s"
deadline = "{deadline}"
interval = "200ms"
broker = true
{gate}"#
    )
}

/// A node that runs edgecore and an agent, both adopted, with all of our units in place.
fn node(machine: &Machine, factory: &Factory, broker: &Mosquitto, real: &dyn Fn(&str) -> Vec<u8>) -> Result<()> {
    factory.repo()?.add_policy(b"component = \"slipway-agent\"\npreset = \"kubeedge\"\n", now())?;
    machine.node(factory, slipway_testkit::address(), &real(""), "")?;
    machine.configure(factory, Some(&broker.url()), &components("5m"))?;
    machine.unit("slipway-agent-restore.service", &unit_file("slipway-agent-restore.service")?)?;
    // The shipped units' pauses would take minutes; the rules are the same.
    for unit in [AGENT, "slipway-agent-restore"] {
        machine.unit(&format!("{unit}.service.d/hurry.conf"), b"[Service]\nRestartSec=500ms\n")?;
    }
    // systemd failed to start it once, with 219/CGROUP: the first start after each boot fails here, and is made again.
    let once = "[Service]\nExecStartPre=/bin/sh -c 'test -e /run/restore-tried || { touch /run/restore-tried; exit 1; }'\n";
    machine.unit("slipway-agent-restore.service.d/once.conf", once.as_bytes())?;
    machine.verb("boot", &[])?;
    machine.ok("systemctl enable -q --now edgecore slipway-agent && systemctl enable -q slipway-agent-restore")?;
    machine.wait("the agent adopts itself", |machine| machine.committed(AGENT).as_deref() == Some("v0.2.0"))?;
    machine.wait("the broker keeps notices for it", |machine| machine.status()["broker"] == true)?;
    Ok(())
}

/// Writes a drop-in of the agent's unit, or takes it away; systemd reads it when it is told to, and at a boot.
fn drop_in(machine: &Machine, name: &str, service: &str) -> Result<()> {
    let conf = format!("slipway-agent.service.d/{name}.conf");
    match service {
        "" => machine.remove(&format!("/etc/systemd/system/{conf}")),
        lines => machine.unit(&conf, format!("[Service]\n{lines}\n").as_bytes()),
    }
}

fn reload(machine: &Machine) -> Result<()> {
    machine.ok("systemctl daemon-reload").map(drop)
}

fn take_over(machine: &Machine) -> Result<()> {
    let conf = "slipway-agent.service.d/slipway.conf";
    machine.unit(conf, &unit_file(conf)?)?;
    machine.ok("systemctl daemon-reload && systemctl restart slipway-agent")?;
    ensure!(machine.running(AGENT)?.contains("/slots/slipway-agent/v0.2.0-"));
    Ok(())
}

fn pid(machine: &Machine, unit: &str) -> Result<String> {
    machine.ok(&format!("systemctl show -P MainPID {unit}"))
}

/// A notice, which waits in the broker for an agent to hear it. Not `slipway-agent check`, which is the agent where it finds none, as
/// between two agents.
fn trigger(broker: &Mosquitto, version: &str) -> Result<()> {
    trigger_check_for(AGENT, &broker.url(), Some(version))
}

fn state(machine: &Machine) -> String {
    machine.component(AGENT)["state"].as_str().unwrap_or_default().to_owned()
}

fn reports(machine: &Machine) -> Result<Vec<serde_json::Value>> {
    let lines = machine.ok("slipway-agent history --component slipway-agent --json -n 1000")?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The link names another slot than `from`: from here on the new agent is systemd's.
fn switched(machine: &Machine, from: &str) -> bool {
    std::fs::read_link(machine.root.join("var/lib/slipway/current/slipway-agent")).is_ok_and(|link| !link.ends_with(from))
}

/// The committed agent runs again, the release is blocked, and the report says why.
fn came_back(machine: &Machine, good: &str, version: &str, bad: &Bad) -> Result<()> {
    let what = format!("{good} after one that {}", bad.name);
    machine.wait(&what, |machine| {
        let component = machine.component(AGENT);
        let blocked = component["condemned"].as_array().is_some_and(|all| all.iter().any(|one| one["version"] == version));
        blocked && component["state"] == "idle"
    })?;
    assert_eq!(machine.committed(AGENT).as_deref(), Some(good), "{what}");
    let program = machine.running(AGENT)?;
    assert!(program.contains(&format!("/slots/slipway-agent/{good}-")), "{what}: {program}");
    let reports = reports(machine)?;
    let of = |event: &str| reports.iter().find(|report| report["event"] == event && report["to"] == version);
    let (left, back) = (of("rolling-back").with_context(|| format!("{what}: {reports:#?}"))?, of("rolled-back"));
    let code = left["refusal"]["code"].as_str().unwrap_or_default();
    assert!(bad.codes.contains(&code), "{what}: {left:#}");
    assert_eq!(back.map(|report| &report["refusal"]["code"]), Some(&left["refusal"]["code"]), "{what}: one reason");
    assert!(left["text"].as_str().unwrap_or_default().contains(bad.evidence), "{what}: {left:#}");
    assert!(reports.iter().all(|report| report["event"] != "committed" || report["to"] != version), "{what}");
    machine.wait("nothing is watched any more", |machine| {
        !machine.root.join("var/lib/slipway/restore/armed").exists()
            && machine.exec("systemctl is-active -q slipway-agent-restore").is_ok_and(|output| !output.status.success())
    })?;
    Ok(())
}

/// A witness as an agent of a later format would leave it.
fn newer_witness(machine: &Machine) -> Result<()> {
    let mut bytes = std::fs::read(machine.root.join("var/lib/slipway/witness"))?;
    for slot in bytes.chunks_mut(4096) {
        slot[8] = 2;
        let sum = Sha256::of(&[&slot[..24], &slot[56..]].concat());
        slot[24..56].copy_from_slice(&sum.0);
    }
    machine.put("/root/witness.newer", &bytes, 0o600)
}

#[test]
fn the_agent_updates_itself_and_comes_back_from_everything() -> Result<()> {
    let Some(machine) = Machine::new("slipway-self")? else { return Ok(()) };
    let (factory, broker) = (factory()?, Mosquitto::start(Access::Plain)?);
    let dir = tempfile::tempdir()?;
    let real = real_agent(dir.path())?;
    node(&machine, &factory, &broker, &real)?;

    // Not before the unit starts what is current, or nothing new would ever run; and nothing is touched for it.
    ship(&factory, "v0.3.0", &real("v0.3.0"))?;
    let before = (pid(&machine, "edgecore")?, pid(&machine, AGENT)?);
    let refused = machine.exec("slipway-agent check --component slipway-agent")?;
    assert!(text(&refused.stderr).contains("SLW-A-SELF-LINK"), "{}{}", text(&refused.stderr), machine.journal());
    assert_eq!((pid(&machine, "edgecore")?, pid(&machine, AGENT)?), before);
    take_over(&machine)?;

    // Nor without somebody who watches.
    machine.ok("mv /etc/systemd/system/slipway-agent-restore.service /root && systemctl daemon-reload")?;
    let refused = machine.exec("slipway-agent check --component slipway-agent")?;
    assert!(text(&refused.stderr).contains("slipway-agent-restore"), "{}{}", text(&refused.stderr), machine.journal());
    assert_eq!(machine.committed(AGENT).as_deref(), Some("v0.2.0"));
    machine.ok("mv /root/slipway-agent-restore.service /etc/systemd/system && systemctl daemon-reload")?;

    // Nor by a command in the service's place: it would take itself for what systemd has started.
    machine.ok("systemctl stop slipway-agent")?;
    let refused = machine.exec("slipway-agent check --component slipway-agent")?;
    assert!(text(&refused.stderr).contains("SLW-A-SELF-SERVICE"), "{}{}", text(&refused.stderr), machine.journal());
    machine.ok("systemctl start slipway-agent")?;

    // A good one.
    machine.put(GATE, b"", 0o644)?;
    trigger(&broker, "v0.3.0")?;
    machine.wait("v0.3.0 is committed", |machine| machine.committed(AGENT).as_deref() == Some("v0.3.0"))?;
    assert!(machine.running(AGENT)?.contains("/slots/slipway-agent/v0.3.0-"));
    assert_eq!(machine.component(AGENT)["previous"]["version"], "v0.2.0", "the one before is kept");
    let verified = machine.exec("systemd-analyze verify slipway-agent.service slipway-agent-restore.service")?;
    assert_eq!((verified.status.success(), text(&verified.stderr).as_str()), (true, ""), "the shipped units are clean");
    machine.wait("by hand there is nothing to restore", |machine| {
        machine.exec("slipway-agent restore").is_ok_and(|output| text(&output.stdout).starts_with("no update of the agent"))
    })?;

    newer_witness(&machine)?;
    machine.remove(GATE)?;
    for (n, bad) in bad_ones(&real).into_iter().enumerate() {
        let version = format!("v0.4.{n}");
        println!("one that {} ({version})", bad.name);
        drop_in(&machine, "limits", bad.limits)?;
        reload(&machine)?;
        ship(&factory, &version, &bad.program)?;
        trigger(&broker, &version)?;
        if let Some(during) = bad.during {
            machine.wait("probation", |machine| state(machine) == "probation")?;
            machine.ok(during)?;
        }
        came_back(&machine, "v0.3.0", &version, &bad)?;
    }

    // One that cannot reach the broker: where that is, and by when it must, an agent reads at its start.
    drop_in(&machine, "limits", "")?;
    reload(&machine)?;
    machine.put(GATE, b"", 0o644)?;
    machine.configure(&factory, Some(&format!("mqtt://{}", slipway_testkit::address())), &components("10s"))?;
    ship(&factory, "v0.5.0", &real("v0.5.0"))?;
    trigger(&broker, "v0.5.0")?;
    let bad = Bad { codes: &["SLW-A-DEADLINE"], ..outside("never reaches the broker") };
    came_back(&machine, "v0.3.0", "v0.5.0", &bad)?;
    machine.configure(&factory, Some(&broker.url()), &components("5m"))?;
    machine.ok("systemctl restart slipway-agent")?;

    // None of that keeps a good one away; and a person may go back by hand, as carefully.
    ship(&factory, "v0.6.0", &real("v0.6.0"))?;
    trigger(&broker, "v0.6.0")?;
    machine.wait("v0.6.0 is committed", |machine| machine.committed(AGENT).as_deref() == Some("v0.6.0"))?;
    let _ = machine.exec("slipway-agent rollback --component slipway-agent")?;
    machine.wait("v0.3.0 runs again", |machine| {
        machine.committed(AGENT).as_deref() == Some("v0.3.0")
            && machine.running(AGENT).is_ok_and(|program| program.contains("/slots/slipway-agent/v0.3.0-"))
    })?;
    // The disk forgets its program: the one that runs takes its place at once, for the next start has no other.
    machine.ok("cd /var/lib/slipway/current/slipway-agent/bin && echo rot >rot && mv rot slipway-agent")?;
    let _ = machine.exec("slipway-agent check --component slipway-agent")?;
    machine.wait("its own program is whole", |machine| {
        let same =
            "cmp /var/lib/slipway/current/slipway-agent/bin/slipway-agent /proc/$(systemctl show -P MainPID slipway-agent)/exe";
        machine.exec(same).is_ok_and(|output| output.status.success())
    })?;
    assert!(reports(&machine)?.iter().any(|report| report["event"] == "healed"), "{:?}", reports(&machine)?);
    machine.ok("systemctl restart slipway-agent")?;
    assert!(machine.running(AGENT)?.contains("/slots/slipway-agent/v0.3.0-"));
    assert_eq!(pid(&machine, "edgecore")?, before.0, "what the agent looks after was never touched");
    Ok(())
}

/// Cuts the power in the middle of each update: after the link has moved, or on probation.
#[test]
fn power_cuts_in_the_middle_of_the_agents_own_updates() -> Result<()> {
    let Some(machine) = Machine::new("slipway-self-cut")? else { return Ok(()) };
    let (factory, broker) = (factory()?, Mosquitto::start(Access::Plain)?);
    let dir = tempfile::tempdir()?;
    let real = real_agent(dir.path())?;
    node(&machine, &factory, &broker, &real)?;
    take_over(&machine)?;
    newer_witness(&machine)?;
    let slot = |version: &str| machine.component(AGENT)["committed"]["slot"].as_str().unwrap_or(version).to_owned();

    let first = slot("v0.2.0");
    // Between the link and the first instruction of what it names, for as long as it takes to look.
    const HOLD: &str = "TimeoutStartSec=infinity\nExecStartPre=/bin/sleep infinity";
    for (n, bad) in bad_ones(&real).into_iter().enumerate() {
        let version = format!("v0.4.{n}");
        println!("a power cut in one that {} ({version})", bad.name);
        drop_in(&machine, "hold", if bad.during.is_none() { HOLD } else { "" })?;
        drop_in(&machine, "limits", "")?;
        reload(&machine)?;
        ship(&factory, &version, &bad.program)?;
        trigger(&broker, &version)?;
        machine.wait("the new agent is current", |machine| switched(machine, &first))?;
        if bad.during.is_some() {
            machine.wait("probation", |machine| state(machine) == "probation")?;
        }
        machine.cut(|machine| {
            drop_in(machine, "hold", "")?;
            drop_in(machine, "limits", bad.limits)
        })?;
        if let Some(during) = bad.during {
            machine.wait("probation goes on", |machine| state(machine) == "probation")?;
            machine.ok(during)?;
        }
        came_back(&machine, "v0.2.0", &version, &bad)?;
    }

    // And in a good one, which goes on.
    drop_in(&machine, "hold", HOLD)?;
    drop_in(&machine, "limits", "")?;
    reload(&machine)?;
    ship(&factory, "v0.5.0", &real("v0.5.0"))?;
    trigger(&broker, "v0.5.0")?;
    machine.wait("the new agent is current", |machine| switched(machine, &first))?;
    machine.cut(|machine| {
        drop_in(machine, "hold", "")?;
        machine.put(GATE, b"", 0o644)
    })?;
    machine.wait("v0.5.0 is committed", |machine| machine.committed(AGENT).as_deref() == Some("v0.5.0"))?;
    assert!(machine.running(AGENT)?.contains("/slots/slipway-agent/v0.5.0-"));

    // A power supply that flickers: the release fails after so many starts of the device.
    machine.remove(GATE)?;
    ship(&factory, "v0.6.0", &real("v0.6.0"))?;
    trigger(&broker, "v0.6.0")?;
    for starts in 0..4 {
        // A cut before the agent and the restore unit run would not count as a start of the device. A cause for anything else than
        // probation is in the report: seen once under load, systemd restarted the agent, and one restart ends a probation.
        let reached = machine.wait("probation of v0.6.0", |machine| {
            let watched = machine.exec("systemctl is-active -q slipway-agent && systemctl is-active -q slipway-agent-restore");
            let component = machine.component(AGENT);
            watched.is_ok_and(|output| output.status.success())
                && component["state"] == "probation"
                && component["target"] == "v0.6.0"
        });
        reached.with_context(|| format!("after {starts} starts: {:#}", machine.component(AGENT)["last"]))?;
        machine.cut(|_| Ok(()))?;
    }
    let flicker = Bad { codes: &["SLW-A-STARTS"], ..outside("flickers") };
    came_back(&machine, "v0.5.0", "v0.6.0", &flicker)
}
