//! Bad input: configuration is refused with its line; bad notices and commands change nothing.
//!
//! Takes about 20 s: each part waits for real connections, and for the pause between two checks that notices are held to.

use anyhow::{Context as _, Result};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::tls::Authority;
use slipway_tests::{LONG, device, device_off, factory, slipway, stderr, trigger};

#[test]
fn a_bad_configuration_is_refused_at_start_and_says_where() -> Result<()> {
    let factory = factory()?;
    let device = device_off(&factory, None, |_| {})?;
    let good = std::fs::read_to_string(device.config())?;
    let root = device.path("root.json");
    for (from, to, says) in [
        ("fleet = \"factory\"", "flet = \"factory\"", "line 3: unknown field `flet`"),
        ("channel = \"stable\"", "channel = \"../stable\"", "not a valid channel name"),
        ("soak = ", "soak = \"1h\"\nx = ", "unknown field"),
        ("http = \"http://127", "htp = \"http://127", "unknown field"),
        ("refresh = \"30s\"", "refresh = \"0s\"", "refresh"),
        ("refresh = \"30s\"", "refresh = 30", "\"1h 30m\""),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(device.config(), good.replacen(from, to, 1))?;
        for verb in ["run", "status"] {
            let output = device.run(verb, &[])?;
            assert_eq!(output.status.code(), Some(3), "{to}: {}", stderr(&output));
            assert!(stderr(&output).contains(says), "{says:?} is not in {}", stderr(&output));
        }
    }
    // What cannot be adopted is told before an update without a way back begins.
    let adopt = "adopt = { path = \"/no/such/edgecore\", version = \"v1.21.0\" }\nsnapshot.files";
    std::fs::write(device.config(), good.replacen("snapshot.files", adopt, 1))?;
    let output = device.run("run", &[])?;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("/no/such/edgecore"), "{}", stderr(&output));
    std::fs::write(device.config(), &good)?;
    std::fs::write(&root, b"{}")?;
    let output = device.run("run", &[])?;
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("root.json"), "{}", stderr(&output));
    std::fs::remove_file(&root)?;
    assert!(stderr(&device.run("run", &[])?).contains("root.json"));
    std::fs::remove_file(device.config())?;
    assert!(stderr(&device.run("run", &[])?).contains("agent.toml"));
    for args in [&["--nonsense"][..], &["extra"]] {
        assert_eq!(device.run("status", args)?.status.code(), Some(2));
    }
    Ok(())
}

#[test]
fn a_configuration_is_checked_without_being_used() -> Result<()> {
    let factory = factory()?;
    let device = device_off(&factory, None, |_| {})?;
    let (good, file) = (std::fs::read_to_string(device.config())?, device.config().display().to_string());
    let output = device.run("config", &["check", &file])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), said), (Some(0), format!("configuration file {file} is ok\n")), "{}", stderr(&output));
    assert!(!device.path("state").exists(), "it opens no state");

    let bad = good.replacen("fleet = ", "flet = ", 1).replacen("refresh = \"30s\"", "refresh = 30", 1);
    std::fs::write(device.config(), &bad)?;
    let output = device.run("config", &["check", &file])?;
    assert_eq!(output.status.code(), Some(3));
    let (said, line) = (stderr(&output), |text: &str| bad.lines().position(|line| line.contains(text)).map_or(0, |at| at + 1));
    for (at, what) in [(line("flet = "), "unknown field `flet`"), (line("refresh = 30"), "\"1h 30m\"")] {
        let start = format!("{file}:{at}: SLW-A-CONFIG: ");
        assert!(said.lines().any(|line| line.starts_with(&start) && line.contains(what)), "{start} {what} is not in {said}");
    }
    assert!(said.ends_with("mistakes: 2\n"), "{said}");

    // The service refuses the same; a collector reads why as JSON.
    let output = device.run("run", &["--log-format", "json"])?;
    let event: serde_json::Value = serde_json::from_str(&stderr(&output))?;
    assert_eq!((&event["level"], &event["code"]), (&"ERROR".into(), &"SLW-A-CONFIG".into()), "{event}");

    std::fs::remove_file(device.config())?;
    assert_eq!(device.run("config", &["check", &file])?.status.code(), Some(1), "what cannot be read is not judged");
    for args in [&[][..], &["chek", &file], &["check", &file, "more"]] {
        assert_eq!(device.run("config", args)?.status.code(), Some(2), "{args:?}");
    }
    Ok(())
}

