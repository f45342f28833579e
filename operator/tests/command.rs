//! The program as an operator meets it: exit codes, what it prints, and a real broker.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use slipway_operator::mqtt::{Audience, Broker, notify, watch};
use slipway_protocol::Notice;
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::tls::Authority;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn slipway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args(arguments)
        .env_remove("SLIPWAY_BROKER")
        .env_remove("SLIPWAY_KEY_PASSWORD")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_day_of_an_operator() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let repo = path("repo");
    let done = |arguments: &[&str]| {
        let output = slipway(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(done(&["init", &repo, "--unencrypted", "--timestamp-days", "2"]).contains("1.root.json"));
    assert_eq!(slipway(&["init", &repo, "--unencrypted"]).status.code(), Some(3), "refused");
    assert_eq!(slipway(&["init"]).status.code(), Some(2), "wrong usage");
    for (role, days, code, says) in [
        ("root", "0", 2, "0 is not in 1.."),
        ("root", "4294967296", 2, "4294967296 is not in 1.."),
        ("root", "401", 3, "1 to 400 days: devices refuse"),
        ("timestamp", "31", 3, "1 to 30 days: devices refuse"),
        ("snapshot", "31", 3, "1 to 30 days: devices refuse"),
    ] {
        let output = slipway(&["init", &path("other"), "--unencrypted", &format!("--{role}-days"), days]);
        assert_eq!(output.status.code(), Some(code), "{role} {days}");
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
        assert!(!Path::new(&path("other")).exists(), "nothing is left behind");
    }
    assert_eq!(slipway(&["policy", "add", &repo, &path("none.toml")]).status.code(), Some(1), "failed");

    fs::write(path("edgecore.toml"), "component = \"edgecore\"\npreset = \"kubeedge\"\n").unwrap();
    assert_eq!(done(&["policy", "add", &repo, &path("edgecore.toml")]), "published policies/edgecore.toml\n");
    let archive = path("kubeedge-v1.23.1-linux-arm64.tar.gz");
    let other = slipway_testkit::edgecore::tarball("v1.23.0", "arm64", b"edgecore");
    fs::write(&archive, other).unwrap();
    fs::write(path("proof"), "{}").unwrap();
    let release = ["release", &repo, "--artifact", &archive, "--provenance", &path("proof")];
    // Another version's archive under this one's name: its edgecore is in another folder, and no device could install it.
    let refused = slipway(&release);
    assert_eq!(refused.status.code(), Some(3));
    let said = text(&refused.stderr);
    assert!(said.contains("SLW-O-ARTIFACT") && said.contains("kubeedge-v1.23.0-linux-arm64/edge/edgecore"), "{said}");
    fs::write(&archive, slipway_testkit::edgecore::tarball("v1.23.1", "arm64", b"edgecore")).unwrap();
    let refused = slipway(&release);
    assert_eq!(refused.status.code(), Some(3));
    assert!(text(&refused.stderr).contains("SLW-V-"), "{}", text(&refused.stderr));
    assert!(done(&[&release[..], &["--unsafe-skip-verify"]].concat()).contains("NOT verified"));
    assert_eq!(slipway(&["channel", &repo, "--release", "v1.23.2"]).status.code(), Some(3));
    done(&["channel", &repo, "--release", "v1.23.1", "--wave", "2026-11-23T00:00:00Z=10%"]);
    let little = slipway(&["channel", &repo, "--wave", "2026-11-23T00:00:00Z=10%"]);
    assert!(text(&little.stdout).contains("to 10% from 2026-11-23T00:00:00Z"), "{}", text(&little.stdout));
    assert!(text(&little.stderr).contains("90% of the fleet never get the release"), "{}", text(&little.stderr));
    let all = ["--wave", "2026-11-23T00:00:00Z=10", "--wave", "2026-11-24T00:00:00Z=100"];
    assert!(text(&slipway(&[&["channel", &repo][..], &all].concat()).stderr).is_empty());
    let timestamp = || fs::read(path("repo/public/metadata/timestamp.json")).unwrap();
    let before = timestamp();
    assert!(done(&["channel", &repo]).starts_with("stable of edgecore is v1.23.1, to 10% from"));
    assert_eq!(slipway(&["channel", &repo, "--channel", "beta"]).status.code(), Some(3));
    assert_eq!(timestamp(), before, "no change, no new version");
    assert!(done(&["channel", &repo, "--channel", "canary", "--release", "v1.23.1"]).contains("to everyone now"));
    assert!(done(&["channel", &repo, "--halt"]).contains("halted"));
    assert_eq!(slipway(&["channel", &repo, "--halt", "--resume"]).status.code(), Some(2));
    assert!(done(&["bundle", "make", &repo, "-o", &path("out.tar")]).ends_with("out.tar\n"));
    assert!(Path::new(&path("out.tar")).is_file());
    assert_eq!(slipway(&["bundle", "make", &repo, "-o", &path("out.tar")]).status.code(), Some(3), "nothing is overwritten");
    assert!(done(&["discard", &repo]).contains("nothing waits"));
    done(&["refresh", &repo]);
    let status: serde_json::Value = serde_json::from_str(&done(&["status", &repo, "--json"])).unwrap();
    assert_eq!(status["channels"][0]["release"], "v1.23.1");
    let table = done(&["status", &repo]);
    assert!(table.contains("timestamp") && table.contains("halted"), "{table}");
}

fn notice() -> Notice {
    Notice { v: 1, component: Some("edgecore".parse().unwrap()), ..Notice::default() }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_notice_is_acknowledged_by_a_real_broker() {
    let broker = Mosquitto::start(Access::Plain).unwrap();
    let fleet = ["notify", "--broker", &broker.url(), "--fleet", "factory", "--component", "edgecore", "--version", "v1.23.1"];
    let output = slipway(&fleet);
    assert!(output.status.success(), "{}", text(&output.stderr));
    drop(broker);
    let output = slipway(&fleet);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("SLW-O-BROKER"), "{}", text(&output.stderr));
}

#[test]
fn mutual_tls_lets_in_who_has_a_certificate() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path()).unwrap();
    let mosquitto = Mosquitto::start(Access::MutualTls(authority.server().unwrap())).unwrap();
    let client = authority.client("operator").unwrap();
    let with = Broker {
        url: mosquitto.url(),
        ca: Some(authority.ca()),
        cert: Some(client.certificate.clone()),
        key: Some(client.key.clone()),
    };
    let without = Broker { cert: None, key: None, ..with.clone() };
    let audience = Audience::Node("factory".parse().unwrap(), "node-1".parse().unwrap());
    block_on(notify(&with, &audience, &notice())).unwrap();
    assert_eq!(block_on(notify(&without, &audience, &notice())).unwrap_err().code, "SLW-O-BROKER");
}

