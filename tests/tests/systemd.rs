//! A real systemd: the agent's own unit, edgecore's unit with and without the drop-in, rollback, power cuts.
//!
//! Runs in a throw-away machine by systemd-nspawn (`tests/lib/nspawn.sh`), which needs root; `tests/run` prepares it.
//! Takes about 35 s: two boots, and seven releases watched for whole soaks or deadlines.

use anyhow::Result;
use slipway_testkit::edgecore::{Behaviour, Dials};
use slipway_tests::machine::{Machine, text, unit_file};
use slipway_tests::{agent, factory, gate};
use std::net::SocketAddr;

/// A release is on probation until this is there.
const GATE: &str = "/etc/slipway/may-commit";

/// The releases that die do so within a second of their start, by their own clocks: the soak is long enough for a busy machine.
fn component(health: SocketAddr, deadline: &str) -> String {
    let gate = gate(GATE);
    format!(
        r#"
[[component]]
name = "edgecore"
channel = "stable"
run.unit = "edgecore.service"
adopt = {{ path = "/usr/local/bin/edgecore", version = "v1.21.0" }}
snapshot.files = ["/etc/kubeedge/config/edgecore.yaml"]
[component.health]
soak = "5s"
deadline = "{deadline}"
interval = "200ms"
[[component.health.check]]
name = "healthz"
http = "http://{health}/healthz"
timeout = "30s"
{gate}"#
    )
}