/// Publishes raw payloads to the fleet's notice topic.
fn publish(url: &str, payloads: &[Vec<u8>]) -> Result<()> {
    let (host, port) = url.trim_start_matches("mqtt://").split_once(':').context("a port")?;
    let port = port.trim_end_matches('/').parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut options = MqttOptions::new("hostile", host, port);
        options.set_max_packet_size(Some(4 << 20));
        let (client, mut events) = AsyncClient::new(options, payloads.len() + 2);
        for payload in payloads {
            client.publish("slipway/factory/notice", QoS::AtLeastOnce, false, payload.clone()).await?;
        }
        let mut left = payloads.len();
        while left > 0 {
            if let Event::Incoming(Incoming::PubAck(_)) = events.poll().await? {
                left -= 1;
            }
        }
        Ok(())
    })
}

#[test]
fn hostile_notices_change_nothing_and_a_good_one_still_triggers_a_check() -> Result<()> {
    let broker = Mosquitto::start(Access::Plain)?;
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut device = device(&factory, Some(&broker.url()), |options| options.refresh = std::time::Duration::from_secs(100))?;
    // It looks by itself soon after it has connected, and then not for more than a minute.
    device.wait("looks by itself", LONG, |device| {
        device.log().split_once("connected to the broker").is_some_and(|(_, after)| {
            // What it finds: the release, or that it has that.
            after.contains("event=downloading") || after.contains("event=up-to-date")
        })
    })?;
    device.wait_committed("v1.22.0", LONG)?;
    let settled = |device: &slipway_sim::Device| {
        device.status().is_ok_and(|s| s.outbox == 0 && s.components.first().is_some_and(|c| c.state == "idle"))
    };
    device.wait("settles", LONG, settled)?;
    let (reports, requests) = (device.history()?.len(), factory.server.requests().len());
    let mut hostile: Vec<Vec<u8>> = [
        "",
        "{",
        "[]",
        "null",
        r#"{"v":2}"#,
        r#"{"v":1,"v":1}"#,
        r#"{"v":1,"component":"../../etc/passwd"}"#,
        r#"{"v":1,"version":"latest"}"#,
        r#"{"v":1,"component":"keadm"}"#,
        r#"{"v":1,"channel":"canary"}"#,
        "\u{0}\u{1b}[2J",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    hostile.push(vec![b'['; 3000]);
    hostile.push(vec![b'x'; 1 << 20]);
    hostile.extend(std::iter::repeat_n(br#"{"v":9}"#.to_vec(), 500));
    publish(&broker.url(), &hostile)?;
    // A good one, after all that, is heard: a new release comes.
    factory.ship(&Dials::healthy("v1.23.0"))?;
    assert_eq!(device.history()?.len(), reports, "nothing was worth a report");
    assert_eq!(factory.server.requests().len(), requests, "and nothing was asked for");
    trigger(&broker.url(), Some("v1.23.0"))?;
    device.wait_committed("v1.23.0", LONG)?;
    assert!(device.runs());
    Ok(())
}

#[test]
fn mutual_tls_and_an_outbox_that_waits_for_the_broker() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::new(dir.path())?;
    let mut broker = Mosquitto::start(Access::MutualTls(authority.server()?))?;
    let identity = authority.client("edge-1")?;
    let factory = factory()?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let device = device(&factory, Some(&broker.url()), |options| {
        let path = |path: &std::path::Path| path.display().to_string();
        options.mqtt = format!(
            "tls = {{ ca = {:?}, cert = {:?}, key = {:?} }}\n",
            path(&identity.ca),
            path(&identity.certificate),
            path(&identity.key)
        );
    })?;
    device
        .wait("connects with its certificate", LONG, |device| device.status().is_ok_and(|status| status.broker == Some(true)))?;
    device.wait_committed("v1.22.0", LONG)?;
    device.wait("reports are delivered", LONG, |device| device.status().is_ok_and(|status| status.outbox == 0))?;
    broker.stop();
    device.wait("notices that the broker is gone", LONG, |device| {
        device.status().is_ok_and(|status| status.broker == Some(false))
    })?;
    factory.ship(&Dials::healthy("v1.23.0"))?;
    assert!(device.run("check", &[])?.status.success());
    assert!(device.status()?.outbox > 0, "reports wait");
    broker.restart()?;
    device.wait("what waited is delivered", LONG, |device| device.status().is_ok_and(|status| status.outbox == 0))?;
    // The doorbell works for whoever has a certificate too.
    factory.ship(&Dials::healthy("v1.24.0"))?;
    let operator = authority.client("operator")?;
    let text = |path: &std::path::Path| path.display().to_string();
    let (ca, cert, key) = (text(&operator.ca), text(&operator.certificate), text(&operator.key));
    let url = broker.url();
    let rung = slipway(&["notify", "--broker", &url, "--fleet", "factory", "--ca", &ca, "--cert", &cert, "--key", &key])?;
    assert!(rung.status.success(), "{}", stderr(&rung));
    device.wait_committed("v1.24.0", LONG)?;
    Ok(())
}