#[test]
fn reports_are_seen_as_they_come() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, MqttOptions};
    let mosquitto = Mosquitto::start(Access::Plain).unwrap();
    let broker = Broker { url: mosquitto.url(), ..Broker::default() };
    let report = r#"{"v":1,"node":"node-1","fleet":"factory","seq":1,"time":"2026-11-22T12:00:00Z","component":"edgecore","event":"committed","state":"idle"}"#;
    let mut seen = Vec::new();
    block_on(async {
        let (client, mut events) = AsyncClient::new(MqttOptions::new("node-1", mosquitto.host(), mosquitto.address().port()), 10);
        let topic = "slipway/factory/node/node-1/report";
        // Retained, so that it does not matter who is there first.
        client.publish(topic, QoS::AtLeastOnce, true, "not a report").await.unwrap();
        let node = async { while events.poll().await.is_ok() {} };
        let fleet = "factory".parse().unwrap();
        let watching = watch(&broker, &fleet, |report| {
            seen.push(report);
            false
        });
        let sending = async {
            let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
            loop {
                client.publish(topic, QoS::AtLeastOnce, false, report).await.unwrap();
                beat.tick().await;
            }
        };
        tokio::select! {
            () = node => {}
            () = sending => {}
            result = watching => result.unwrap(),
            () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
        }
    });
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].node.as_str(), "node-1");
}