#[test]
fn a_node_is_taken_over_updated_rolled_back_and_survives_a_power_cut() -> Result<()> {
    let Some(machine) = Machine::new("slipway-agent")? else { return Ok(()) };
    let factory = factory()?;
    // No channel yet: nothing is pulled before the test says so.
    let health = slipway_testkit::address();
    machine.node(&factory, health, &std::fs::read(agent().exe)?, &component(health, "8s"))?;
    machine.put(GATE, b"", 0o644)?;
    machine.verb("boot", &[])?;
    machine.ok("systemctl enable --now edgecore slipway-agent")?;
    assert_eq!(machine.ok("systemctl show -P ActiveState slipway-agent")?.trim(), "active", "Type=notify: it said READY");
    machine.wait("what ran before is adopted", |machine| machine.committed("edgecore").as_deref() == Some("v1.21.0"))?;

    // The agent's own look, which comes soon after its start, waits for a while after another one: asked just before, it does not come
    // between the release and the answer that is looked at.
    let attempt = |dials: &Dials| {
        machine.exec("slipway-agent check")?;
        factory.ship(dials)?;
        machine.exec("slipway-agent check")
    };

    // Without the drop-in the unit goes on with the old program, healthy as it is: nothing may be committed that never ran. This alone
    // waits for the deadline.
    let output = attempt(&Dials::healthy("v1.22.0"))?;
    assert_eq!(output.status.code(), Some(4), "{}{}", text(&output.stdout), machine.journal());
    let said = text(&output.stderr);
    assert!(said.contains("program") && said.contains("/usr/local/bin/edgecore"), "{said}");
    assert_eq!(machine.committed("edgecore").as_deref(), Some("v1.21.0"));

    // With it, the proven release of the adopted version takes its place, and the one from before, once forgiven, follows: not before the
    // channel points elsewhere, or the agent would take it up by itself.
    assert!(machine.ok("slipway-agent status")?.contains("v1.21.0 (adopted)"));
    let conf = "edgecore.service.d/slipway.conf";
    machine.unit(conf, &unit_file(conf)?)?;
    machine.configure(&factory, None, &component(health, "5m"))?;
    machine.ok("systemctl daemon-reload && systemctl restart edgecore slipway-agent")?;
    factory.ship(&Dials::healthy("v1.21.0"))?;
    machine.ok("slipway-agent forgive && slipway-agent check")?;
    let status: serde_json::Value = serde_json::from_str(&machine.ok("slipway-agent status --json")?)?;
    let component = &status["components"][0];
    assert_eq!(
        (&component["committed"]["version"], &component["committed"]["adopted"]),
        (&"v1.21.0".into(), &serde_json::Value::Null)
    );
    assert_eq!(component["previous"]["adopted"], true, "proven now, and the one from before is the way back");
    assert!(machine.running("edgecore")?.contains("/slots/edgecore/v1.21.0-"));
    factory.point("v1.22.0")?;
    machine.ok("slipway-agent check")?;
    assert_eq!(machine.committed("edgecore").as_deref(), Some("v1.22.0"));
    let slot = machine.running("edgecore")?;
    assert!(slot.contains("/slots/edgecore/v1.22.0-"), "{slot}");

    // One that answers and then dies, under a unit that would restart it for ever, with the configuration rewritten.
    let dies = Behaviour::DiesAfter { ms: 800, code: 2 };
    let output = attempt(&Dials { rewrites_config: true, ..Dials::new("v1.23.0", dies) })?;
    assert_eq!(output.status.code(), Some(4), "{}{}", text(&output.stderr), machine.journal());
    assert_eq!(machine.running("edgecore")?, slot);
    assert_eq!(machine.ok("stat -c %a /etc/kubeedge/config/edgecore.yaml")?.trim(), "640");
    assert_eq!(machine.ok("cat /etc/kubeedge/config/edgecore.yaml")?, "apiVersion: v1\nmine: kept\n");

    // One that crashes faster than anybody looks: under Restart=always it would go on for ever, and seems to run whenever it is asked.
    machine.unit("edgecore.service.d/fast.conf", b"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=50ms\n")?;
    machine.ok("systemctl daemon-reload")?;
    let output = attempt(&Dials::new("v1.23.1", Behaviour::DiesAfter { ms: 100, code: 2 }))?;
    assert_eq!(output.status.code(), Some(4), "{}{}", text(&output.stderr), machine.journal());
    let said = text(&output.stderr);
    assert!(said.contains("SLW-A-DIED") || said.contains("SLW-A-RESTARTED"), "{said}");
    assert_eq!(machine.running("edgecore")?, slot);
    assert_eq!(machine.ok("systemctl show -P NRestarts edgecore")?.trim(), "0", "the old release's own crashes are counted anew");

    // What went wrong, and nothing of what went well, is what the journal shows from warning on. (Seen to fail with lines that have no
    // priority, which the journal takes for information.)
    let journal = |from: &str| machine.ok(&format!("journalctl --no-pager -o cat -p {from} -u slipway-agent"));
    let warnings = journal("warning")?;
    for said in ["rolled back component=edgecore", "to=v1.23.0", "code=SLW-A-DIED"] {
        assert!(warnings.contains(said), "{said} is not in {warnings}");
    }
    assert!(!warnings.contains("release committed") && journal("info")?.contains("release committed"), "{warnings}");

    // The power goes while the next one is on probation. After the boot the agent goes on by itself, in its own unit.
    machine.remove(GATE)?;
    factory.ship(&Dials::healthy("v1.24.0"))?;
    machine.ok("(slipway-agent check >/dev/null 2>&1 &)")?;
    machine.wait("probation", |machine| {
        machine.exec("slipway-agent status").is_ok_and(|o| text(&o.stdout).contains("probation v1.24.0"))
    })?;
    machine.cut(|machine| machine.put(GATE, b"", 0o644))?;
    machine.wait("it is committed after the boot", |machine| machine.committed("edgecore").as_deref() == Some("v1.24.0"))?;
    assert!(machine.running("edgecore")?.contains("/slots/edgecore/v1.24.0-"));

    // A stopped agent leaves the component alone.
    let before = machine.ok("systemctl show -P MainPID edgecore")?;
    machine.ok("systemctl stop slipway-agent")?;
    assert_eq!(machine.ok("systemctl show -P MainPID,ActiveState edgecore")?.lines().next(), before.lines().next());
    let result = machine.ok("systemctl show -P Result slipway-agent")?;
    assert_eq!(result.trim(), "success", "it ended well on SIGTERM");
    Ok(())
}
